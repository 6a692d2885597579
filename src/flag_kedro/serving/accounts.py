"""The account that a decision outside a backtest is due for: replayed, given, or flat."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from flag_kedro.backtest.replay import ReadAhead, replay
from flag_kedro.env.account import ACTION_NAMES, BUY, LOWEST, SELL, Accounts, Bools
from flag_kedro.env.prompt import account_texts, compact_account_codes, write_prefix
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decide
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import ParameterError
from flag_kedro.names import POLICY, STOPPED
from flag_kedro.policy.interface import Evaluator
from flag_kedro.serving.config import DecideConfig, Entry
from flag_kedro.serving.ledger import Line
from flag_kedro.serving.recorded import Recorded

TOLERANCE = 0.02
"""By which a price paid may lie outside the session's range: sources differ."""


@dataclass(frozen=True)
class DuePrompt:
    """A prompt on which a decision is due."""

    symbol: str
    prompt: str
    mask: Bools
    """Legal actions, [3]."""
    position: int
    position_from: str
    stopped: bool = False
    """Whether `env.max_drawdown_stop` has closed the account, or does at the next fill."""


def due_prompts(
    policy: Evaluator,
    split: MarketSplit,
    prices: pl.DataFrame,
    config: DecideConfig,
    session: date,
    lines: Sequence[Line] = (),
) -> list[DuePrompt]:
    """The prompt of each symbol at a session, with the account as it is; of those that take part and are not ruined.

    Args:
        policy: which is asked where accounts are replayed.
        split: market states, environment and test window.
        prices: by which entry prices are adjusted as states are.
        config: positions.
        session: at whose close a decision is due; every symbol has it.
        lines: of the ledger, of this policy.

    Raises:
        ParameterError: when a position cannot be one of this environment.
    """
    first, last = split.windows.test
    if config.position is None and first < session <= last:
        said = f"replayed from {first}, as in the backtest"
        return _replayed(split.cut((first, session)), policy.decide, split, said, policy.read_ahead)
    if config.position == "ledger":
        return _continued(split, session, lines)
    entries = config.position if isinstance(config.position, dict) else {}
    said = "given by decide.position"
    if config.position is None:
        begins = session == first
        said = "flat, as the test window begins" if begins else f"taken to be flat: {session} is not in the test window"
    return [_given(symbol, entries.get(symbol), split, prices, session, said) for symbol in split.states]


def _replayed(
    window: TradingWindow, decide: Decide, split: MarketSplit, said: str, read_ahead: ReadAhead | None = None
) -> list[DuePrompt]:
    """Accounts at the last session of a window, traded from its start."""
    played = replay(POLICY, window, split.env, decide, read_ahead=read_ahead)
    last = pl.col("session") == max(days[-1] for days in window.sessions)
    decided = {row["symbol"]: row for row in played.decisions.filter(last).iter_rows(named=True)}
    return [
        DuePrompt(
            symbol, prompt, _mask(legal.split()), decided[symbol]["position"], said, decided[symbol].get(STOPPED, False)
        )
        for symbol, prompt, legal in played.prompts.filter(last).select("symbol", "prompt", "legal").iter_rows()
    ]


def _continued(split: MarketSplit, session: date, lines: Sequence[Line]) -> list[DuePrompt]:
    """Accounts as the decisions in the ledger have left them; flat before the first."""
    earlier = [line for line in lines if date.fromisoformat(line["session"]) < session]
    begun = {line["symbol"] for line in earlier}
    due = [
        _given(symbol, None, split, pl.DataFrame(), session, "flat: the ledger has no earlier decision of it")
        for symbol in split.states
        if symbol not in begun
    ]
    if begun & set(split.states):
        first = min(date.fromisoformat(line["session"]) for line in earlier)
        window = split.with_states({name: split.states[name] for name in split.states if name in begun}).cut(
            (first, session)
        )
        due += _replayed(window, Recorded(earlier, window).decide, split, f"by the ledger, from {first}")
    return due


