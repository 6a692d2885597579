"""Model selection on the validation window, never on the test window."""

import math
from typing import Any

from torch import Tensor

from flag_kedro.backtest.portfolio_replay import replay_portfolio
from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.allocation import likeliest_weights
from flag_kedro.policy.interface import Evaluator, Policy
from flag_kedro.policy.trainable import load_trainable_state, trainable_state
from flag_kedro.ppo.config import PPOConfig


class BestCheckpoint:
    """Keeps the weights that traded the validation window best."""

    def __init__(
        self,
        window: TradingWindow | None,
        env_config: EnvConfig,
        config: PPOConfig,
        portfolio: PortfolioConfig | None = None,
    ) -> None:
        self.window = window
        self.env_config = env_config
        self.portfolio = portfolio
        self.patience = config.patience
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] | None = None
        self.waited = 0

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def validate(self, model: Policy, evaluator: Evaluator) -> float:
        """Greedy log return on the validation window, of a portfolio or summed over symbols; a new best is kept.

        Args:
            model: whose weights are judged.
            evaluator: asks it, maybe in several processes.
        """
        assert self.window is not None
        if self.portfolio is None:
            rule, ahead = evaluator.decide, evaluator.read_ahead
            equity = replay("validation", self.window, self.env_config, rule, read_ahead=ahead).equity
        else:
            weigh = likeliest_weights(evaluator, len(self.window.symbols), self.env_config.positions, self.portfolio)
            equity = replay_portfolio("validation", self.window, self.env_config, self.portfolio, weigh).equity
        score = float(equity["log_return"].sum())
        if score > self.best_score:
            self.best_score, self.best_weights, self.waited = score, trainable_state(model), 0
        else:
            self.waited += 1
        return score

    def facts(self) -> dict[str, Any]:
        """What is remembered besides weights, fit for JSON."""
        return {"best_score": None if self.best_weights is None else self.best_score, "waited": self.waited}

    def load(self, facts: dict[str, Any], best_weights: dict[str, Tensor]) -> None:
        """Remember what another selection's `facts` and best weights say."""
        if best_weights:
            self.best_score, self.best_weights = facts["best_score"], best_weights
        self.waited = facts["waited"]

    def restore(self, model: Policy) -> None:
        """Put the best weights back, if any were kept."""
        if self.best_weights is not None:
            load_trainable_state(model, self.best_weights)
