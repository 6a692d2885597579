"""Market states -> trainings on folds that roll over the sessions, and what they say together."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.shared import MARKET_SPLIT, SHARED_BACKBONE, TRAINING_SETTINGS, params
from flag_kedro.pipelines.walk_forward.nodes import draw_walk_forward, walk_forward


def create_pipeline() -> Pipeline:
    """The walk_forward pipeline, from market states on."""
    return Pipeline(
        [
            MARKET_SPLIT,
            TRAINING_SETTINGS,
            SHARED_BACKBONE,
            Node(
                walk_forward,
                inputs=[
                    *("market_split", "shared_backbone", "trunk_cache", "walk_forward_rows", "params:walk_forward"),
                    *("training_settings", *params("backtest", "seed", "seeds")),
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
