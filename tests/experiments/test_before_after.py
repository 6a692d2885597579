"""Memory of what came before a cutoff is found; without any, sides differ one time in twenty."""

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter

from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.replay import EQUITY, Replay, replay
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.experiments.before_after import (
    MIN_SESSIONS,
    Comparison,
    _auc_influence,
    _estimate_auc,
    compare_means,
    compare_policies,
    compare_recall,
    compare_timing,
    sides_of,
    spans_to_replay,
    why_not,
)
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.cutoffs import find_cutoff
from flag_kedro.experiments.memorisation import Answers, ask
from flag_kedro.experiments.statements import CloseStatement, draw_statements
from flag_kedro.experiments.strategies import Strategies
from flag_kedro.names import POLICY, ZERO_SHOT_LM

FIRST, CUTOFF = date(2020, 1, 1), date(2020, 3, 31)
WINDOWS = ((FIRST, date(2020, 4, 20)), (date(2020, 4, 21), date(2020, 6, 30)))
DRAWS = 300
Score = Callable[[Sequence[tuple[str, str]]], np.ndarray]


def prices(seed: int, num: int = 190) -> pl.DataFrame:
    """Random walks of two stocks."""
    days = [FIRST - timedelta(days=5) + timedelta(days=day) for day in range(num)]
    tables = []
    for symbol in ("AAA", "BBB"):
        moves = np.random.default_rng([seed, ord(symbol[0])]).normal(0.0, 0.02, num)
        closes = 100.0 * np.exp(np.cumsum(moves))
        tables.append(pl.DataFrame({"symbol": symbol, "session": days, "close": closes, "adj_close": closes}))
    return pl.concat(tables)


def draw(seed: int) -> list[list[CloseStatement]]:
    return [draw_statements(prices(seed), {}, window, 120, 9, seed) for window in WINDOWS]


