"""Preparing torch for a run."""

import torch

from flag_kedro.errors import ParameterError
from flag_kedro.ppo.runtime import RuntimeConfig


def prepare_torch(runtime: RuntimeConfig) -> torch.device:
    """Fix threads and deterministic kernels, and choose the device.

    Raises:
        ParameterError: when CUDA is asked for and there is none.
    """
    torch.set_num_threads(runtime.threads)
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("runtime.device is cuda, but torch finds no CUDA device; use auto or cpu")
    use_cuda = runtime.device != "cpu" and torch.cuda.is_available()
    torch.use_deterministic_algorithms(True, warn_only=use_cuda)
    return torch.device("cuda" if use_cuda else "cpu")
