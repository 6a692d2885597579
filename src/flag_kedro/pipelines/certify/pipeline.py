"""Fresh simulated markets and their no-signal twins -> the learnability certificate."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.certify.nodes import draw_certificate, issue_certificate, keep_language_certificate

GROUPS = ("certify", "simulated", "features", "env", "policy", "ppo", "runtime")


def create_pipeline() -> Pipeline:
    """The certify pipeline."""
    return Pipeline(
        [
            Node(
                issue_certificate,
                inputs=[*(f"params:{group}" for group in GROUPS), "certificate_rows"],
                outputs="certificate",
                name="issue_certificate",
            ),
            Node(
                keep_language_certificate,
                inputs=["certificate", "earlier_language_certificate"],
                outputs="language_certificate",
                name="keep_language_certificate",
            ),
            Node(
                draw_certificate,
                inputs="certificate",
                outputs="certificate_plot",
                name="draw_certificate_plot",
            ),
        ]
    )
