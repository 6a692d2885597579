"""Market states -> every combination of a grid trained with every seed, ranked and drawn on validation."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.shared import MARKET_SPLIT, SHARED_BACKBONE, TRAINING_SETTINGS, params
from flag_kedro.pipelines.sweep.nodes import draw_frontier, sweep


def create_pipeline() -> Pipeline:
    """The sweep pipeline, from market states on."""
    return Pipeline(
        [
            MARKET_SPLIT,
            TRAINING_SETTINGS,
            SHARED_BACKBONE,
            Node(
                sweep,
                inputs=[
                    *("market_split", "shared_backbone", "trunk_cache", "sweep_rows", "params:sweep"),
                    *("training_settings", *params("seed", "seeds")),
                ],
                outputs="sweep_results",
                name="sweep",
            ),
            Node(
                draw_frontier,
                inputs=["sweep_results", "market_split", "training_settings", "params:seed"],
                outputs="sweep_frontier_plot",
                name="draw_sweep_frontier_plot",
            ),
        ]
    )
