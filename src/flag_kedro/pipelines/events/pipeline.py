"""A trained policy -> the same at every session and on events alone, and what prices did around its decisions."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.events import nodes
from flag_kedro.pipelines.shared import ASKED_MODELS, MARKET_SPLIT, STRATEGIES, params


def create_pipeline() -> Pipeline:
    """The events pipeline."""
    return Pipeline(
        [
            MARKET_SPLIT,
            ASKED_MODELS,
            STRATEGIES,
            Node(
                nodes.replay_on_events,
                inputs=["prices", "market_split", "strategies", "policy", *params("data", "news", "simulated")],
                outputs="event_replays",
                name="replay_on_events",
            ),
            Node(
                nodes.study_events,
                inputs=[
                    *("event_replays", "market_split", "policy"),
                    *params("data", "news", "simulated", "backtest", "seed"),
                ],
                outputs="event_study",
                name="study_events",
            ),
            Node(nodes.draw_event_study, inputs="event_study", outputs="event_study_page", name="draw_event_study"),
        ]
    )
