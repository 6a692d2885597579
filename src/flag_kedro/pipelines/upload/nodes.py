"""The node of the upload pipeline. MLflow is imported inside, so that listing pipelines stays quick."""

from pathlib import Path


def send_unsent(unsent_calls: Path) -> None:
    """Send all that runs on this data folder could not tell MLflow.

    Raises:
        TrackingError: when it still does not answer; what was not sent is still there.
    """
    from flag_kedro.tracking.upload import keep_in, send

    keep_in(unsent_calls)
    send()
