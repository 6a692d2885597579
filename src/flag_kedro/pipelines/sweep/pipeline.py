"""Market states -> every combination of a grid trained with every seed, ranked on validation."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.shared_backbone import prepare_shared_backbone
from flag_kedro.pipelines.sweep.nodes import sweep

GROUPS = (
    *("sweep", "data", "news", "simulated", "features", "env", "policy", "ppo", "runtime"),
    *("seed", "seeds"),
)


def create_pipeline() -> Pipeline:
    """The sweep pipeline, from market states on."""
    return Pipeline(
        [
            Node(
                prepare_shared_backbone,
                inputs="params:policy",
                outputs="shared_backbone",
                name="prepare_shared_backbone",
            ),
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
