"""The rebuilt rows and the audit of the published table as one page that needs nothing else."""

import re
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flag_kedro.published.findings import KINDS, NAMES, short_name
from flag_kedro.published.results import CONVENTIONS, FLAG, METRICS, SOURCE

TEMPLATE = "published.html.jinja"


def render_page(published_rows: dict[str, Any], published_audit: dict[str, Any]) -> str:
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


def _symbol_table(symbol: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    own = [row for row in rows if row["row"]["symbol"] == symbol]
    return {
        "symbol": symbol,
        "num_prices": CONVENTIONS[symbol].benchmark_prices,
        "ceiling": own[0]["ceiling"],
        "recomputed": CONVENTIONS[symbol].recomputed,
        "rows": [_line(row) for row in own],
    }


def _line(row: dict[str, Any]) -> dict[str, Any]:
    printed, implied = row["row"], row["implied"]["252"]
    return {
        "model": short_name(printed["model"]),
        "printed": printed,
        "ours": printed["model"] == FLAG,
        "days": "-" if implied is None else f"{implied['low']:.2f}–{implied['high']:.2f}",
        "counts": ", ".join(str(number) for number in row["window_days"]["252"]) or "none",
        "basis": row["volatility_days"],
        "sharpe_common": row["sharpe_common"],
        "ranks": row["ranks"],
        "remarks": _remarks(row),
    }


def _remarks(row: dict[str, Any]) -> list[str]:
    remarks = []
    if row["volatility"] != "possible":
        remarks.append(f"AV {row['volatility']}")
    if row["hold_variant"]:
        remarks.append(_shared_with_hold(row["hold_variant"]))
    if row["flat"] and not any(cases["252"]["possible"] for cases in row["flat"].values()):
        remarks.append("not long-or-flat on sqrt(252)")
    return remarks


def _shared_with_hold(variant: dict[str, Any]) -> str:
    """What a row shares with Buy & Hold; a drawdown is the same in every variant."""
    shared = ", ".join(NAMES[metric] for metric in variant["metrics"])
    if variant["metrics"] == ["max_drawdown"]:
        return f"{shared} of Buy & Hold"
    return f"{shared} of Buy & Hold ({variant['window']}, sqrt({variant['days_volatility']}))"
