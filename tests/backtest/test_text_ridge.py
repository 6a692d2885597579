"""Ridge on words: which return it learns, what it reads, and what it trades."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.rules import follow
from flag_kedro.backtest.text_ridge import TextRidge, fit_text_ridge, ridge_targets
from flag_kedro.data.config import DataConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.windows import resolve_windows
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decide
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError
from flag_kedro.features.market_state import build_market_states

FIRST = date(2024, 1, 1)
COST = 0.001
NUM, TRAIN = 100, 80


def table(news: Sequence[str], opens: Sequence[float], marks: Sequence[float]) -> pl.DataFrame:
    days = [FIRST + timedelta(days=t) for t in range(len(news))]
    decided = [datetime.combine(day, time(21), UTC) for day in days]
    return pl.DataFrame(
        {
            "session": days,
            "decided_at": decided,
            "known_at": decided,
            "market_text": "",
            "news_text": list(news),
            "open_price": np.asarray(opens, dtype=float),
            "mark_price": np.asarray(marks, dtype=float),
            "volume": 1.0,
        }
    )


def cut(tables: dict[str, pl.DataFrame], first: int, last: int) -> TradingWindow:
    return cut_window(tables, (FIRST + timedelta(days=first), FIRST + timedelta(days=last)), "next_open")


def planted() -> dict[str, pl.DataFrame]:
    """After `profit beats` the next open-to-open return is 2 %, after `profit misses` -2 %, else 0."""
    rng = np.random.default_rng(0)
    news = rng.choice(["- profit beats estimates", "- profit misses estimates", "- annual meeting", "none"], NUM)
    moves = {"- profit beats estimates": 0.02, "- profit misses estimates": -0.02}
    log_returns = [0.0, 0.0] + [moves.get(text, 0.0) for text in news[:-2]]
    prices = 100 * np.exp(np.cumsum(log_returns))
    return {"A": table(news.tolist(), prices, prices)}


def same(first: TextRidge, second: TextRidge) -> bool:
    return first.words == second.words and np.array_equal(first.weights, second.weights)


def test_forecasts_follow_the_words_that_came_true() -> None:
    tables = planted()
    model = fit_text_ridge(tables, cut(tables, 0, TRAIN - 1), COST)
    good, bad, neutral, none, unknown = model.predict(
        ["- profit beats estimates", "- profit misses estimates", "- annual meeting", "none", "- zebra"]
    )
    assert good > 0.008
    assert bad < -0.008
    assert abs(neutral) < 0.005
    assert none == unknown == model.intercept


def test_targets_change_only_where_the_forecast_beats_the_cost() -> None:
    tables = planted()
    model = fit_text_ridge(tables, cut(tables, 0, TRAIN - 1), 0.008)
    news = ["none", "- profit beats estimates", "- zebra", "- profit misses estimates", "none"]
    asked = {"A": table(news, [1.0] * 5, [1.0] * 5)}
    window = cut(asked, 0, 4)
    assert ridge_targets(model, asked, window).tolist() == [[0, 1, 1, 0, 0]]
    assert ridge_targets(model, asked, window, long_short=True).tolist() == [[0, 1, 1, -1, -1]]
    dear = replace(model, cost=0.5)
    assert ridge_targets(dear, asked, window).tolist() == [[0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("fill", "column", "first", "last"),
    [("next_open", "open_price", 1, 2), ("next_close", "mark_price", 1, 2), ("same_close", "mark_price", 0, 1)],
)
def test_learned_return_goes_from_the_fill_of_the_decision_to_the_next_fill(
    fill: str, column: str, first: int, last: int
) -> None:
    """A jump in one column between two sessions counted from the news, and nothing else moves."""
    news = ["none"] * 60
    steps = {"open_price": np.zeros(60), "mark_price": np.zeros(60)}
    for day in (10, 30, 50):
        news[day] = "- takeover bid"
        steps[column][day + last] = 0.1
        for other in (day + first, day + last + 1):  # moves before and after belong to other decisions
            steps[column][other] = -0.1
    opens, marks = (100 * np.exp(np.cumsum(steps[name])) for name in ("open_price", "mark_price"))
    tables = {"A": table(news, opens, marks)}
    model = fit_text_ridge(tables, replace(cut(tables, 0, 59), fill=fill), COST)  # type: ignore[arg-type]
    assert model.predict(["- takeover bid"])[0] > 0.01


def test_nothing_outside_the_training_window_is_read() -> None:
    tables = planted()
    model = fit_text_ridge(tables, cut(tables, 10, TRAIN - 1), COST)
    outside = ~pl.col("session").is_between(FIRST + timedelta(days=10), FIRST + timedelta(days=TRAIN - 1))
    changed = {
        "A": tables["A"].with_columns(
            pl.when(outside).then(pl.lit("- profit beats zebra")).otherwise("news_text").alias("news_text"),
            *(pl.when(outside).then(7.0).otherwise(name).alias(name) for name in ("open_price", "mark_price")),
        )
    }
    assert same(model, fit_text_ridge(changed, cut(changed, 10, TRAIN - 1), COST))
    inside = {"A": tables["A"].with_columns(open_price=pl.col("open_price").reverse())}
    assert not same(model, fit_text_ridge(inside, cut(inside, 10, TRAIN - 1), COST))


@pytest.mark.parametrize("day", [TRAIN, TRAIN + 5, NUM - 2])
def test_news_after_a_session_change_no_target_up_to_it(day: int) -> None:
    tables = planted()
    model = fit_text_ridge(tables, cut(tables, 0, TRAIN - 1), COST)
    later = pl.col("session") > FIRST + timedelta(days=day)
    changed = {
        "A": tables["A"].with_columns(
            news_text=pl.when(later).then(pl.lit("- profit misses estimates")).otherwise("news_text"),
            mark_price=pl.when(later).then(pl.col("mark_price") * 10).otherwise("mark_price"),
        )
    }
    window = cut(tables, TRAIN, NUM - 1)
    before, after = (ridge_targets(model, states, window)[0] for states in (tables, changed))
    unchanged = day - TRAIN + 1
    assert before[:unchanged].tolist() == after[:unchanged].tolist()
    assert before.any()


@pytest.mark.parametrize("news", ["none", "- always the same words"])
def test_news_without_any_telling_word_leave_the_mean_return(news: str) -> None:
    prices = 100 * np.exp(0.002 * np.arange(40.0))
    tables = {"A": table([news] * 40, prices, prices)}
    model = fit_text_ridge(tables, cut(tables, 0, 39), COST)
    assert model.words == ()
    assert model.predict(["none", "- zebra"]).tolist() == pytest.approx([0.002, 0.002])
    assert ridge_targets(model, tables, cut(tables, 0, 3)).tolist() == [[1, 1, 1, 1]]


def test_prices_that_never_move_forecast_nothing() -> None:
    news = ["- profit beats", "- profit misses"] * 20
    tables = {"A": table(news, [5.0] * 40, [5.0] * 40)}
    model = fit_text_ridge(tables, cut(tables, 0, 39), COST)
    assert model.predict(news).tolist() == [0.0] * 40


def test_window_of_two_sessions_has_no_holding_period() -> None:
    tables = planted()
    with pytest.raises(DataError, match=r"data\.windows\.train is too short"):
        fit_text_ridge(tables, cut(tables, 0, 1), COST)


def earned(window: TradingWindow, rule: Decide) -> float:
    return float(replay("rule", window, EnvConfig(), rule).equity["log_return"].sum())


@pytest.mark.parametrize(("signal", "lower", "upper"), [(0.006, 1.5, 9.0), (0.0, -9.0, 0.75)])
def test_words_beat_buy_and_hold_on_the_simulated_market_only_while_headlines_move_it(
    signal: float, lower: float, upper: float
) -> None:
    """Sums of log returns over six symbols and 252 held-out sessions, next_open, 10 bp a trade, all defaults."""
    market = simulate_market(None, SimulatedConfig(market="easy", signal=signal), seed=0)
    states, _ = build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)
    windows = resolve_windows(DataConfig(), states)
    train, test = (cut_window(states, window, "next_open") for window in (windows.train, windows.test))
    model = fit_text_ridge(states, train, EnvConfig().cost)
    advantage = earned(test, follow(ridge_targets(model, states, test))) - earned(test, buy_and_hold)
    assert lower < advantage < upper
