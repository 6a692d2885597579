"""The oracle asks for what is best for somebody who knows the rule and each headline once it is known, and no more."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import ParameterError
from flag_kedro.experiments.oracle import ask_oracle

MakeWindow = Callable[..., TradingWindow]
ENV = EnvConfig(cost_bps=5, slippage_bps=5)


def truth(usable: Sequence[int], before_close: Sequence[bool] | None = None) -> pl.DataFrame:
    days = [date(2024, 1, 1) + timedelta(days=t) for t in range(len(usable))]
    columns = {"symbol": "A", "session": days, "usable": usable}
    return pl.DataFrame(columns | {"before_close": before_close or [False] * len(usable)})


def test_one_good_headline_is_bought_and_held_until_a_bad_one_pays_for_the_sale(make_window: MakeWindow):
    """Three sessions of 0.6 % for a cost of 0.1 %; then nothing is expected, and a sale would only cost."""
    window = make_window("next_open", A=[10.0] * 8)
    oracle = ask_oracle(window, ENV, truth([0, 1, 0, 0, 0, 0, -1, 0]), SimulatedConfig(signal=0.006, horizon=3))
    assert oracle.targets.tolist() == [[0, 1, 1, 1, 1, 1, 0, 0]]
    assert oracle.expected_log_return == pytest.approx([3 * 0.006 - np.log(1.001) + np.log(0.999)])


def test_an_effect_below_the_cost_of_one_session_is_bought_for_several(make_window: MakeWindow):
    """0.06 % a session for 0.1 %: worth it for three sessions, not for the single one that the window has left."""
    window = make_window("next_open", A=[10.0] * 5)
    rule = SimulatedConfig(signal=0.0006, horizon=3)
    assert ask_oracle(window, ENV, truth([1, 0, 0, 0, 0]), rule).targets.tolist() == [[1, 1, 1, 1, 1]]
    assert ask_oracle(window, ENV, truth([0, 0, 0, 1, 0]), rule).targets.tolist() == [[0, 0, 0, 0, 0]]


def test_a_headline_before_the_window_is_known_in_it(make_window: MakeWindow):
    window = make_window("next_open", A=[10.0] * 4)
    earlier = truth([1, 0, 0, 0, 0, 0]).with_columns(pl.col("session") - timedelta(days=2))
    oracle = ask_oracle(window, ENV, earlier, SimulatedConfig(signal=0.006, horizon=3))
    assert oracle.targets[0, 0] == 1
    assert oracle.expected_log_return == pytest.approx([0.006 - np.log(1.001)])


def test_next_close_earns_a_session_later(make_window: MakeWindow):
    """With a horizon of one session the only one that a headline moves is over before the purchase."""
    window = make_window("next_close", A=[10.0] * 4)
    nothing = ask_oracle(window, ENV, truth([1, 0, 0, 0]), SimulatedConfig(signal=0.006, horizon=1))
    assert nothing.targets.tolist() == [[0, 0, 0, 0]]
    two = ask_oracle(window, ENV, truth([1, 0, 0, 0]), SimulatedConfig(signal=0.006, horizon=2))
    assert two.targets[0, 0] == 1
    assert two.expected_log_return == pytest.approx([0.006 - np.log(1.001)])


@pytest.mark.parametrize(("share", "signal"), [(0.5, 0.006), (1.0, 0.002), (0.2, 0.0012)])
def test_no_rule_of_thresholds_expects_more_over_all_headlines_that_can_come(
    share: float, signal: float, make_window: MakeWindow
):
    """Every possible sequence of headlines over four decisions, by its probability, for the oracle and for all rules
    that buy and sell at thresholds of what the next session is expected to bring."""
    window, rule = make_window("next_open", A=[10.0] * 5), SimulatedConfig(signal=signal, share=share, horizon=2)
    kinds = [(0, False)] + [(sign, before) for sign in (1, -1) for before in (False, True)]
    chances = {kind: share / 4 if kind[0] else 1 - share for kind in kinds}
    thresholds = [signal * k for k in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)]
    rules = [(buy, sell) for buy in thresholds for sell in thresholds if sell <= buy]
    oracle_mean, rule_means = 0.0, dict.fromkeys(rules, 0.0)
    for days in product(kinds, repeat=4):
        probability = float(np.prod([chances[day] for day in days]))
        usable = [0] * 5
        for t, (sign, before) in enumerate(days):
            usable[t if before else t + 1] += sign
        before_close = [before for _, before in days] + [False]
        oracle = ask_oracle(window, ENV, truth(usable, before_close), rule)
        oracle_mean += probability * float(oracle.expected_log_return[0])
        expected = [signal * (usable[t] + (usable[t - 1] if t else 0)) for t in range(4)]
        for buy, sell in rules:
            rule_means[buy, sell] += probability * earned(expected, buy, sell)
    assert oracle_mean > 0.0
    assert oracle_mean >= max(rule_means.values()) - 1e-12


def earned(expected: Sequence[float], buy: float, sell: float) -> float:
    """Of a rule that buys where more than `buy` is expected and sells where less than `sell` is."""
    total, held = 0.0, False
    for effect in expected:
        if not held and effect > buy:
            total, held = total - float(np.log1p(ENV.cost)), True
        elif held and effect < sell:
            total, held = total + float(np.log1p(-ENV.cost)), False
        total += effect if held else 0.0
    return total


def test_a_rule_that_reaches_too_far_is_refused(make_window: MakeWindow):
    with pytest.raises(ParameterError, match=r"simulated\.horizon is 7; the optimal policy is known for at most 6"):
        ask_oracle(make_window("next_open", A=[10.0] * 4), ENV, truth([0] * 4), SimulatedConfig(horizon=7))
