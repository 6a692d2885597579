"""Market states -> backbone, trunk rows, policy bundle, training history with its plot, text baseline, seeds."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.training.nodes import encode_trunk, prepare_backbone, train_policy, train_text_baseline
from flag_kedro.pipelines.training.plot import plot_training
from flag_kedro.pipelines.training.seeds import run_seeds

BACKBONE_GROUPS = ("data", "news", "simulated", "features", "env", "policy", "seed")
ENCODING_GROUPS = ("data", "env", "policy", "runtime")
TRAINING_GROUPS = ("data", "env", "policy", "ppo", "runtime", "seed")
SEEDS_GROUPS = ("data", "env", "policy", "ppo", "runtime", "seeds")
TEXT_BASELINE_GROUPS = ("data", "env", "ppo", "runtime", "seed")


def create_pipeline() -> Pipeline:
    """The training pipeline."""
    return Pipeline(
        [
            Node(
                prepare_backbone,
                inputs=["market_states", "market_facts", *(f"params:{group}" for group in BACKBONE_GROUPS)],
                outputs="backbone",
                name="prepare_backbone",
            ),
            Node(
                encode_trunk,
                inputs=["market_states", "backbone", *(f"params:{group}" for group in ENCODING_GROUPS)],
                outputs="trunk_cache",
                name="encode_trunk",
            ),
            Node(
                train_policy,
                inputs=[
                    *("market_states", "backbone", "trunk_cache", "checkpoints"),
                    *(f"params:{group}" for group in TRAINING_GROUPS),
                ],
                outputs=["policy", "training_wall_times", "training_history"],
                name="train_policy",
            ),
            Node(
                plot_training,
                inputs=["training_history", "training_wall_times"],
                outputs="training_plot",
                name="plot_training",
            ),
            Node(
                train_text_baseline,
                inputs=["market_states", "policy", *(f"params:{group}" for group in TEXT_BASELINE_GROUPS)],
                outputs="text_baseline",
                name="train_text_baseline",
            ),
            Node(
                run_seeds,
                inputs=[
                    *("market_states", "backbone", "policy", "training_history", "trunk_cache", "seed_rows"),
                    *(f"params:{group}" for group in SEEDS_GROUPS),
                ],
                outputs="seed_results",
                name="run_seeds",
            ),
        ]
    )
