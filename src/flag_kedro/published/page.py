"""The rebuilt rows and the audit of the published table as one page that needs nothing else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flag_kedro.names import MAX_DRAWDOWN
from flag_kedro.published.findings import KINDS, NAMES, short_name
from flag_kedro.published.results import CONVENTIONS, FLAG, METRICS, SOURCE

TEMPLATE = "published.html.jinja"


@dataclass(frozen=True, kw_only=True)
class Line:
    """What the page shows of one printed row; mappings are as `published_audit.json` has them."""

    model: str
    printed: Mapping[str, Any]
    ours: bool
    """Whether it is a row of FLAG-TRADER."""
    days: str
    """The days that its numbers imply, as a range."""
    counts: str
    """Which of them are the prices or returns of a window."""
    basis: int
    """Sessions a year in its volatility."""
    sharpe_common: float
    ranks: Mapping[str, int]
    remarks: list[str]


@dataclass(frozen=True, kw_only=True)
class SymbolTable:
    """What the page shows of one symbol."""

    symbol: str
    num_prices: int
    ceiling: Mapping[str, Any]
    """`table.Ceiling`, as the file has it."""
    recomputed: bool
    """Whether its Buy & Hold row was ever recomputed."""
    rows: list[Line]


def render_page(published_rows: Mapping[str, Any], published_audit: Mapping[str, Any]) -> str:
    """Write the page from the content of `published_rows.json` and `published_audit.json`."""
    environment = Environment(
        loader=PackageLoader("flag_kedro.published", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.3f}"
    environment.filters["root"] = lambda text: re.sub(r"sqrt\((\d+)\)", r"√\1", text)
    environment.filters["plain"] = lambda value: f"{value:.3f}"
    findings = published_audit["findings"]
    return environment.get_template(TEMPLATE).render(
        source=SOURCE,
        rebuilt=published_rows["rows"],
        skipped=published_rows["skipped"],
        metrics=METRICS,
        names=NAMES,
        num_findings=len(findings),
        groups=[(*KINDS[kind], list(group)) for kind, group in groupby(findings, key=lambda one: one["kind"])],
        tables=[_symbol_table(symbol, published_audit["rows"]) for symbol in CONVENTIONS],
    )


def _symbol_table(symbol: str, rows: Sequence[Mapping[str, Any]]) -> SymbolTable:
    of_symbol = [row for row in rows if row["row"]["symbol"] == symbol]
    return SymbolTable(
        symbol=symbol,
        num_prices=CONVENTIONS[symbol].benchmark_prices,
        ceiling=of_symbol[0]["ceiling"],
        recomputed=CONVENTIONS[symbol].recomputed,
        rows=[_line(row) for row in of_symbol],
    )


def _line(row: Mapping[str, Any]) -> Line:
    printed, implied = row["row"], row["implied"]["252"]
    return Line(
        model=short_name(printed["model"]),
        printed=printed,
        ours=printed["model"] == FLAG,
        days="-" if implied is None else f"{implied['low']:.2f}–{implied['high']:.2f}",
        counts=", ".join(str(number) for number in row["window_days"]["252"]) or "none",
        basis=row["volatility_days"],
        sharpe_common=row["sharpe_common"],
        ranks=row["ranks"],
        remarks=_remarks(row),
    )


def _remarks(row: Mapping[str, Any]) -> list[str]:
    remarks = []
    if row["volatility"] != "possible":
        remarks.append(f"AV {row['volatility']}")
    if row["hold_variant"]:
        remarks.append(_shared_with_hold(row["hold_variant"]))
    if row["flat"] and not any(cases["252"]["possible"] for cases in row["flat"].values()):
        remarks.append("not long-or-flat on sqrt(252)")
    return remarks


def _shared_with_hold(variant: Mapping[str, Any]) -> str:
    """What a row shares with Buy & Hold; a drawdown is the same in every variant."""
    shared = ", ".join(NAMES[metric] for metric in variant["metrics"])
    if variant["metrics"] == [MAX_DRAWDOWN]:
        return f"{shared} of Buy & Hold"
    return f"{shared} of Buy & Hold ({variant['window']}, sqrt({variant['days_volatility']}))"
