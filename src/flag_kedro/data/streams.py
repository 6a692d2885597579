"""Random streams that are told apart by name, so that no draw depends on what else is drawn."""

import zlib

import numpy as np


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the random generator of (seed, purpose): names such as a symbol, or numbers such as a step."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in purpose]
    return np.random.default_rng([seed, len(words), *words])


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A seed for a library that wants a number of its own."""
    return int(stream(seed, *purpose).integers(2**31))