def reader(statements: Sequence[Sequence[CloseStatement]], seed: int, known: date | None, bonus: float = 1.5) -> Score:
    """Noise, and up to the day `known` something more for what is true."""
    rng, true = np.random.default_rng([seed, 1]), set()
    for statement in (each for window in statements for each in window):
        if known is not None and statement.session <= known:
            true.add((statement.context, f" {statement.closes[statement.truth]}"))
            true.add((statement.subject, " rose" if statement.rose else " fell"))

    def score(texts: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.array([bonus * (text in true) for text in texts]) + rng.normal(size=len(texts))

    return score


def answers(seed: int, known: date | None) -> list[Answers]:
    statements = draw(seed)
    score = reader(statements, seed, known)
    return [ask(window, score) for window in statements]


def test_planted_memory_of_closes_and_directions_is_found():
    compared = compare_recall(answers(0, CUTOFF), CUTOFF, 1000, seed=0)
    for measure in ("closes", "direction"):
        comparison = compared[measure]
        assert comparison.reason is None
        assert comparison.difference.ci95[0] > 0.0
        assert comparison.difference.p_value < 0.01
        assert comparison.before.ci95[0] > 0.5
        assert comparison.after.ci95[0] < 0.5 < comparison.after.ci95[1]
        assert comparison.difference.value == pytest.approx(comparison.before.value - comparison.after.value)


def test_who_knows_nothing_is_found_in_one_of_twenty_seeds():
    p_values = np.array(
        [
            [
                comparison.difference.p_value
                for comparison in compare_recall(answers(seed, None), CUTOFF, DRAWS, 0).values()
            ]
            for seed in range(60)
        ]
    )
    assert ((p_values <= 0.05).mean(axis=0) <= 0.1).all()


def test_who_likes_high_numbers_is_at_chance_on_both_sides_of_a_cutoff_inside_a_window():
    """Six stocks rise together; statements about the whole window would put one side below chance, the other above."""
    days = [FIRST + timedelta(days=day) for day in range(120)]
    table = pl.concat(
        pl.DataFrame({"symbol": symbol, "session": days}).with_columns(
            (100.0 + pl.int_range(pl.len()) * 1.5).alias(name) for name in ("close", "adj_close")
        )
        for symbol in "ABCDEF"
    )
    cutoff, span = days[59], (days[0], days[-1])

    def percentiles(spans: Sequence[tuple[date, date]]) -> tuple[float, float]:
        found = []
        for seed in range(12):
            for each in spans:
                found.append(ask(draw_statements(table, {}, each, 120, 9, seed), likes_high).percentiles)
        known, later = (pl.concat(found).filter(side) for side in (before, ~before))
        return known["percentile"].mean(), later["percentile"].mean()

    def likes_high(texts: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.array([float(end) if end.strip()[0].isdigit() else 0.0 for _, end in texts])

    before = pl.col("session") <= cutoff
    assert percentiles([span])[0] < 0.47
    assert percentiles([span])[1] > 0.53
    assert percentiles(sides_of(span, cutoff)) == (pytest.approx(0.5, abs=0.02), pytest.approx(0.5, abs=0.02))
    assert sides_of(span, days[-1]) == sides_of(span, FIRST - timedelta(days=1)) == [span]


def test_influence_of_a_session_is_what_the_area_loses_without_it():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    odds = lfilter([1.0], [1.0, -0.95], rng.normal(size=400))
    rose = rng.random(400) < 0.5
    influence = _auc_influence(odds, rose)
    assert influence.mean() == pytest.approx(0.0, abs=1e-12)
    dropped = [roc_auc_score(np.delete(rose, k), np.delete(odds, k)) for k in range(400)]  # the jackknife
    own = roc_auc_score(rose, odds)
    assert np.corrcoef(influence[0], own - np.array(dropped))[0, 1] > 0.99


def test_who_knows_both_sides_alike_is_not_found():
    """A model whose text goes on: it recalls, but not less after the day that was named."""
    compared = compare_recall(answers(0, date(2021, 1, 1)), CUTOFF, 1000, seed=0)
    assert compared["closes"].before.ci95[0] > 0.5
    assert compared["closes"].after.ci95[0] > 0.5
    assert compared["closes"].difference.p_value > 0.05


def replays(positions: np.ndarray, returns: np.ndarray) -> tuple[Replay, Replay, Replay]:
    """A policy, buy and hold and cash, without costs or interest: positions [S, n] held over log returns [S, n]."""
    tables = []
    for held in (positions, np.ones_like(positions), np.zeros_like(positions)):
        rows = [
            {
                "strategy": "p", "symbol": f"S{s}", "session": FIRST + timedelta(days=t), "equity": 1.0,
                "position": int(held[s, t]), "log_return": None if t == 0 else float(held[s, t] * returns[s, t]),
                "traded_value": 0.0, "exposure": float(held[s, t]),
            }
            for s in range(len(returns))
            for t in range(returns.shape[1])
        ]  # fmt: skip
        tables.append(Replay(pl.DataFrame(), pl.DataFrame(), pl.DataFrame(rows, schema=EQUITY)))
    return tables[0], tables[1], tables[2]


def market(seed: int, drift: float = 0.0) -> np.ndarray:
    """Log returns [S, n] of three stocks that move together, with a drift up to the cutoff."""
    rng, num = np.random.default_rng(seed), 180
    common = rng.normal(0.0, 0.01, num) + np.where(np.arange(num) <= (CUTOFF - FIRST).days, drift, 0.0)
    return common + rng.normal(0.0, 0.01, (3, num))


def test_timing_by_memory_is_found_and_a_rising_market_is_not_taken_for_it():
    returns = market(0, drift=0.01)
    known = np.arange(returns.shape[1]) <= (CUTOFF - FIRST).days
    guesses = np.random.default_rng(1).integers(2, size=returns.shape)
    remembered = np.where(known & (np.random.default_rng(2).random(returns.shape) < 0.8), returns > 0, guesses)
    found = compare_timing(*replays(remembered, returns), CUTOFF, 1000, seed=0)
    assert found.before.num_sessions == (CUTOFF - FIRST).days
    assert found.before.num_sessions + found.after.num_sessions == returns.shape[1] - 1
    assert found.difference.p_value < 0.01
    assert found.difference.ci95[0] > 0.0
    always = compare_timing(*replays(np.ones_like(guesses), returns), CUTOFF, 1000, seed=0)
    assert always.difference.value == pytest.approx(0.0, abs=1e-15)
    assert compare_timing(*replays(guesses, returns), CUTOFF, 1000, seed=0).difference.p_value > 0.05


def test_who_times_by_chance_is_found_in_one_of_twenty_seeds():
    p_values = []
    for seed in range(60):
        returns = market(seed, drift=0.003)
        sticky = (np.random.default_rng([seed, 2]).random(returns.shape) < 0.2).cumsum(axis=1) % 2
        p_values.append(compare_timing(*replays(sticky, returns), CUTOFF, DRAWS, seed).difference.p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.1


def test_timing_is_the_return_less_that_of_a_constant_position():
    """By hand: two sessions a side would do, but twenty are asked for; so a pattern of four is repeated."""
    positions, returns = np.tile([[1, 0, 1, 1]], 20), np.tile([[0.02, -0.01, 0.01, 0.00]], 20)
    cutoff = FIRST + timedelta(days=39)
    comparison = compare_timing(*replays(positions, returns), cutoff, DRAWS, seed=0)
    # after: 40 sessions, mean position 3/4, mean return of the policy 0.0075, of the stock 0.005
    assert comparison.after.value == pytest.approx(0.0075 - 0.75 * 0.005)


def test_a_rule_that_remembers_prices_up_to_a_day_is_found_in_the_sessions_that_taught_it_nothing(
    make_states: Callable[..., pl.DataFrame],
):
    """It reads the session's number in its prompt, and knows what comes of it up to the cutoff; then it guesses."""
    closes = 100.0 * np.exp(np.random.default_rng(0).normal(0.0, 0.01, 200).cumsum())
    table = make_states(closes.tolist())
    days = table["session"].to_list()
    rng = np.random.default_rng(1)
    windows = WindowsConfig(train=(days[0], days[59]), validation=(days[60], days[79]), test=(days[80], days[199]))

    def remember(last: int) -> CachedPolicy:
        def decide(states: States) -> Decisions:
            session = int(re.search(r"market (\d+)", states.prefix[0])[1])
            known = session <= last and session + 2 < len(closes)
            rises = closes[session + 2] > closes[session + 1] if known else rng.random() < 0.5
            wanted = BUY if rises else SELL
            return Decisions(np.where(states.action_mask[:, wanted], wanted, HOLD))

        return CachedPolicy(decide)

    split = MarketSplit.of({"A": table}, DataConfig(windows=windows), EnvConfig(fill="next_close", cost_bps=0.0))
    for last, compared_too in ((140, True), (50, False)):
        policies = {name: partial(remember, last) for name in (POLICY, ZERO_SHOT_LM)}
        strategies = Strategies(policies, None, split, seed=0)
        spans = spans_to_replay(strategies, days[last])
        assert spans[ZERO_SHOT_LM] == (days[0], days[199])
        compared = compare_policies(strategies, spans, days[last], 1000, seed=0)
        assert compared[ZERO_SHOT_LM].difference.p_value < 0.01
        assert compared[ZERO_SHOT_LM].before.num_sessions == last
        assert compared[ZERO_SHOT_LM].after.num_sessions == 199 - last
        if compared_too:
            assert compared[POLICY].difference.ci95[0] > 0.0
            assert compared[POLICY].before.num_sessions == last - 80
        else:
            assert compared[POLICY].reason.startswith("not comparable: 0 sessions up to the cutoff 2024-02-20 and 119")


@pytest.mark.parametrize(
    ("rules", "interest"),
    [
        ({}, 0.0),
        ({"max_drawdown_stop": 0.1}, 0.0),  # buy and hold would be stopped in the fifth session
        ({"decide_on": "events"}, 0.0),  # and would wait for the news of the sixth
        ({"cash_rate": 0.05}, np.log(1.05) / 365),
        ({"cash_rate": 0.05, "positions": "long_short"}, np.log(1.05) / 365),
    ],
    ids=["plain", "stop", "events", "interest", "interest of shorts"],
)
def test_timing_is_measured_by_the_market_whatever_rules_bind_the_policy(
    rules: dict[str, Any], interest: float, make_states: Callable[..., pl.DataFrame]
):
    """It trades on even sessions without looking; closes give the market's returns, and its own positions the rest."""
    moves = np.random.default_rng(0).normal(0.0, 0.002, 120)
    moves[:2], moves[2:5] = 0.0, -0.06
    closes = 100.0 * np.exp(moves.cumsum())
    states = make_states(closes.tolist())
    news = ["- news" if t % 2 == 0 and t > 4 else "none" for t in range(len(closes))]
    states = states.with_columns(news_text=pl.Series(news))
    days, buys = states["session"].to_list(), np.random.default_rng(1).random(120) < 0.5
    windows = WindowsConfig(train=(days[0], days[9]), validation=(days[10], days[19]), test=(days[20], days[-1]))
    env = EnvConfig(fill="next_close", cost_bps=0.0, slippage_bps=0.0, borrow_bps_year=0.0, **rules)

    def trade(asked: States) -> Decisions:
        session = int(re.search(r"market (\d+)", asked.prefix[0])[1])
        wanted = (BUY if buys[session] else SELL) if session % 2 == 0 and session > 4 else HOLD
        return Decisions(np.where(asked.action_mask[:, wanted], wanted, HOLD))

    split = MarketSplit.of({"A": states}, DataConfig(windows=windows), env)
    strategies = Strategies({ZERO_SHOT_LM: lambda: CachedPolicy(trade)}, None, split, seed=0)
    compared = compare_policies(strategies, {ZERO_SHOT_LM: (days[0], days[-1])}, days[59], DRAWS, seed=0)
    held = replay("", split.cut((days[0], days[-1])), split.env, trade).equity
    position, returns = held["position"].to_numpy(), held["log_return"].to_numpy()
    moves[1] = interest  # the market is bought at the second close
    for side, which in ((compared[ZERO_SHOT_LM].before, slice(1, 60)), (compared[ZERO_SHOT_LM].after, slice(60, 120))):
        own = returns[which].mean() - position[which].mean() * moves[which].mean()
        assert side.value == pytest.approx(own - interest * (position[which] <= 0).mean(), abs=1e-12)


def test_area_of_every_draw_is_that_of_its_sessions():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    odds, rose = np.round(rng.normal(size=40), 1), rng.random(40) < 0.5  # with ties
    indices, _ = draw_sessions(odds[None], 50, 0)
    estimate = _estimate_auc(odds, rose, indices)
    assert estimate.value == pytest.approx(roc_auc_score(rose, odds))
    expected = [roc_auc_score(rose[drawn], odds[drawn]) for drawn in indices]
    assert estimate.drawn == pytest.approx(expected)
    independent = np.stack([np.random.default_rng(k).integers(40, size=40) for k in range(2000)])
    spread = _estimate_auc(odds, rose, independent).drawn.std()
    assert estimate.error == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize(("before", "after"), [(MIN_SESSIONS - 1, 50), (50, 0)])
def test_too_few_sessions_on_a_side_are_not_compared(before: int, after: int):
    assert compare_means([np.zeros(before), np.zeros(after)], CUTOFF, DRAWS, 0, "x") == Comparison(
        reason=f"not comparable: {before} sessions up to the cutoff 2020-03-31 and {after} after it; 20 are needed on "
        "each side"
    )


def test_a_ruined_account_is_not_compared():
    played, *others = replays(np.ones((1, 60)), np.zeros((1, 60)))
    ruined = played.equity.with_columns(
        log_return=pl.when(pl.col("session") > CUTOFF - timedelta(days=50)).then(-np.inf)
    )
    comparison = compare_timing(Replay(played.prompts, played.decisions, ruined), *others, CUTOFF, DRAWS, 0)
    assert comparison.reason == "not comparable: an account was ruined"


def test_without_a_cutoff_the_reason_is_given():
    assert "set contamination.model_cutoff" in why_not(find_cutoff("somebody/model", None, simulated=False))
    assert "the market is simulated" in why_not(find_cutoff("smollm2", None, simulated=True))
    assert why_not(find_cutoff("somebody/model", CUTOFF, simulated=False)) is None
