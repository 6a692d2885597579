"""Sending what MLflow could not be told while a run went on."""

import logging
from pathlib import Path

from flag_kedro.errors import TrackingError
from flag_kedro.tracking.keeping_store import store_in_use
from flag_kedro.tracking.link import LOSSES

logger = logging.getLogger(__name__)


def keep_in(folder: Path) -> None:
    """Keep what the store in use cannot be sent in `folder`, from here on."""
    store_in_use().keep_in(folder)


def num_kept() -> int:
    """Calls that are still to be sent."""
    return store_in_use().link.num_kept()


def is_lost() -> bool:
    """Whether the store in use did not answer when it was asked last."""
    return store_in_use().link.is_lost


def try_to_send() -> bool:
    """Send what is kept; whether nothing is left."""
    try:
        send()
    except TrackingError:
        return False
    return True


def send() -> None:
    """Send all that is kept to the store in use, in order.

    Raises:
        TrackingError: when the store stops answering; what was not sent is still there.
    """
    link = store_in_use().link
    kept = link.num_kept()
    try:
        link.send_kept()
    except LOSSES as error:
        raise TrackingError(
            f"MLflow did not answer: {error}. {kept - link.num_kept()} of {kept} calls are sent, the rest is kept; "
            "give the same command again once it does"
        ) from error
    said = f"MLflow has been told all of {kept} call(s) that were kept" if kept else "MLflow has been told everything"
    logger.info("%s", said)
