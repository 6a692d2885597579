"""One decision for each symbol, the backtest's own, with what it was taken on and what would change it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.env.account import ACTION_NAMES, Floats
from flag_kedro.env.config import Fill
from flag_kedro.env.prompt import account_texts, leave_headlines_out, leave_market_out, split_prompt
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import States
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.policy.interface import Evaluator
from flag_kedro.serving.accounts import DuePrompt, due_prompts
from flag_kedro.serving.config import DecideConfig
from flag_kedro.serving.ledger import Line

ENDED = ("simulated", "investorbench")
"""Sources that will have no newer data."""
LOOK_BACK = timedelta(days=14)
"""Far enough for the last session of any exchange."""


@dataclass(frozen=True)
class LeftOut:
    """What the policy would do without one part of what it was told; saved as JSON in this order."""

    part: str
    """`headline`, `prices` or `account`."""
    text: str
    """What was left out."""
    action: str
    """The most probable one then."""
    probability: float
    """Then, of the action that was taken with everything."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do at the next fill; saved as JSON in this order."""

    symbol: str
    session: str
    """At whose close it is taken."""
    decided_at: str
    """That close, UTC."""
    sessions_behind: int | None
    """That have closed since; None where a day was asked for."""
    fill: str
    """Price at which it trades."""
    fills_at: str | None
    """When that price is made, UTC: until then the market cannot have answered. None at the close that it is taken
    at, as is the next open of a market that never closes."""
    position: int
    """Held now: -1 short, 0 flat, 1 long."""
    position_from: str
    """Where that is known from, in words."""
    action: str
    probabilities: dict[str, float]
    value: float
    market_text: str
    news_text: str
    account_text: str
    prompt_sha256: str
    without: list[LeftOut]
    events: list[str] | None = None
    """Kinds of events that the session is, where only events may trade (`env.decide_on`): without one the decision is
    to hold, whatever the policy would say. None where every session may trade."""

    def as_json(self) -> dict[str, Any]:
        """All of it, `events` only where they matter."""
        content = asdict(self)
        if self.events is None:
            del content["events"]
        return content


class Answer(NamedTuple):
    """What the policy says to one prompt."""

    action: int
    odds: Floats
    """Probabilities of sell, hold and buy, [3]."""
    value: float


@dataclass(frozen=True)
class Decided:
    """Decisions, and the symbols that have none."""

    decisions: list[Decision]
    left_out: dict[str, str]
    """Why, by symbol."""


class _Session(NamedTuple):
    day: date
    behind: int | None
    """Sessions that have closed since; None where the day was asked for."""


def decide(
    policy: Evaluator,
    split: MarketSplit,
    prices: pl.DataFrame,
    config: DecideConfig,
    now: datetime,
    lines: Sequence[Line] = (),
) -> Decided:
    """Decide for every symbol at its newest close, with one call of the policy for all prompts.

    Args:
        policy: the trained one.
        split: market states as they are read now, and the environment of the training.
        prices: `symbol`, `session`, `low`, `high`, `close` and `adj_close`, by which entries are checked and adjusted.
        config: day and positions.
        now: UTC, by which states may be stale.
        lines: of the ledger, of this policy.

    Raises:
        DataError: when a symbol has no state of that session, or only stale ones. Where there is a universe, such
            symbols are left out.
        ParameterError: when a position is not one of this environment, or of another symbol.
    """
    unknown = sorted(set(config.position if isinstance(config.position, dict) else ()) - set(split.states))
    if unknown:
        raise ParameterError(f"decide.position names {', '.join(unknown)}; there is {', '.join(split.states)}")
    sessions, left_out = _sessions(split, config, now)
    due: list[DuePrompt] = []
    for day in sorted({each.day for each in sessions.values()}):
        some = split.with_states({name: split.states[name] for name, each in sessions.items() if each.day == day})
        due += due_prompts(policy, some, prices, config, day, lines)
    left_out |= dict.fromkeys(
        sessions.keys() - {each.symbol for each in due}, "its account is ruined, or takes no part"
    )
    left_out |= {each.symbol: _stopped(each.position) for each in due if each.stopped}
    due = [each for each in due if not each.stopped]
    due.sort(key=lambda each: list(split.states).index(each.symbol))
    if not due:
        raise DataError(f"there is nothing to decide: {'; '.join(f'{name}: {why}' for name, why in left_out.items())}")
    answers, without = _ask(policy, due, split)
    decisions = [
        _decision(each, answers[index], without[index], split, sessions[each.symbol]) for index, each in enumerate(due)
    ]
    return Decided(decisions, dict(sorted(left_out.items())))


def _stopped(position: int) -> str:
    """Why a stopped account has no decision, and what is left to do."""
    held = "close all of it at the next fill" if position else "it is flat and stays so"
    return f"env.max_drawdown_stop has stopped its account: {held}"