def _given(
    symbol: str, entry: Entry | None, split: MarketSplit, prices: pl.DataFrame, session: date, said: str
) -> DuePrompt:
    """A flat account, or one that has held its position since an entry.

    Raises:
        ParameterError: when it cannot be: no such side, no such session, or a view or a stop that needs all that has
            been earned so far.
    """
    env, states = split.env, split.states[symbol]
    state = states.row(by_predicate=pl.col("session") == session, named=True)
    prefix = write_prefix(state["market_text"], state["news_text"], env.positions)
    accounts = Accounts.open(1, env.initial_cash, env.positions)
    if entry is not None:
        held = states.filter(pl.col("session").is_between(entry.session, session)).height
        held -= env.fill == "same_close"  # that session was not held, it ended with the fill
        _check_entry(symbol, entry, split, session, held)
        accounts.position[:] = 1 if entry.side == "long" else -1
        accounts.sessions_held[:] = held
        accounts.entry_price[:] = _adjusted_price(symbol, entry, prices)
    texts = account_texts(env.account_view, env.positions)
    if texts is None:
        account = TradingVectorEnv(split.cut(split.windows.test), env).states().account[0]  # of an account just opened
    elif env.account_view == "position":
        account = texts[accounts.position[0]]
    else:
        gain = accounts.unrealised_return(np.array([state["mark_price"]]))
        account = texts[compact_account_codes(accounts.position, accounts.sessions_held, gain, env.positions)[0]]
    mask = accounts.action_mask()[0]
    if split.event_names(symbol, session) == []:
        mask[[SELL, BUY]] = False
    return DuePrompt(symbol, prefix + account, mask, int(accounts.position[0]), said)


def _check_entry(symbol: str, entry: Entry, split: MarketSplit, session: date, held: int) -> None:
    """Refuse an entry that this environment cannot have made.

    Raises:
        ParameterError: naming it.
    """
    where = f"decide.position.{symbol}"
    if entry.side == "short" and LOWEST[split.env.positions] == 0:
        raise ParameterError(f"{where}.side is short, but env.positions is {split.env.positions}; it was trained so")
    if split.env.account_view == "paper":
        raise ParameterError(
            f"{where}: the view paper tells the last ten rewards, which an entry does not; leave decide.position null "
            "for a session of the test window, or set it to flat"
        )
    if split.env.max_drawdown_stop is not None:
        raise ParameterError(
            f"{where}: env.max_drawdown_stop looks at the account's largest equity so far, which an entry does not "
            "tell; leave decide.position null for a session of the test window, or set it to ledger or flat"
        )
    if held <= 0 or entry.session not in split.states[symbol]["session"]:
        raise ParameterError(f"{where}.session is {entry.session}, no session of {symbol} up to {session}")


def _adjusted_price(symbol: str, entry: Entry, prices: pl.DataFrame) -> float:
    """What was paid, in the prices that states are in.

    Raises:
        ParameterError: when nobody can have paid it: what was paid before a split is not in today's shares.
    """
    row = prices.row(by_predicate=(pl.col("symbol") == symbol) & (pl.col("session") == entry.session), named=True)
    low, high = (row["close"] if row.get(name) is None else row[name] for name in ("low", "high"))
    if not low * (1.0 - TOLERANCE) <= entry.price <= high * (1.0 + TOLERANCE):
        raise ParameterError(
            f"decide.position.{symbol}.price is {entry.price:g}, but on {entry.session} {symbol} traded from {low:g} "
            f"to {high:g}; give what was paid in today's shares (after a split of 2 for 1, half of it)"
        )
    adjusted = row.get("adj_close")
    return entry.price if adjusted is None else float(entry.price * adjusted / row["close"])


def _mask(legal: Sequence[str]) -> Bools:
    return np.array([name in legal for name in ACTION_NAMES])
