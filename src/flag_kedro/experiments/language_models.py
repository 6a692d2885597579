"""Language models that a backtest asks without training them: which, and what came of it in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.endpoint_config import UNKNOWN, EndpointConfig
from flag_kedro.backtest.replay import Replay
from flag_kedro.env.account import ACTION_NAMES
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.chat_answers import ChatAnswer, read_answer
from flag_kedro.experiments.endpoint import Endpoint
from flag_kedro.names import CALIBRATED_LM, ENDPOINT_LM, ZERO_SHOT_LM

TINY_HAS_NO_HEAD = (
    f"{ZERO_SHOT_LM} and {CALIBRATED_LM} are left out: the backbone tiny has random weights and no language-model head"
)
MILLION = 1e6


@dataclass(frozen=True)
class AskedModels:
    """Parameters of the strategies that ask a language model."""

    zero_shot: bool
    """Whether the backbone's own words are asked for."""
    endpoint: EndpointConfig | None
    answers: Path
    """Folder of the endpoint's answers."""

    def open_endpoint(self) -> Endpoint | None:
        """The endpoint as a rule; it is not asked yet."""
        return None if self.endpoint is None else Endpoint(self.endpoint, self.answers)


@dataclass(frozen=True, kw_only=True)
class EndpointReport:
    """What an endpoint answered over one backtest; saved as JSON in this order."""

    model: str
    host: str
    served_by: list[str]
    """What the server called the models that answered."""
    cutoff: str
    """ISO date, or `unknown`."""
    simulated: bool
    """Whether the market was made up, so that no text tells of it."""
    share_seen: float | None
    """Share of the sessions up to the cutoff; None where it is unknown or the market is simulated."""
    num_decisions: int
    unreadable: dict[str, int]
    """Answers that name no action, by problem; the decision held instead."""
    unreadable_by_symbol: dict[str, int]
    """Symbols without any are left out."""
    num_illegal: int
    """Answers that name an action that was not legal; the decision held instead."""
    input_tokens: int
    """Of distinct prompts, each of which was asked once."""
    output_tokens: int
    num_uncounted: int
    """Distinct prompts whose tokens the server did not count."""
    cost: float | None
    """In the currency of the prices; None without prices, or where tokens were not counted."""
    cost_per_decision: float | None


def report_endpoint(endpoint: Endpoint, prompts: pl.DataFrame, split: MarketSplit) -> EndpointReport:
    """Count what the endpoint answered to the prompts of a replay; all answers are on disk by then.

    Args:
        endpoint: that decided.
        prompts: columns of `backtest.replay.PROMPTS`.
        split: the market that was traded.
    """
    problems: Counter[str] = Counter()
    by_symbol: Counter[str] = Counter()
    num_illegal = 0
    distinct: dict[tuple[str, str], ChatAnswer] = {}
    for symbol, prompt, legal in prompts.select("symbol", "prompt", "legal").iter_rows():
        answer = distinct.setdefault((prompt, legal), endpoint.answer(prompt, tuple(legal.split())))
        reading = read_answer(answer)
        if reading.problem is not None:
            problems[reading.problem] += 1
            by_symbol[symbol] += 1
        elif ACTION_NAMES[reading.action] not in legal.split():  # type: ignore[index]
            num_illegal += 1
    config, cost = endpoint.config, _cost(endpoint.config, list(distinct.values()))
    return EndpointReport(
        model=config.model,
        host=config.host,
        served_by=sorted({answer.served_by for answer in distinct.values() if answer.served_by}),
        cutoff=str(config.cutoff),
        simulated=split.data.source == "simulated",
        share_seen=None if split.data.source == "simulated" else _share_seen(config, prompts["session"]),
        num_decisions=prompts.height,
        unreadable=dict(sorted(problems.items())),
        unreadable_by_symbol=dict(sorted(by_symbol.items())),
        num_illegal=num_illegal,
        input_tokens=sum(answer.input_tokens or 0 for answer in distinct.values()),
        output_tokens=sum(answer.output_tokens or 0 for answer in distinct.values()),
        num_uncounted=sum(not _is_counted(answer) for answer in distinct.values()),
        cost=cost,
        cost_per_decision=None if cost is None else cost / prompts.height,
    )


def describe_models(asked: AskedModels, replays: Mapping[str, Replay], split: MarketSplit) -> dict[str, Any]:
    """What is written down of the models that were asked: `left_out` (a sentence or null) and `endpoint` (or null)."""
    left_out = asked.zero_shot and ZERO_SHOT_LM not in replays
    endpoint = asked.open_endpoint()
    report = None if endpoint is None else report_endpoint(endpoint, replays[ENDPOINT_LM].prompts, split)
    return {
        "left_out": TINY_HAS_NO_HEAD if left_out else None,
        "endpoint": None if report is None else asdict(report),
    }


def sentences(described: Mapping[str, Any]) -> list[str]:
    """`describe_models` in sentences for terminal and report."""
    lines = [] if described["left_out"] is None else [f"{described['left_out']}."]
    return lines if described["endpoint"] is None else [*lines, _sentence(EndpointReport(**described["endpoint"]))]


def _sentence(report: EndpointReport) -> str:
    num = sum(report.unreadable.values())
    kinds = ", ".join(f"{problem} {count}" for problem, count in report.unreadable.items())
    return (
        f"{ENDPOINT_LM} asked {report.model} at {report.host} ({_knowledge(report)}). "
        f"{num:,} of {report.num_decisions:,} answers could not be read{f' ({kinds})' if kinds else ''} and "
        f"{report.num_illegal:,} chose an illegal action: those decisions held. {_price(report)}"
    )


def _knowledge(report: EndpointReport) -> str:
    if report.simulated:
        return f"cutoff of its training text {report.cutoff}; the market is simulated, so no text tells of it"
    if report.cutoff == UNKNOWN:
        return "cutoff of its training text unknown: every session may be remembered"
    return f"cutoff of its training text {report.cutoff}, {report.share_seen:.0%} of the sessions here up to it"


def _price(report: EndpointReport) -> str:
    tokens = f"{report.input_tokens:,} tokens in and {report.output_tokens:,} out"
    if report.num_uncounted:
        return f"The server did not count the tokens of {report.num_uncounted:,} prompts, so the cost is unknown."
    if report.cost is None or report.cost_per_decision is None:
        return f"{tokens}; no price was given."
    return f"{report.cost_per_decision:.3g} a decision, {report.cost:.3g} in all at the prices given ({tokens})."


def _cost(config: EndpointConfig, answers: list[ChatAnswer]) -> float | None:
    if config.input_price is None or config.output_price is None or not all(map(_is_counted, answers)):
        return None
    inputs = sum(answer.input_tokens or 0 for answer in answers)
    outputs = sum(answer.output_tokens or 0 for answer in answers)
    return (inputs * config.input_price + outputs * config.output_price) / MILLION


def _is_counted(answer: ChatAnswer) -> bool:
    return answer.input_tokens is not None and answer.output_tokens is not None


def _share_seen(config: EndpointConfig, days: pl.Series) -> float | None:
    """Share of `days` up to the cutoff, None where nobody knows it."""
    return float((days <= config.cutoff).mean()) if isinstance(config.cutoff, date) else None  # type: ignore[arg-type]
