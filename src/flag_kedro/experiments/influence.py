"""Which headline moved a decision: each left out in turn."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from flag_kedro.backtest.replay import replay
from flag_kedro.env.account import ACTION_NAMES, HOLD
from flag_kedro.env.prompt import leave_headlines_out, split_prompt
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decide, Decisions, States
from flag_kedro.names import POLICY

INFLUENCE = {
    "symbol": pl.String,
    "session": pl.Date,
    "action": pl.String,
    "headline": pl.String,
    "probability": pl.Float64,
    "probability_without": pl.Float64,
}
"""One row a headline of a decision, in the order of the prompt; probabilities are those of the action that was taken,
with all headlines and without this one."""


def measure_influence(
    policy: Decide, decisions: pl.DataFrame, split: MarketSplit, chosen: Mapping[str, Sequence[date]]
) -> pl.DataFrame:
    """Ask the policy again for decisions that it took, with each headline left out in turn; all else stays.

    Args:
        policy: the rule, which gives probabilities.
        decisions: columns of `replay.DECISIONS`, of the whole test window.
        split: the market that they were taken on.
        chosen: sessions of each symbol.

    Returns:
        Columns of `INFLUENCE`.
    """
    taken = decisions.filter(pl.col("strategy") == POLICY)
    prompts = _prompts(taken, split)
    rows, prefixes, accounts, masks = [], [], [], []
    for symbol, sessions in chosen.items():
        for session in sessions:
            prompt, legal = prompts[symbol, session]
            prefix, account = split_prompt(prompt)
            (decision,) = taken.filter((pl.col("symbol") == symbol) & (pl.col("session") == session)).to_dicts()
            for headline, without in leave_headlines_out(prefix):
                action = decision["action"]
                rows.append((symbol, session, action, headline, decision[f"prob_{action}"]))
                prefixes.append(without)
                accounts.append(account)
                masks.append([name in legal.split() for name in ACTION_NAMES])
    if not rows:
        return pl.DataFrame(schema=INFLUENCE)
    probabilities = policy(States(prefixes, accounts, np.array(masks))).probabilities
    assert probabilities is not None, "a trained policy has probabilities"
    table = [(*row, float(odds[ACTION_NAMES.index(row[2])])) for row, odds in zip(rows, probabilities, strict=True)]
    return pl.DataFrame(table, schema=INFLUENCE, orient="row")


def _prompts(decisions: pl.DataFrame, split: MarketSplit) -> dict[tuple[str, date], tuple[str, str]]:
    """Prompt and legal actions of each decision by symbol and session: the same actions lead to the same accounts."""
    window = split.test
    actions = np.full(window.mark_prices.shape, HOLD)
    for (symbol,), table in decisions.partition_by("symbol", as_dict=True).items():
        taken = [ACTION_NAMES.index(name) for name in table.sort("session")["action"]]
        actions[window.symbols.index(str(symbol)), : len(taken)] = taken
    by_session = iter(actions.T)
    shown = replay(POLICY, window, split.env, lambda states: Decisions(next(by_session))).prompts
    return {(row["symbol"], row["session"]): (row["prompt"], row["legal"]) for row in shown.iter_rows(named=True)}
