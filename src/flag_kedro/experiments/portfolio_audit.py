"""The causality audit of portfolios: prompts, weights and fills by a time, made anew from changed tables."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import polars as pl

from flag_kedro.backtest.audit import Play, audit_causality, audit_levels, auditable, choose_cuts
from flag_kedro.backtest.portfolio_replay import OpenPortfolio, PortfolioReplay, Weigh
from flag_kedro.backtest.portfolio_rules import HINDSIGHT
from flag_kedro.backtest.replay import Replay
from flag_kedro.env.account import Floats
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import States
from flag_kedro.errors import DataError
from flag_kedro.experiments.portfolios import replay_portfolios
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import ALL_SYMBOLS

FRESH_SESSIONS = 10
"""Before a cut, sessions whose prompts the policy reads anew; others that it has seen are answered from memory."""


class RememberedWeights:
    """A rule that reads prompts alone, and its answers so far: the same prompts get the same bits."""

    def __init__(self, weigh: Weigh) -> None:
        self._weigh = weigh
        self._answers: dict[tuple[str, ...], Floats | None] = {}

    def again(self, num_sessions: int) -> Weigh:
        """The rule for one replay, which reads the last `FRESH_SESSIONS` of `num_sessions` anew."""
        session = -1

        def weigh(states: States, held: Floats) -> Floats | None:
            nonlocal session
            session += 1
            prompts = tuple(map("".join, zip(states.prefix, states.account, strict=True)))
            if session >= num_sessions - FRESH_SESSIONS or prompts not in self._answers:
                self._answers[prompts] = self._weigh(states, held)
            return self._answers[prompts]

        return weigh


def audit_portfolios(
    weights: pl.DataFrame,
    tables: MarketTables,
    split: MarketSplit,
    opened: OpenPortfolio,
    num_cuts: int,
    seed: int,
    on_check: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Change what became known after each of some times, weigh anew and compare what was held by then.

    The portfolio that is the best in hindsight is left out: it is named for what it knows.

    Args:
        weights: of the backtest, columns of `portfolio_replay.WEIGHTS`.
        tables: the validated ones.
        split: the market.
        opened: what is trained.
        num_cuts: times to audit at.
        seed: of draws.
        on_check: called after each check, for a progress bar.

    Returns:
        `passed`, `checks` and `levels` as in `audit_results.CausalityAudit`.

    Raises:
        DataError: when the backtest does not repeat from the tables.
    """
    play = _play_anew(split, opened)
    reference = play(tables, None)
    again = pl.concat(replayed.decisions for replayed in reference.values())
    if not weights.filter(pl.col("strategy") != HINDSIGHT).equals(again):
        raise DataError(
            "the portfolio's weights do not repeat from prices and news as they are now in 02_intermediate; run ingest "
            "and features again (kedro run --pipelines=train), or the whole portfolio"
        )
    decided_at = _decided_at(split)
    cuts = choose_cuts(auditable(decided_at), num_cuts, seed)
    checks = audit_causality(tables, decided_at, reference, play, cuts, seed, on_check)
    levels = audit_levels(tables)
    passed = not any([*(check.num_differences for check in checks), levels.num_differences])
    return {"passed": passed, "checks": [asdict(check) for check in checks], "levels": asdict(levels)}


def _play_anew(split: MarketSplit, opened: OpenPortfolio) -> Play:
    """From tables to replays, cut at a time if one is given."""
    policy = RememberedWeights(opened.weigh)

    decided_at = next(iter(split.states.values())).filter(pl.col("session").is_between(*split.windows.test))[
        "decided_at"
    ]

    def play(tables: MarketTables, until: datetime | None) -> Mapping[str, Replay]:
        market = replace(split, states=tables.build_states(), given=split.windows)
        num_shown = len(decided_at) if until is None else int((decided_at <= until).sum())
        found = replay_portfolios(
            market, opened.config, policy.again(num_shown), opened.read_ahead, leave_out=(HINDSIGHT,), until=until
        )
        return {name: _as_replay(replayed) for name, replayed in found.items()}

    return play


def _as_replay(replayed: PortfolioReplay) -> Replay:
    """Weights in the place of decisions."""
    return Replay(prompts=replayed.prompts, decisions=replayed.weights, equity=replayed.equity)


def _decided_at(split: MarketSplit) -> pl.DataFrame:
    """When each symbol, and the account of all, decides in the test window."""
    first, last = split.windows.test
    columns = ("symbol", "session", "decided_at")
    tables = [split.states[symbol].select(columns) for symbol in split.test.symbols]
    own = pl.concat(tables).filter(pl.col("session").is_between(first, last))
    all_symbols = own.group_by("session", maintain_order=True).agg(pl.col("decided_at").max())
    return pl.concat([own, all_symbols.select(pl.lit(ALL_SYMBOLS).alias("symbol"), "session", "decided_at")])
