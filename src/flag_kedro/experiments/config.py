"""Parameters `certify.*`."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.data.config import Symbols, split_tokens
from flag_kedro.data.headlines import COMPANIES

Seed = Annotated[int, Field(ge=0)]


def split_seeds(value: Any) -> Any:
    """Accept `1 2 3` from the command line, and refuse a seed that is given twice."""
    seeds = split_tokens(value)
    if isinstance(seeds, (list, tuple)) and len(set(map(str, seeds))) < len(seeds):
        raise ValueError(f"a seed is given twice in {value!r}")
    return seeds


Seeds = Annotated[tuple[Seed, ...], BeforeValidator(split_seeds), Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CertifyConfig:
    """The learnability certificate (SEMANTICS section 8): fresh simulated markets, each with its no-signal twin."""

    seeds: Seeds = (1, 2, 3, 4, 5)
    """Of markets and trainings; fewer than five certify nothing."""
    symbols: Symbols = tuple(COMPANIES)
    """Symbols of each market."""
    processes: int = Field(2, ge=1)
    """Trainings side by side, each on one thread."""
