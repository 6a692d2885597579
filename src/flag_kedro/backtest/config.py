"""Parameters `backtest.*`."""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.backtest.endpoint_config import EndpointConfig

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
    zero_shot: bool = True
    """Replay the backbone as the language model it is: `zero_shot_lm`, and `calibrated_lm`, whose words are held
    against their mean on the training window. Needs a backbone with a language-model head; `tiny` is left out."""
    factors: Path | None = None
    """CSV file of daily factor returns, as decimals: `date` and a column for each factor. What they explain of every
    strategy's return, and what is left as alpha, stands in the report."""
    endpoint: EndpointConfig | None = None
    """A language model behind a server to ask for every decision (`endpoint_lm`); null asks none."""
