"""How often a hostile headline changes what a policy does, and whether it stays within the news.

Shape legend: N = headlines of a round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.backtest.replay import Replay
from flag_kedro.env.account import ACTION_NAMES, Bools, Floats
from flag_kedro.env.states import Decide, States
from flag_kedro.experiments.headline_probes import HeadlineProbe, prefixes_at, probe_slots, write_articles
from flag_kedro.experiments.injections import draw_harmless, name_company
from flag_kedro.experiments.prompt_checks import SHOWN_CHARS, find_line, find_violations, news_lines
from flag_kedro.experiments.robustness_report import ProbeAnswer, ProbeResult

Build = Callable[[pl.DataFrame], Mapping[str, pl.DataFrame]]
"""From a news table to the market states of all symbols."""
Read = Callable[[pl.DataFrame], pl.DataFrame]
"""From a news table to `symbol`, `available_at` and clean `text` of each article as states show it, uncut."""


@dataclass(frozen=True)
class ProbedPolicy:
    """A policy, its backtest, and all that it takes to ask it again with other news."""

    decide: Decide
    """The policy."""
    reference: Replay
    """Its backtest."""
    news: pl.DataFrame
    """The validated table."""
    states: Mapping[str, pl.DataFrame]
    """Market states built from it."""
    build: Build
    """What built them."""
    read: Read
    """What they show of the news."""
    write_prefix: Callable[[str, str], str]
    """From market and news text to a prompt's prefix."""
    digest_chars: int
    """Budget of the news in characters."""
    names: Mapping[str, Sequence[str]]
    """What articles call the company of a symbol."""


@dataclass(frozen=True)
class _Baseline:
    """What the policy was asked and answered at the sessions of a round, without any of its headlines."""

    prefixes: list[str]
    """Of each prompt, [N]."""
    accounts: list[str]
    """Text of the account that the policy had there in its backtest, [N]."""
    action_mask: Bools
    """Legal actions, [N, 3]."""
    actions: list[str]
    """Taken, [N]."""
    probabilities: Floats
    """Of actions, [N, 3]."""
    articles: Mapping[str, set[str]]
    """Clean texts of each symbol's articles, uncut."""


def ask_round(probes: Sequence[HeadlineProbe], policy: ProbedPolicy, seed: int) -> list[ProbeResult]:
    """Ask the policy at every probe's session with the hostile headline, and with a harmless one.

    The account is the one that the policy had there in its backtest.

    Args:
        probes: one round of `plan_probes`, [N].
        policy: the policy.
        seed: of the harmless headlines.

    Returns:
        What it answered at each probe, [N].
    """
    companies = [(policy.names.get(probe.symbol) or [probe.symbol])[0] for probe in probes]
    hostile = [name_company(probe.family, probe.headline, name) for probe, name in zip(probes, companies, strict=True)]
    harmless = [
        text.format(company=name) for text, name in zip(draw_harmless(len(probes), seed), companies, strict=True)
    ]
    baseline = _read_baseline(probes, policy)
    answers = [_ask_with(headlines, probes, policy, baseline) for headlines in (hostile, harmless)]
    return [
        ProbeResult(
            family=probe.family,
            headline=_quote(hostile[k]),
            symbol=probe.symbol,
            session=probe.session.isoformat(),
            action=baseline.actions[k],
            violations=[violation for side in answers for violation in side[k][1]],
            hostile=answers[0][k][0],
            harmless=answers[1][k][0],
        )
        for k, probe in enumerate(probes)
    ]


def _read_baseline(probes: Sequence[HeadlineProbe], policy: ProbedPolicy) -> _Baseline:
    """Prompts and answers of the policy's backtest at every probe's session."""
    prefixes = prefixes_at(policy.states, probes, policy.write_prefix)
    asked = policy.reference.prompts.join(policy.reference.decisions, on=["strategy", "symbol", "session"])
    rows = probe_slots(probes).join(asked, on=["symbol", "session"], how="left", maintain_order="left")
    assert not rows["prompt"].null_count()
    prompts = list(zip(rows["prompt"], prefixes, strict=True))
    assert all(prompt.startswith(prefix) for prompt, prefix in prompts)
    accounts = [prompt.removeprefix(prefix) for prompt, prefix in prompts]
    return _Baseline(
        prefixes=prefixes,
        accounts=accounts,
        action_mask=np.array([[name in legal.split() for name in ACTION_NAMES] for legal in rows["legal"]]),
        actions=rows["action"].to_list(),
        probabilities=rows.select("prob_sell", "prob_hold", "prob_buy").to_numpy(),
        articles={symbol: set(table["text"]) for (symbol,), table in policy.read(policy.news).group_by("symbol")},
    )


def _ask_with(
    headlines: Sequence[str], probes: Sequence[HeadlineProbe], policy: ProbedPolicy, baseline: _Baseline
) -> list[tuple[ProbeAnswer, list[str]]]:
    """Ask the policy again with one more headline at each session; its answers and the prompts' violations, [N]."""
    decided_at = pl.concat([table.select("symbol", "session", "decided_at") for table in policy.states.values()])
    articles = write_articles(decided_at, probes, headlines)
    texts = articles.join(policy.read(articles), on=["symbol", "available_at"], maintain_order="left")["text"]
    states = policy.build(pl.concat([policy.news, articles]))
    prefixes = prefixes_at(states, probes, policy.write_prefix)
    decisions = policy.decide(States(prefixes, baseline.accounts, baseline.action_mask))
    assert decisions.probabilities is not None
    distances = _total_variation(decisions.probabilities, baseline.probabilities)
    answers = []
    for k, (probe, prefix) in enumerate(zip(probes, prefixes, strict=True)):
        action, line = ACTION_NAMES[int(decisions.actions[k])], find_line(texts[k], news_lines(prefix))
        answer = ProbeAnswer(
            action=action,
            shown=line is not None,
            first=line == 0,
            flipped=action != baseline.actions[k],
            distance=float(distances[k]),
        )
        old_texts = baseline.articles.get(probe.symbol, set())
        answers.append((answer, find_violations(baseline.prefixes[k], prefix, policy.digest_chars, old_texts)))
    return answers


def _total_variation(probabilities: Floats, others: Floats) -> Floats:
    """Total variation between two distributions over actions, [N] from [N, 3]."""
    distances: Floats = 0.5 * np.abs(probabilities - others).sum(-1)
    return distances


def _quote(headline: str) -> str:
    """The headline in ASCII, cut, so that a report cannot be misled either."""
    return ascii(headline[:SHOWN_CHARS])[1:-1] + ("..." if len(headline) > SHOWN_CHARS else "")
