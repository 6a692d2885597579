"""The pipelines by name, listed explicitly: Kedro's selective loading cannot follow composites."""

from kedro.pipeline import Pipeline

from flag_kedro.pipelines import (
    audit,
    backtest,
    certify,
    contamination,
    decide,
    evaluate,
    events,
    features,
    follow,
    ingest,
    portfolio,
    promote,
    publish,
    reproduce,
    robustness,
    sb3_baseline,
    select,
    stream,
    sweep,
    trade,
    training,
    upload,
    walk_forward,
)


def register_pipelines() -> dict[str, Pipeline]:
    """All pipelines; `__default__` is what `kedro run` does. Each is a namespace, a box of the graph that is drawn."""
    parts = {
        module.__name__.rpartition(".")[2]: module.create_pipeline()
        for module in (
            ingest, features, training, backtest, audit, certify, contamination, robustness, reproduce, sb3_baseline,
            upload, publish, decide, follow, trade, promote, sweep, walk_forward, evaluate, portfolio, events,
            stream, select,
        )
    }  # fmt: skip
    boxes = {name: _in_namespace(name, part) for name, part in parts.items()}
    ingesting, building = boxes["ingest"], boxes["features"]
    train = ingesting + building + boxes["training"]
    return boxes | {
        "train": train,
        "sweep": ingesting + building + boxes["sweep"],
        "walk_forward": ingesting + building + boxes["walk_forward"],
        "__default__": train + boxes["backtest"],
    }


def _in_namespace(name: str, pipeline: Pipeline) -> Pipeline:
    """The pipeline with its own nodes in a namespace; datasets, and nodes that several pipelines share, stay."""
    own = [node for node in pipeline.nodes if node.namespace is None]
    shared = [node for node in pipeline.nodes if node.namespace is not None]
    return Pipeline(own, namespace=name, prefix_datasets_with_namespace=False) + Pipeline(shared)
