"""Parameters `backtest.*`."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Convention = Literal["account", "investorbench"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class BacktestConfig:
    """How a backtest is scored and tested; both conventions are always computed."""

    convention: Convention = "account"
    """`account` scores the equity path with its fills and costs; `investorbench` scores positions at the
    same close without costs, as the published tables do. Chosen for the table and `results`."""
    bootstrap_draws: int = Field(default=2_000, ge=200, le=100_000)
    """Draws behind every interval and test."""
    audit_times: int = Field(default=12, ge=1)
    """Decision times at which the causality audit changes what became known later; each costs three more replays."""