def _ask(policy: Evaluator, due: Sequence[DuePrompt], split: MarketSplit) -> tuple[list[Answer], list[list[LeftOut]]]:
    """What the policy says to each prompt, and without each of its parts."""
    asked, parts = _prompts(due, split)
    decisions = policy.decide(asked)
    assert decisions.probabilities is not None
    assert decisions.values is not None
    rows = zip(decisions.actions, decisions.probabilities, decisions.values, strict=True)
    answers = [Answer(int(action), odds, float(value)) for action, odds, value in rows]
    without: list[list[LeftOut]] = [[] for _ in due]
    for (owner, part, text), answer in zip(parts, answers[len(due) :], strict=True):
        taken = answers[owner].action
        without[owner].append(LeftOut(part, text, ACTION_NAMES[answer.action], float(answer.odds[taken])))
    return answers[: len(due)], without


def _decision(due: DuePrompt, answer: Answer, without: list[LeftOut], split: MarketSplit, at: _Session) -> Decision:
    session = at.day
    state = split.states[due.symbol].row(by_predicate=pl.col("session") == session, named=True)
    return Decision(
        symbol=due.symbol,
        session=session.isoformat(),
        decided_at=state["decided_at"].isoformat(),
        sessions_behind=at.behind,
        fill=split.env.fill,
        fills_at=_fills_at(session, split.calendars[due.symbol], split.env.fill),
        position=due.position,
        position_from=due.position_from,
        action=ACTION_NAMES[answer.action],
        probabilities=dict(zip(ACTION_NAMES, map(float, answer.odds), strict=True)),
        value=answer.value,
        market_text=state["market_text"],
        news_text=state["news_text"],
        account_text=_words(split_prompt(due.prompt)[1]),
        prompt_sha256=hashlib.sha256(due.prompt.encode()).hexdigest(),
        without=without,
        events=split.event_names(due.symbol, session),
    )


def _sessions(split: MarketSplit, config: DecideConfig, now: datetime) -> tuple[dict[str, _Session], dict[str, str]]:
    """The session of each symbol to decide at, and why others have none.

    Raises:
        DataError: when a symbol outside a universe has none.
    """
    found, lacking = {}, {}
    for symbol, table in split.states.items():
        newest = table["session"][-1]
        if config.as_of is not None:
            if config.as_of in table["session"]:
                found[symbol] = _Session(config.as_of, None)
            else:
                lacking[symbol] = f"has no state of {config.as_of}; its own are of {table['session'][0]} to {newest}"
            continue
        behind = _closed_since(newest, split.calendars[symbol], now)
        if behind <= config.max_age_sessions:
            found[symbol] = _Session(newest, behind)
        else:
            lacking[symbol] = f"is stale: its states end on {newest}, and {behind} sessions have closed since"
    refused = [symbol for symbol in lacking if "member" not in split.states[symbol].columns]
    if refused or not found:
        symbol = (refused or list(lacking))[0]
        way_out = "give another day"
        if config.as_of is None:
            day = split.states[symbol]["session"][-1]
            way_out = f'ask for that day: --params="decide.as_of={day}"'
            if split.data.source not in ENDED:
                way_out = f"read newer data (kedro run --pipelines=ingest,features), or {way_out}"
        raise DataError(f"{symbol} {lacking[symbol]}. So nothing is decided; {way_out}")
    return found, lacking


def _closed_since(session: date, calendar: str, now: datetime) -> int:
    """Sessions after `session` that closed by `now`."""
    later = exchange_sessions(calendar, session, max(now.date(), session) + LOOK_BACK)
    return later.filter((pl.col("session") > session) & (pl.col("closes_at") <= now)).height


def _fills_at(session: date, calendar: str, fill: Fill) -> str | None:
    """When the decision of a session fills, by the exchange's calendar."""
    if fill == "same_close":
        return None
    sessions = exchange_sessions(calendar, session, session + LOOK_BACK)
    closes = sessions.filter(pl.col("session") == session)["closes_at"][0]
    moment: datetime = sessions.filter(pl.col("session") > session)["opens_at" if fill == "next_open" else "closes_at"][
        0
    ]
    return moment.isoformat() if moment > closes else None  # a market that never closes opens as it closes


def _prompts(due: Sequence[DuePrompt], split: MarketSplit) -> tuple[States, list[tuple[int, str, str]]]:
    """All prompts: those that decide, then each without one part, of which owner, part and text are told."""
    prefixes, accounts, masks, parts = [], [], [], []
    for each in due:
        prefix, account = split_prompt(each.prompt)
        prefixes.append(prefix)
        accounts.append(account)
        masks.append(each.mask)
    flat = _flat_text(split)
    for index, each in enumerate(due):
        prefix, account = prefixes[index], accounts[index]
        variants = [("headline", text, without, account) for text, without in leave_headlines_out(prefix)]
        variants.append(("prices", "prices and indicators", leave_market_out(prefix), account))
        if each.position != 0 and flat is not None:
            variants.append(("account", _words(account), prefix, flat))
        for part, text, without, told in variants:
            prefixes.append(without)
            accounts.append(told)
            masks.append(each.mask)
            parts.append((index, part, text))
    return States(prefixes, accounts, np.stack(masks)), parts


def _flat_text(split: MarketSplit) -> str | None:
    texts = account_texts(split.env.account_view, split.env.positions)
    return None if texts is None else texts[0]


def _words(account: str) -> str:
    """An account's text without what asks for a decision."""
    return account.removesuffix("Decision:").strip().removesuffix(".")
