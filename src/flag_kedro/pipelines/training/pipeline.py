"""Market states -> backbone, trunk rows, policy bundle, training history with its plot, text baseline, seeds."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.shared import MARKET_SPLIT, TRAINING_SETTINGS, params
from flag_kedro.pipelines.training.nodes import (
    encode_trunk,
    log_policy_model,
    prepare_backbone,
    train_policy,
    train_text_baseline,
)
from flag_kedro.pipelines.training.plot import plot_training
from flag_kedro.pipelines.training.seeds import run_seeds


def create_pipeline() -> Pipeline:
    """The training pipeline."""
    return Pipeline(
        [
            MARKET_SPLIT,
            TRAINING_SETTINGS,
            Node(
                prepare_backbone,
                inputs=["market_split", *params("policy", "seed")],
                outputs="backbone",
                name="prepare_backbone",
            ),
            Node(
                encode_trunk,
                inputs=["market_split", "backbone", *params("policy", "runtime")],
                outputs="trunk_cache",
                name="encode_trunk",
            ),
            Node(
                train_policy,
                inputs=["market_split", "backbone", "trunk_cache", "checkpoints", "training_settings", "params:seed"],
                outputs=["policy", "training_wall_times", "training_history"],
                name="train_policy",
            ),
            Node(
                log_policy_model,
                inputs=["policy", "backbone", "training_history"],
                outputs=None,
                name="log_policy_model",
            ),
            Node(
                plot_training,
                inputs=["training_history", "training_wall_times"],
                outputs="training_plot",
                name="plot_training",
            ),
            Node(
                train_text_baseline,
                inputs=["market_split", "policy", "training_settings", "params:seed"],
                outputs="text_baseline",
                name="train_text_baseline",
            ),
            Node(
                run_seeds,
                inputs=[
                    *("market_split", "backbone", "policy", "training_history", "trunk_cache", "seed_rows"),
                    *("training_settings", "params:seeds"),
                ],
                outputs="seed_results",
                name="run_seeds",
            ),
        ]
    )
