"""Market states -> trainings on folds that roll over the sessions, and what they say together."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.shared_backbone import GROUPS_OF_TRAININGS, shared_backbone_node
from flag_kedro.pipelines.walk_forward.nodes import draw_walk_forward, walk_forward

GROUPS = ("walk_forward", *GROUPS_OF_TRAININGS, "backtest", "seed", "seeds")


def create_pipeline() -> Pipeline:
    """The walk_forward pipeline, from market states on."""
    return Pipeline(
        [
            shared_backbone_node(),
            Node(
                walk_forward,
                inputs=[
                    *("market_states", "market_facts", "shared_backbone", "trunk_cache", "walk_forward_rows"),
                    *(f"params:{group}" for group in GROUPS),
                ],
                outputs="walk_forward_results",
                name="walk_forward",
            ),
            Node(
                draw_walk_forward,
                inputs="walk_forward_results",
                outputs="walk_forward_plot",
                name="draw_walk_forward_plot",
            ),
        ]
    )
