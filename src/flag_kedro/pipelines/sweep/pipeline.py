"""Market states -> every combination of a grid trained with every seed, ranked on validation."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.shared_backbone import GROUPS_OF_TRAININGS, shared_backbone_node
from flag_kedro.pipelines.sweep.nodes import sweep

GROUPS = ("sweep", *GROUPS_OF_TRAININGS, "seed", "seeds")


def create_pipeline() -> Pipeline:
    """The sweep pipeline, from market states on."""
    return Pipeline(
        [
            shared_backbone_node(),
            Node(
                sweep,
                inputs=[
                    *("market_states", "market_facts", "shared_backbone", "trunk_cache", "sweep_rows"),
                    *(f"params:{group}" for group in GROUPS),
                ],
                outputs="sweep_results",
                name="sweep",
            ),
        ]
    )
