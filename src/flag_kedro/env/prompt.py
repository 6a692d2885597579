"""Prompts: task, actions, market, news, and the account last.

A prompt's token ids are defined as encode(prefix) + encode(suffix) everywhere: the
prefix is shared by all accounts of a symbol and session, the suffix describes one account.
The compact view's texts are short, since a language model reads them behind every prefix: at most eight tokens of
SmolLM2's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flag_kedro.env.account import ACTION_NAMES, Floats, Ints
from flag_kedro.env.config import AccountView, Positions
from flag_kedro.features.ablation import NOT_SHOWN
from flag_kedro.features.digest import BULLET, NO_NEWS

PROMPT_VERSION = 2
HELD_STARTS = (1, 2, 3, 6, 21)
HELD_NAMES = ("one day", "two days", "days", "weeks", "months")
"""Sessions held from each of `HELD_STARTS` on: 1, 2, 3 to 5, 6 to 20, more."""
RETURN_EDGES = (-0.05, -0.01, 0.0, 0.01, 0.05)
RETURN_NAMES = ("big loss", "loss", "small loss", "small gain", "gain", "big gain")
"""Unrealised return below, between and from `RETURN_EDGES` on."""
COARSE_EDGES = (-0.01, 0.01)
COARSE_NAMES = ("loss", "even", "gain")
"""Return buckets with short positions: two sides share the 31 texts."""
MARKET = "Market: "
ACCOUNT = "Account:"
"""End of a prefix: what every account text would begin with is read once."""
ACTIONS_LINE: dict[Positions, str] = {
    "long_flat": "Actions: sell, hold or buy",
    "long_short": "Actions: sell (go short), hold or buy (go long)",
}
HISTORY = 10
"""Rewards, net values and actions that the paper's account view shows (Figure 3)."""
NUM_LONG = 100
"""Sums of money in `long_paper_texts`."""


def write_prefix(market_text: str, news_text: str, positions: Positions = "long_flat") -> str:
    """The part of a prompt that does not depend on the account."""
    news = news_text if news_text == NO_NEWS else f"\n{news_text}"
    return (
        "Task: trade one stock for long-run return at low risk and cost.\n"
        f"{ACTIONS_LINE[positions]}\n"
        f"{MARKET}{market_text}\n"
        f"News: {news}\n"
        f"{ACCOUNT}"
    )


def leave_headlines_out(prefix: str) -> list[tuple[str, str]]:
    """Each headline of a prefix, in their order, and the prefix without it."""
    lines = prefix.split("\n")
    pairs = []
    for index, line in enumerate(lines):
        if line.startswith(BULLET):
            rest = "\n".join(lines[:index] + lines[index + 1 :])
            rest = rest.replace(f"News: \n{ACCOUNT}", f"News: {NO_NEWS}\n{ACCOUNT}")
            pairs.append((line.removeprefix(BULLET), rest))
    return pairs


def leave_market_out(prefix: str) -> str:
    """A prefix that does not tell prices and indicators."""
    lines = [f"{MARKET}{NOT_SHOWN}" if line.startswith(MARKET) else line for line in prefix.split("\n")]
    return "\n".join(lines)


def split_prompt(prompt: str) -> tuple[str, str]:
    """Prefix and account text of a prompt."""
    end = prompt.rindex(f"\n{ACCOUNT}") + len(ACCOUNT) + 1
    return prompt[:end], prompt[end:]


def compact_account_texts(positions: Positions = "long_flat") -> list[str]:
    """The closed vocabulary of the compact view: flat, then side x held bucket x return bucket (31 texts)."""
    sides, gains = (("long",), RETURN_NAMES) if positions == "long_flat" else (("long", "short"), COARSE_NAMES)
    held_texts = [f" {side} {held} {gain}. Decision:" for side in sides for held in HELD_NAMES for gain in gains]
    return [" flat. Decision:", *held_texts]


def position_account_texts(positions: Positions = "long_flat") -> list[str]:
    """The closed vocabulary of the view `position`: flat, long, and short where accounts may be."""
    names = ("flat", "long") if positions == "long_flat" else ("flat", "long", "short")
    return [f" {name}. Decision:" for name in names]


def account_texts(view: AccountView, positions: Positions) -> list[str] | None:
    """All texts that accounts can have; None where these are endless, with the paper's view."""
    if view == "paper":
        return None
    return position_account_texts(positions) if view == "position" else compact_account_texts(positions)


def tokenizer_texts(prefixes: Sequence[Sequence[str]], positions: Positions) -> list[str]:
    """Texts that the tiny tokenizer learns from: prefixes of the training window, and account texts 100 times each."""
    return [text for texts in prefixes for text in texts] + compact_account_texts(positions) * 100


def compact_account_codes(
    position: NDArray[np.int8], sessions_held: Ints, unrealised_return: Floats, positions: Positions = "long_flat"
) -> Ints:
    """Row of `compact_account_texts` for each account, [N]."""
    held = np.searchsorted(HELD_STARTS, sessions_held, side="right") - 1
    edges = RETURN_EDGES if positions == "long_flat" else COARSE_EDGES
    gain = np.searchsorted(edges, unrealised_return, side="right")
    side = np.where(position < 0, len(HELD_NAMES) * (len(edges) + 1), 0)
    return np.where(position == 0, 0, 1 + side + held * (len(edges) + 1) + gain)


def paper_account_text(
    cash: float,
    shares: float,
    equity: float,
    rewards: Sequence[float],
    net_values: Sequence[float],
    actions: Sequence[str],
) -> str:
    """The paper's account (Figure 3): status, then the last ten rewards, net values and actions.

    Rewards are cut to 6 characters and net values to 10, as the paper prints them.

    Args:
        cash: money.
        shares: held, negative while short.
        equity: cash plus shares at the mark, in money.
        rewards: of the last sessions, the newest last.
        net_values: equity after each of them.
        actions: name of the action of each of them.
    """
    recent = ", ".join(f"{reward:.6f}"[:6] for reward in rewards)
    values = ", ".join(f"{value:.6f}"[:10] for value in net_values)
    return (
        f' {{"cash_balance": {cash:.2f}, "asset_position": {shares:.4f}, '
        f'"total_account_value": {equity:.2f}}}, {{"recent_rewards": [{recent}], '
        f'"net_values": [{values}], "actions": [{", ".join(actions)}]}}\nDecision:'
    )


def long_paper_texts(initial_cash: float) -> list[str]:
    """Texts of the paper's view about as long as they get: full histories, losses, a short position, each action.

    There is no longest one, since money has no bound. These have equity of up to twenty times that of an episode's
    start, and roots, since tokenizers split digits without a pattern into most tokens; a history repeats one number, so
    that among many histories one is of numbers with many tokens alone.

    Args:
        initial_cash: money at an episode's start.
    """
    roots = np.sqrt(np.arange(2.0, 2.0 + NUM_LONG)).tolist()  # 1.4 to 10.1
    return [
        paper_account_text(
            cash=4.0 * initial_cash * root,
            shares=-initial_cash * root / 1.7,
            equity=2.0 * initial_cash * root,
            rewards=[sign * root / 37.0] * HISTORY,
            net_values=[2.0 * initial_cash * root] * HISTORY,
            actions=[action] * HISTORY,
        )
        for root in roots
        for sign in (1.0, -1.0)
        for action in ACTION_NAMES
    ]
