"""What all processes of a training do together."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from torch import Tensor

from flag_kedro.errors import PeerLostError


def all_reduce_sum(tensor: Tensor) -> None:
    """Replace `tensor` by its sum over all processes, the same bits in each."""
    with together():
        torch.distributed.all_reduce(tensor)


@contextmanager
def together() -> Iterator[None]:
    """Tell a process that went away from an error of this one's own.

    Raises:
        PeerLostError: when another process does not take part.
    """
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError("another training process is gone or does not answer") from error
