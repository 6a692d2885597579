"""What the report shows of each number: name, unit, digits, and its meaning in a line."""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from flag_kedro import names
from flag_kedro.errors import DataError

Unit = Literal["percent", "ratio", "probability", "p_value", "count", "money"]


@dataclass(frozen=True)
class Term:
    """A number of the report."""

    key: str
    label: str
    unit: Unit
    meaning: str


METRICS = (
    Term(names.CUMULATIVE_RETURN, "CR %", "percent", "sum of daily log returns, the paper's cumulative return"),
    Term(names.TOTAL_RETURN, "total %", "percent", "compounded return, exp(CR) - 1"),
    Term(
        names.SHARPE_RATIO, "Sharpe", "ratio", "mean return per unit of its deviation, annualised; see the convention"
    ),
    Term(names.SORTINO_RATIO, "Sortino", "ratio", "as Sharpe, over the deviation of losses only"),
    Term(names.CALMAR_RATIO, "Calmar", "ratio", "annual return over maximum drawdown"),
    Term(names.ANNUAL_VOLATILITY, "AV %", "percent", "standard deviation of daily log returns, annualised"),
    Term(names.MAX_DRAWDOWN, "MDD %", "percent", "largest fall of equity below its running peak"),
    Term(names.WIN_RATE, "win %", "percent", "share of positive returns among sessions with a position"),
    Term(names.EXPOSURE, "exposure %", "percent", "mean share of equity that was in a position"),
    Term(names.NUM_TRADES, "trades", "count", "fills in the window"),
    Term(names.TURNOVER, "turnover", "ratio", "traded value over mean equity, per year"),
)
ANSWER = {
    "return %": "compounded return of the account",
    "Sharpe": "mean return per unit of its deviation, annualised, with its interval",
    "p against B&H": "p-value of no larger a Sharpe ratio than buy and hold's; below: it is smaller",
    "p against cash": "p-value of no more than cash; below: it earned less",
    "p against shifts": "share of time shifts of the same positions that earned at least as much",
    "ahead": "above all three, after all trials",
}
"""Columns of the first table and their meaning."""
STATISTICS = (
    Term(
        "sharpe_difference",
        "Sharpe less B&H",
        "ratio",
        "Sharpe ratio minus buy and hold's on the same sessions; what its p-value rejects by luck is noted above",
    ),
    Term("cash_difference", "Sharpe over cash", "ratio", "Sharpe ratio of the returns less cash, and the p-value of 0"),
    Term(
        "win_rate_difference",
        "days up % less B&H",
        "percent",
        "share of all sessions with a gain minus buy and hold's; a session without a position gains nothing, so who is "
        "often flat is far below 0 however often it wins",
    ),
    Term(
        "shift_percentile",
        "shift percentile",
        "percent",
        "share of circular time shifts of the strategy's own positions that earned less: near 50 is no timing",
    ),
    Term(
        "shift_p_value",
        "shift p",
        "p_value",
        "share of those shifts, the strategy itself included, that earned at least as much",
    ),
    Term(
        "probabilistic_sharpe_ratio",
        "PSR",
        "probability",
        "probability that the true Sharpe ratio is above 0, given length, skew and kurtosis, were returns independent: "
        "too high where they follow each other",
    ),
    Term("deflated_sharpe_ratio", "DSR", "probability", "PSR against the best that so many trials would reach by luck"),
    Term(
        "num_trials",
        "trials",
        "count",
        "distinct configurations and seeds scored on this data and window, or tried for it",
    ),
    Term(
        "sessions_needed",
        "sessions needed",
        "count",
        "length of a window in which a difference of this size could be told from luck",
    ),
)
COLLAPSE = (
    Term("sell", "sell %", "percent", "share of the decisions that were sell"),
    Term("hold", "hold %", "percent", "share of the decisions that were hold"),
    Term("buy", "buy %", "percent", "share of the decisions that were buy"),
    Term("agreement_long", "as always long %", "percent", "share of sessions in which the position was long"),
    Term("agreement_flat", "as always flat %", "percent", "share of sessions in which the position was flat"),
    Term("agreement_short", "as always short %", "percent", "share of sessions in which the position was short"),
    Term("action_entropy", "action entropy", "probability", "of the actions' shares, in nats; 0 is one action only"),
    Term("policy_entropy", "policy entropy", "probability", "mean over decisions, in nats; ln 2 = 0.693 is undecided"),
)
ROBUSTNESS = (
    Term("lagged", "one session late", "percent", "every decision carried out one session later than it was"),
    Term(
        "capacity",
        "capacity",
        "money",
        "largest account whose fills all stay below a share of the session's traded value",
    ),
)
NONE = "-"
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def show(value: float | None, unit: Unit) -> str:
    """A number in `unit` as the page prints it, percent without its sign; `-` for None.

    Raises:
        DataError: when the number is NaN or infinite.
    """
    if value is None:
        return NONE
    if not math.isfinite(value):
        raise DataError(f"the report was given {value}; an undefined number must be None")
    match unit:
        case "percent":
            return f"{100.0 * value:z.2f}"
        case "ratio":
            return f"{value:z.2f}"
        case "probability":
            return f"{value:z.3f}"
        case "p_value":
            return "<0.0001" if value < 1e-4 else f"{value:.4f}" if value < 1e-3 else f"{value:.3f}"
        case "count" | "money":
            return f"{value:,.0f}"


def show_interval(interval: list[float] | None, unit: Unit) -> str:
    """`[low, high]` in `unit`, or nothing."""
    return "" if interval is None else f"[{show(interval[0], unit)}, {show(interval[1], unit)}]"


def show_fact(value: Any) -> str:
    """Any value of a convention or of the run's facts in one line."""
    match value:
        case None:
            return NONE
        case dict():
            return ", ".join(f"{key} {show_fact(item)}" for key, item in value.items())
        case [str(first), str(last)] if DATE.fullmatch(first) and DATE.fullmatch(last):
            return f"{first} to {last}"
        case list() | tuple():
            return ", ".join(show_fact(item) for item in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
