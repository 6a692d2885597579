"""Market states -> backbone, policy bundle and training history."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.training.nodes import prepare_backbone, train_policy

GROUPS = ("data", "env", "policy", "ppo", "runtime", "seed")


def create_pipeline() -> Pipeline:
    """The training pipeline."""
    return Pipeline(
        [
            Node(
                prepare_backbone,
                inputs=["market_states", "params:data", "params:env", "params:policy", "params:seed"],
                outputs="backbone",
                name="prepare_backbone",
            ),
            Node(
                train_policy,
                inputs=["market_states", "backbone", *(f"params:{group}" for group in GROUPS)],
                outputs=["policy", "training_history"],
                name="train_policy",
            ),
        ]
    )
