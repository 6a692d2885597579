"""How strong a simulated market is, and what each strategy took of it: beside the optimal policy on its headlines.

That policy remembers the headlines of `horizon` sessions, of which a prompt may show fewer, and knows nothing else: who
guessed the regime from volatility as well would earn a little more.
"""

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from flag_kedro.backtest.counterfactual import replay_targets
from flag_kedro.backtest.metrics import sharpe_ratio
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import YEAR_SESSIONS, SimulatedConfig, simulate_market
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError
from flag_kedro.experiments.oracle import MAX_HORIZON, Oracle, ask_oracle
from flag_kedro.names import TEXT_RIDGE

ROUNDING = 1e-9
"""By which prices that another processor drew may differ, relative."""


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """The optimal policy on headlines alone, long or flat, after costs (`oracle.ask_oracle`)."""

    market: str
    """`simulated.market`, and what was given in place of the preset's numbers."""
    signal: float
    """Mean log return of a headline in its first session."""
    sharpe_ratio: float | None
    """Annual, of the account of all symbols in equal parts, noise included; None for a path that never moves."""
    expected_log_return: float
    """That headlines and average drift let it expect, summed over symbols."""
    shares: dict[str, float]
    """By strategy, the sum of log returns over symbols and sessions over what the optimal policy expects; empty where
    it expects nothing or no headline moves anything."""


def measure_yardstick(
    equity: pl.DataFrame, split: MarketSplit, data: DataConfig, news: NewsConfig, simulated: SimulatedConfig
) -> Yardstick | None:
    """Replay the optimal policy on the test window.

    Args:
        equity: columns of `backtest.replay.EQUITY`.
        split: the market as it was traded.
        data: source, symbols and seed.
        news: the source of the articles.
        simulated: the rule.

    Returns:
        None where the market is not simulated, has other news than its own, moves longer than can be planned for, or
        pays interest, which the optimal policy does not count.

    Raises:
        DataError: where the parameters do not draw the prices that were traded.
    """
    oracle = ask_about(split, data, news, simulated)
    if oracle is None:
        return None
    rule = simulated.rule()
    paths = replay_targets(split.test, split.env, oracle.targets[:, None]).equity[:, 0]
    ratio = float(sharpe_ratio(np.diff(np.log(paths.sum(axis=0))), YEAR_SESSIONS))
    expected = float(oracle.expected_log_return.sum())
    earned = equity.group_by("strategy", maintain_order=True).agg(pl.col("log_return").sum())
    known = rule.signal > 0.0 and expected > 0.0
    return Yardstick(
        market=name_market(simulated),
        signal=rule.signal,
        sharpe_ratio=None if np.isnan(ratio) else ratio,
        expected_log_return=expected,
        shares={str(name): value / expected for name, value in earned.rows()} if known else {},
    )


def ask_about(split: MarketSplit, data: DataConfig, news: NewsConfig, simulated: SimulatedConfig) -> Oracle | None:
    """The optimal policy on the test window, who may trade at every session; None as `measure_yardstick`.

    Raises:
        DataError: as there.
    """
    planned = simulated.rule().horizon <= MAX_HORIZON and split.env.cash_rate == 0.0
    if data.source != "simulated" or news.source != "own" or not planned:
        return None
    market = simulate_market(tuple(split.states), simulated, data.seed)
    refuse_other_prices(market.prices, split)
    return ask_oracle(split.test, split.env, market.truth, simulated)


def refuse_other_prices(prices: pl.DataFrame, split: MarketSplit) -> None:
    """Raise where closes are not those of the market states."""
    for symbol, states in split.states.items():
        closes = prices.filter(pl.col("symbol") == symbol).select("session", "adj_close")
        both = states.select("session", "mark_price").join(closes, on="session", how="left")
        close = (pl.col("mark_price") / pl.col("adj_close") - 1.0).abs() < ROUNDING
        if not both.select(close.fill_null(value=False).all()).item():
            raise DataError(
                f"{symbol}: simulated.* and data.seed do not draw the closes that were traded; make the data anew "
                "(kedro run)"
            )


def name_market(simulated: SimulatedConfig) -> str:
    """The preset, and which of its numbers were replaced by what; the span apart."""
    rule, preset = asdict(simulated.rule()), asdict(SimulatedConfig(market=simulated.market).rule())
    changed = {name: value for name, value in rule.items() if value != preset[name] and not name.endswith("_session")}
    given = [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in changed.items()]
    return simulated.market + (f" with {', '.join(given)}" if given else "")


def describe_yardstick(yardstick: dict[str, object] | None, policy: str) -> str | None:
    """In a sentence or two, from `Yardstick` as JSON has it; None without one."""
    if yardstick is None:
        return None
    ratio, shares, signal = yardstick["sharpe_ratio"], yardstick["shares"], yardstick["signal"]
    assert isinstance(shares, dict)
    strength = "never trades" if ratio is None else f"has a Sharpe ratio of {ratio:.1f}"
    opening = f"The optimal policy on the headlines of this market {strength}."
    if policy not in shares:
        why = (
            "No headline moves a price: there is nothing to learn."
            if signal == 0.0
            else "Effects do not pay for costs."
        )
        return f"{opening} {why}"
    ridge = f", {TEXT_RIDGE} {shares[TEXT_RIDGE]:.0%}" if TEXT_RIDGE in shares else ""
    return f"{opening} {policy} takes {shares[policy]:.0%} of the log return that it expects{ridge}."
