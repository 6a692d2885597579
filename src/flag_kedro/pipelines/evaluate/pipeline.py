"""A trained policy -> what its vectors tell of other tasks, before and after training, beside usual models."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.evaluate import nodes
from flag_kedro.pipelines.shared import MARKET_SPLIT, params


def create_pipeline() -> Pipeline:
    """The evaluate pipeline."""
    return Pipeline(
        [
            MARKET_SPLIT,
            Node(
                nodes.gather_task_samples,
                inputs=["market_split", *params("news", "simulated")],
                outputs=["task_samples", "task_headlines"],
                name="gather_task_samples",
            ),
            Node(
                nodes.read_task_vectors,
                inputs=[
                    *("task_samples", "task_headlines", "market_split", "backbone", "policy"),
                    *params("runtime", "seed"),
                ],
                outputs="task_vectors",
                name="read_task_vectors",
            ),
            Node(
                nodes.evaluate_all_tasks,
                inputs=["task_samples", "task_headlines", "task_vectors", "market_split"],
                outputs="task_evaluation",
                name="evaluate_all_tasks",
            ),
            Node(
                nodes.plot_tasks,
                inputs="task_evaluation",
                outputs="task_evaluation_plot",
                name="plot_tasks",
            ),
        ]
    )
