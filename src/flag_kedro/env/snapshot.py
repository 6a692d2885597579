"""Copies of the arrays that an environment's steps change, and putting them back."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Changing = list[tuple[str, Any, str]]
"""Name, owner and attribute of an array."""


def changing_arrays(env: Any, own: Iterable[str], accounts: Any, reward: Any) -> Changing:
    """Every array that steps change.

    Args:
        env: the environment.
        own: names of its own arrays.
        accounts: all of whose arrays change.
        reward: all of whose arrays change, and those of its `parts`.
    """
    changing: Changing = [(name.lstrip("_"), env, name) for name in own]
    return changing + _arrays_of("accounts", accounts) + _arrays_of("reward", reward)


def _arrays_of(prefix: str, owner: Any) -> Changing:
    """Arrays of an object, and of the `parts` that it may be made of."""
    arrays = [name for name, value in vars(owner).items() if isinstance(value, np.ndarray)]
    changing: Changing = [(f"{prefix}.{name}", owner, name) for name in arrays]
    for index, part in enumerate(getattr(owner, "parts", ())):
        changing += _arrays_of(f"{prefix}.{index}", part)
    return changing


def take_snapshot(changing: Changing) -> dict[str, NDArray[Any]]:
    """Copies of the arrays by name."""
    return {name: getattr(owner, attribute).copy() for name, owner, attribute in changing}


def put_back(
    changing: Changing, snapshot: Mapping[str, NDArray[Any]], others: Mapping[str, tuple[int, ...]] | None = None
) -> None:
    """Replace the arrays by copies of those of a snapshot.

    Args:
        changing: the arrays.
        snapshot: what `take_snapshot` gave for another environment.
        others: shapes of what the snapshot has besides, by name.

    Raises:
        ValueError: when the snapshot is of other accounts.
    """
    expected = {name: getattr(owner, attribute).shape for name, owner, attribute in changing} | dict(others or {})
    shapes = {name: array.shape for name, array in snapshot.items()}
    if shapes != expected:
        raise ValueError(f"the snapshot is of another environment: it has {shapes}, expected {expected}")
    for name, owner, attribute in changing:
        setattr(owner, attribute, snapshot[name].copy())
