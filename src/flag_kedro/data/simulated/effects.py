"""What the articles of one symbol plant in its returns.

Shape legend: T = sessions, warm-up included.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flag_kedro.data.simulated.articles import SIGN, Article
from flag_kedro.data.simulated.config import MarketRule


def plant_effects(articles: Sequence[Article], rule: MarketRule, num_sessions: int) -> dict[str, NDArray[Any]]:
    """What good and bad articles plant, as `SimulatedMarket.truth` has it, [T] each.

    The first session after `known` moves by `signal` times the article's size, each later one by `decay` of the one
    before. Before the article is out, the session before `known` (the last one that closes by then) moves by
    `priced_in` of the first effect. Two articles that disagree count as one in `usable`, of the larger one's sign: that
    is what their mean sizes come to.
    """
    effect, following, second = (np.zeros(num_sessions) for _ in range(3))
    usable, before_close = np.zeros(num_sessions), np.zeros(num_sessions, dtype=bool)
    level = np.zeros(num_sessions, dtype=np.int64)
    weights: NDArray[np.float64] = np.power(rule.decay, np.arange(rule.horizon, dtype=np.float64))
    for article in articles:
        if article.known < num_sessions:
            level[article.known] = max(level[article.known], article.level)
        if article.kind not in SIGN:
            continue
        first, planted = article.known + 1, SIGN[article.kind] * rule.signal * article.size * weights
        _add(effect, first, planted)
        _add(effect, article.known - 1, rule.priced_in * planted[:1])
        _add(following, article.known, planted)
        _add(second, article.known, planted[1:])
        usable[article.known : first] += SIGN[article.kind] * article.mean_size
        before_close[article.day] |= not article.after_close
    return {
        "effect": effect,
        "next_effect": following,
        "second_effect": second,
        "usable": usable.astype(np.int64),
        "before_close": before_close,
        "level": level,
    }


def _add(target: NDArray[np.float64], start: int, values: NDArray[np.float64]) -> None:
    """Add values from `start` on, as far as `target` reaches."""
    if start >= 0:
        part = target[start : start + len(values)]
        part += values[: len(part)]
