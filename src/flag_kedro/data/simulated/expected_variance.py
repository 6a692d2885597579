"""An upper bound of forecasts of a simulated week's realised variance: that of who knows the simulation.

It knows the rule, the state of each GARCH process, all headlines up to the close and their sizes; later headlines and
the noise it knows by their frequencies. The regimes of the coming sessions it knows too, which nobody could: with the
close's regime held it loses about 0.011 of QLIKE (0.4431 in place of 0.4323 on the test window of the preset
`regimes`, data seed 0).

Shape legend: T = sessions, warm-up included; s = the session that is j + 1 after a close.
"""

from collections.abc import Sequence

import numpy as np

from flag_kedro.data.realised import HORIZON
from flag_kedro.data.simulated.articles import SIGN, Article
from flag_kedro.data.simulated.config import MarketRule
from flag_kedro.data.simulated.prices import (
    COMMON_VARIANCE,
    GARCH_ALPHA,
    GARCH_BETA,
    OVERNIGHT_VARIANCE,
    Climate,
    Floats,
    garch_variance,
)


def expect_week_variance(
    articles: Sequence[Article], turbulence: Floats, climate: Climate, idiosyncratic: Floats, rule: MarketRule
) -> Floats:
    """Expected sum of the squared log returns, close over close, of the five sessions after each, [T]; NaN at the end.

    Args:
        articles: of the symbol.
        turbulence: of `volatility.plant_volatility`, [T].
        climate: what all symbols share.
        idiosyncratic: the symbol's own part of the noise, [T].
        rule: of the market.
    """
    num = len(turbulence)
    total, last = np.full(num, np.nan), num - HORIZON
    common, own = garch_variance(climate.factor)[:last], garch_variance(idiosyncratic)[:last]
    total[:last] = 0.0
    for ahead in range(HORIZON):
        fades = (GARCH_ALPHA + GARCH_BETA) ** ahead
        clusters = 1.0 + fades * (COMMON_VARIANCE * (common - 1.0) + (1.0 - COMMON_VARIANCE) * (own - 1.0))
        shape = OVERNIGHT_VARIANCE + (1.0 - OVERNIGHT_VARIANCE) * clusters
        noise = rule.noise * climate.noise[ahead + 1 : ahead + 1 + last]
        mean = climate.drift[ahead + 1 : ahead + 1 + last] + _known_effect(articles, rule, num, ahead)[:last]
        total[:last] += noise**2 * shape * _mean_square(turbulence[:last], rule, ahead)
        total[:last] += mean**2 + _unknown_effect(rule, ahead)
    return total


def _mean_square(turbulence: Floats, rule: MarketRule, ahead: int) -> Floats:
    """Expected square of what headlines of turbulence multiply the noise of session s by, [T].

    Either the newest of the decisions between has one, `age` sessions before the last of them, or none has.
    """

    def square(state: Floats | float) -> Floats | float:
        return rule.volatility_effect ** (2.0 * state)

    share = rule.volatility_news
    expected = (1.0 - share) ** ahead * square(turbulence * rule.volatility_decay**ahead)
    for age in range(ahead):
        state = rule.volatility_decay**age
        expected = expected + share * (1.0 - share) ** age * (square(state) + square(-state)) / 2.0
    return np.asarray(expected, dtype=np.float64)


def _known_effect(articles: Sequence[Article], rule: MarketRule, num_sessions: int, ahead: int) -> Floats:
    """What headlines known at each close plant in session s, [T]."""
    effect = np.zeros(num_sessions)
    for article in articles:
        for age in range(rule.horizon - ahead):
            if article.kind in SIGN and article.known + age < num_sessions:
                planted = SIGN[article.kind] * rule.signal * article.size
                effect[article.known + age] += planted * rule.decay ** (age + ahead)
    return effect


def _unknown_effect(rule: MarketRule, ahead: int) -> float:
    """Expected square of what headlines that are not out yet plant in session s; good or bad is as likely."""
    since = range(min(ahead, rule.horizon))
    weights = rule.priced_in**2 + sum(rule.decay ** (2 * age) for age in since)
    return rule.event_share * rule.signal**2 * float(np.exp(rule.size_spread**2)) * weights
