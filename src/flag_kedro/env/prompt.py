"""What the policy reads: task, actions, market, news, and the account last.

A prompt's token ids are defined as encode(prefix) + encode(suffix) everywhere (SEMANTICS section 6): the
prefix is shared by all accounts of a symbol and session, the suffix tells one account.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flag_kedro.env.account import Bools, Floats, Ints

PROMPT_VERSION = 1
HELD_STARTS = (1, 2, 3, 6, 21)
HELD_NAMES = ("1 session", "2 sessions", "3-5 sessions", "6-20 sessions", "over 20 sessions")
RETURN_EDGES = (-0.05, -0.01, 0.0, 0.01, 0.05)
RETURN_NAMES = ("loss over 5%", "loss 1-5%", "loss under 1%", "gain under 1%", "gain 1-5%", "gain over 5%")
HISTORY = 10
"""Rewards, net values and actions that the paper's account view shows (Figure 3)."""


@dataclass(frozen=True)
class States:
    """What a policy is asked about: N decisions. Prefix strings are shared, so equal ones are one object."""

    prefix: Sequence[str]
    """Text shared by all accounts of the symbol and session, [N]."""
    account: Sequence[str]
    """Text of the account, [N]."""
    action_mask: Bools
    """Legal actions, [N, 3]."""

    def __len__(self) -> int:
        return len(self.prefix)


def write_prefix(market_text: str, news_text: str) -> str:
    """The part of a prompt that does not depend on the account."""
    news = news_text if news_text == "none" else f"\n{news_text}"
    return (
        "Task: trade one stock for long-run return at low risk and cost.\n"
        "Actions: sell, hold or buy\n"
        f"Market: {market_text}\n"
        f"News: {news}\n"
    )


def compact_account_texts() -> list[str]:
    """The closed vocabulary of the compact view: flat, then held bucket x return bucket (31 texts)."""
    long_texts = [f"Account: long {held}, {gain}\nDecision:" for held in HELD_NAMES for gain in RETURN_NAMES]
    return ["Account: flat\nDecision:", *long_texts]


def compact_account_codes(is_long: Bools, sessions_held: Ints, unrealised_return: Floats) -> Ints:
    """Row of `compact_account_texts` for each account, [N]."""
    held = np.searchsorted(HELD_STARTS, sessions_held, side="right") - 1
    gain = np.searchsorted(RETURN_EDGES, unrealised_return, side="right")
    return np.where(is_long, 1 + held * len(RETURN_NAMES) + gain, 0)


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
    """
    recent = ", ".join(f"{reward:.6f}"[:6] for reward in rewards)
    values = ", ".join(f"{value:.6f}"[:10] for value in net_values)
    return (
        f'Account: {{"cash_balance": {cash:.2f}, "asset_position": {shares:.4f}, '
        f'"total_account_value": {equity:.2f}}}, {{"recent_rewards": [{recent}], '
        f'"net_values": [{values}], "actions": [{", ".join(actions)}]}}\nDecision:'
    )
