"""The pipelines by name, listed explicitly: Kedro's selective loading cannot follow composites."""

from kedro.pipeline import Pipeline

from flag_kedro.pipelines import (
    audit,
    backtest,
    certify,
    contamination,
    features,
    ingest,
    reproduce,
    robustness,
    sb3_baseline,
    sweep,
    training,
    upload,
    walk_forward,
)


def register_pipelines() -> dict[str, Pipeline]:
    """All pipelines; `__default__` is what `kedro run` does."""
    ingesting, building = ingest.create_pipeline(), features.create_pipeline()
    learning, judging = training.create_pipeline(), backtest.create_pipeline()
    return {
        "ingest": ingesting,
        "features": building,
        "training": learning,
        "train": ingesting + building + learning,
        "backtest": judging,
        "audit": audit.create_pipeline(),
        "certify": certify.create_pipeline(),
        "contamination": contamination.create_pipeline(),
        "robustness": robustness.create_pipeline(),
        "reproduce": reproduce.create_pipeline(),
        "sb3_baseline": sb3_baseline.create_pipeline(),
        "upload": upload.create_pipeline(),
        "sweep": ingesting + building + sweep.create_pipeline(),
        "walk_forward": ingesting + building + walk_forward.create_pipeline(),
        "__default__": ingesting + building + learning + judging,
    }
