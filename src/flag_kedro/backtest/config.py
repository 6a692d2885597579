"""Parameters `backtest.*`."""

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

Convention = Literal["account", "investorbench"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class BacktestConfig:
    """How a backtest is scored; both conventions are always computed."""

    convention: Convention = "account"
    """`account` scores the equity path with its fills and costs; `investorbench` scores positions at the
    same close without costs, as the published tables do. Chosen for the table and `results`."""
