"""Backtests of rules on a small market, saved as the pipeline saves them."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold, flat, sticky_random
from flag_kedro.backtest.benchmark import compare_to_benchmark
from flag_kedro.backtest.config import BacktestConfig, Convention
from flag_kedro.backtest.counterfactual import shift_in_time
from flag_kedro.backtest.pooled import ReplayedStrategies
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.rules import follow, macd_targets
from flag_kedro.data.config import DataConfig, NewsConfig, WindowsConfig
from flag_kedro.data.schema import PRICES
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.data.streams import stream
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.env.account import HOLD, SELL
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decide, Decisions, States
from flag_kedro.experiments.strategies import join_replays
from flag_kedro.features.market_state import build_market_states
from flag_kedro.pipelines.backtest.nodes import score_backtest, sensitivity_of_backtest

TRAIN, TEST = (date(2023, 8, 1), date(2023, 8, 31)), (date(2023, 9, 1), date(2023, 11, 30))
SPLIT, DELISTED, JUMP = date(2023, 10, 2), date(2023, 11, 15), date(2023, 10, 14)
CALENDARS = {"ALDR": "XNYS", "BRIX": "XNYS", "COIN": "24/7"}
MEMBERS = pl.DataFrame(
    {"symbol": list(CALENDARS), "first": [None] * 3, "last": [None] * 3, "delisted": [None, DELISTED, None]},
    schema=UNIVERSE,
)
QUOTES = ("open", "high", "low", "close")
NOBODY_ASKED: dict[str, Any] = {"left_out": None, "endpoint": None}
DRAWS, SEED = 200, 0


@dataclass(frozen=True)
class Setting:
    """Parameters of a backtest and the symbols that it trades."""

    env: dict[str, Any] = field(default_factory=dict)
    symbols: tuple[str, ...] = ("ALDR", "BRIX", "COIN")
    convention: Convention = "account"


def make_market() -> SimulatedMarket:
    """Two stocks and a coin, which is listed within the window; BRIX splits two for one, pays, and is delisted."""
    span = SimulatedConfig(market="easy", first_session=date(2023, 8, 1), last_session=date(2023, 12, 1))
    simulated = simulate_market(("ALDR", "BRIX"), span, seed=3)
    brix = pl.col("symbol") == "BRIX"
    before, gone = brix & (pl.col("session") < SPLIT), brix & (pl.col("session") > DELISTED)
    quotes = [pl.when(before).then(2.06 * pl.col(name)).otherwise(name).alias(name) for name in QUOTES]
    volume = pl.when(before).then(pl.col("volume") / 2.0).otherwise("volume").alias("volume")
    stocks = simulated.prices.filter(~gone).with_columns(*quotes, volume)
    return replace(simulated, prices=pl.concat([stocks, coin()]))


def coin() -> pl.DataFrame:
    """Prices of every day, weekends included, that more than double overnight; some volumes are 0 or unknown."""
    rng, first = stream(0, "coin"), date(2023, 7, 8)
    days = [first + timedelta(days=t) for t in range((TEST[1] - first).days + 1)]
    num = len(days)
    jump = np.array([math.log(2.4) if day >= JUMP else 0.0 for day in days])
    closes = 50.0 * np.exp(np.cumsum(0.03 * rng.standard_normal(num)) + jump)
    opens = closes * np.exp(-0.01 * rng.standard_normal(num))
    volumes = [{0: None, 1: 0.0}.get(int(kind), 2e6) for kind in rng.integers(0, 8, num)]
    return pl.DataFrame(
        {
            "symbol": ["COIN"] * num,
            "session": days,
            "open": opens,
            "high": np.maximum(opens, closes) * 1.01,
            "low": np.minimum(opens, closes) * 0.99,
            "close": closes,
            "volume": pl.Series(volumes, dtype=pl.Float64),
            "adj_close": closes,
            "available_at": [datetime.combine(day + timedelta(days=1), time(0), UTC) for day in days],
        }
    ).cast(PRICES)  # type: ignore[arg-type]


def sell_at_once(states: States) -> Decisions:
    """Sell wherever it is legal: short from the first session on where shorts are allowed."""
    return Decisions(np.where(states.action_mask[:, SELL], SELL, HOLD))


def rules(split: MarketSplit) -> dict[str, Decide]:
    """Strategies by name; `flag_trader` asks for positions that are drawn."""
    shape, shorts = split.test.mark_prices.shape, split.env.positions == "long_short"
    changes = stream(SEED, "drawn positions").random(shape) < 0.15
    drawn = np.cumsum(changes, axis=1) % 2
    return {
        "flag_trader": follow(2 * drawn - 1 if shorts else drawn),
        "buy_and_hold": buy_and_hold,
        "flat": flat,
        "sticky_random": sticky_random(SEED, split.test.symbols),
        "momentum": follow(macd_targets(split.states, split.test, shorts)),
        "text_ridge": sell_at_once,
    }


def save_backtest(folder: Path, setting: Setting, market: SimulatedMarket) -> None:
    """Replay, score and compare as the backtest's nodes do, and save what they save."""
    of_setting = pl.col("symbol").is_in(setting.symbols)
    prices, news = market.prices.filter(of_setting), market.news.filter(of_setting)
    settings = {"digest_sessions": 1, "digest_chars": 100, "article_chars": 100}
    states, _ = build_market_states(prices, news, universe=MEMBERS, **settings)
    calendars = {symbol: CALENDARS[symbol] for symbol in setting.symbols}
    windows = WindowsConfig(train=TRAIN, test=TEST)
    data = DataConfig(source="files", path="prices", calendar=calendars, windows=windows)
    split = MarketSplit.of(states, data, EnvConfig(**setting.env))
    played = {name: replay(name, split.test, split.env, rule) for name, rule in rules(split).items()}
    decisions, equity = join_replays(played)
    backtest = BacktestConfig(convention=setting.convention, bootstrap_draws=DRAWS)
    reports = {
        "backtest_metrics": score_backtest(
            decisions, equity, split, NOBODY_ASKED, data, NewsConfig(), SimulatedConfig(market="easy"), backtest, SEED
        ),
        "backtest_inference": compare(decisions, equity, split),
        "backtest_sensitivity": sensitivity_of_backtest(decisions, split),
    }
    tables = {
        "02_intermediate/prices": prices,
        "07_model_output/decisions": decisions,
        "07_model_output/equity": equity,
    }
    tables |= {f"04_feature/market_states/{symbol}": table for symbol, table in states.items()}
    write(folder, tables, reports)


def compare(decisions: pl.DataFrame, equity: pl.DataFrame, split: MarketSplit) -> dict[str, Any]:
    """The comparison of a run whose trials nobody has counted."""
    evaluation = split.evaluation
    cash, shorts = evaluation.cash_returns, evaluation.long_short
    replayed = ReplayedStrategies(decisions, equity, evaluation.calendars, cash, shorts)
    shifts = shift_in_time(evaluation.window, evaluation.env, evaluation.targets(decisions))
    compared = compare_to_benchmark(replayed, replayed.draw(DRAWS, SEED), trials=None, shifts=shifts)
    return asdict(compared) | {"num_trials": None, "seeds": {}}


def write(folder: Path, tables: Mapping[str, pl.DataFrame], reports: Mapping[str, dict[str, Any]]) -> None:
    for name, table in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(folder / f"{name}.parquet")
    (folder / "08_reporting").mkdir()
    for name, report in reports.items():
        (folder / "08_reporting" / f"{name}.json").write_text(json.dumps(report))
