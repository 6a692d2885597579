"""Findings of the audit of the published table, each as numbers and one plain sentence."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from flag_kedro.backtest.scores import CRYPTO_DAYS, STOCK_DAYS
from flag_kedro.names import ANNUAL_VOLATILITY, CUMULATIVE_RETURN, MAX_DRAWDOWN, SHARPE_RATIO
from flag_kedro.published.audit import same_series
from flag_kedro.published.results import CONVENTIONS, DECIMALS, FLAG, HOLD, SOURCE
from flag_kedro.published.rows import DROPPED, FULL
from flag_kedro.published.table import AuditedRow

NAMES = {CUMULATIVE_RETURN: "CR", SHARPE_RATIO: "SR", ANNUAL_VOLATILITY: "AV", MAX_DRAWDOWN: "MDD"}
Rebuilt = Mapping[str, Mapping[str, Any]]
"""Rebuilt rows by symbol, as their JSON file has them."""
KINDS = {
    "recomputed_differs": ("Buy & Hold rows that do not come out as printed", ""),
    "volatility_basis": (
        "Rows of one table are on different bases",
        "No choice of positions beats the root of the mean square return. Rows above it at sqrt(252) can only be on "
        "sqrt(365), so their SR is smaller by sqrt(365/252) = 1.2035 than the SR of rows on sqrt(252).",
    ),
    "ranks": (
        "What a common basis does to the ranks",
        "Among the 15 rows of a symbol, 1 is highest; equal numbers share the better place.",
    ),
    "same_series": ("One series under two names", ""),
    "buy_and_hold": ("Rows that are Buy & Hold", "CR and AV agree with Buy & Hold on the symbol's own prices."),
    "impossible_volatility": ("Volatilities that no positions can have", ""),
    "long_flat": (
        "Long-or-flat claims against the printed volatility",
        "The paper's FLAG-TRADER buys, sells and never shorts. A day out of the market takes its squared return out of "
        "the volatility, so the printed one bounds what such days can have added.",
    ),
    "flag_days": ("How many days the FLAG-TRADER rows imply", "n = 252 x CR / (SR x AV)."),
    "implied_days": (
        "Other rows whose numbers imply no window",
        "A row may hold each metric's median over several runs; then its CR, SR and AV need not belong together.",
    ),
}
"""Kinds of findings in the order of reading, each with its heading and a note."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding; ratios are decimals in `numbers` and percent in `sentence`."""

    kind: str
    symbol: str | None
    model: str | None
    sentence: str
    numbers: dict[str, object] = field(default_factory=dict)
    """What the sentence rests on; for JSON, so its keys depend on the kind."""


@dataclass(frozen=True, kw_only=True)
class TableAudit:
    """The audit of the whole table."""

    source: str
    symbols_with_prices: list[str]
    skipped: dict[str, str]
    """Why a symbol is audited without prices."""
    findings: list[Finding]
    rows: tuple[AuditedRow, ...]


def find_all(audited: tuple[AuditedRow, ...], rebuilt: Rebuilt) -> list[Finding]:
    """Every finding, by kind in the order of `KINDS` and then as the table has its rows.

    Args:
        audited: of `table.audit_table`.
        rebuilt: `rows.RebuiltRow.as_dict` of the symbols at hand.
    """
    findings = [*_recomputed_differs(rebuilt), _all_ranks([row for row in audited if row.row.model == FLAG])]
    for symbol in CONVENTIONS:
        rows = [row for row in audited if row.row.symbol == symbol]
        findings += [*_volatility_basis(symbol, rows), *_same_series(symbol, rows)]
        for row in rows:
            findings += [*_buy_and_hold(row), *_impossible(row), *_long_flat(row), *_days(row), *_rank(row)]
    order = list(KINDS)
    return sorted(findings, key=lambda finding: order.index(finding.kind))


def audit_as_json(audited: tuple[AuditedRow, ...], rebuilt: Rebuilt, skipped: Mapping[str, str]) -> dict[str, Any]:
    """`TableAudit` as its JSON file has it, every key a string.

    Args:
        audited: of `table.audit_table`.
        rebuilt: `rows.RebuiltRow.as_dict` of the symbols at hand.
        skipped: why each other symbol has no prices.
    """
    audit = TableAudit(
        source=SOURCE,
        symbols_with_prices=list(rebuilt),
        skipped=dict(skipped),
        findings=find_all(audited, rebuilt),
        rows=audited,
    )
    content: dict[str, Any] = json.loads(json.dumps(asdict(audit)))
    return content


def _percent(value: float) -> str:
    return f"{100 * value:.3f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def short_name(model: str) -> str:
    """A model as sentences name it."""
    return "FLAG-TRADER" if model == FLAG else model


def _recomputed_differs(rebuilt: Rebuilt) -> Iterator[Finding]:
    for symbol, row in rebuilt.items():
        for metric, matches in row["matches"].items():
            if matches:
                continue
            printed, recomputed = row["printed"][metric], row["recomputed"][metric]
            scale = 1 if metric == SHARPE_RATIO else 100
            yield Finding(
                kind="recomputed_differs",
                symbol=symbol,
                model=HOLD,
                sentence=f"{symbol}: the {NAMES[metric]} of Buy & Hold recomputes to {scale * recomputed:.5f} where "
                f"{scale * printed:.3f} is printed.",
                numbers={
                    "metric": metric,
                    "printed": printed,
                    "recomputed": recomputed,
                    "rounded": round(recomputed, DECIMALS[metric]),
                },
            )


def _volatility_basis(symbol: str, rows: list[AuditedRow]) -> Iterator[Finding]:
    needing = [row.row.model for row in rows if row.volatility == "needs sqrt(365)"]
    if not needing:
        return
    ceiling = rows[0].ceiling
    low, high = ceiling.days[STOCK_DAYS], ceiling.days[CRYPTO_DAYS]
    yield Finding(
        kind="volatility_basis",
        symbol=symbol,
        model=None,
        sentence=f"{symbol}: {_ceiling_source(rows[0])}, positions of -1, 0 and 1 have a volatility of at most "
        f"{_percent(low)} % with sqrt(252) and {_percent(high)} % with sqrt(365). {len(needing)} of {len(rows)} rows "
        f"are above the first and not the second: {', '.join(short_name(model) for model in needing)}.",
        numbers={"ceiling_252": low, "ceiling_365": high, "from_prices": ceiling.from_prices, "models": needing},
    )


def _ceiling_source(row: AuditedRow) -> str:
    if row.ceiling.from_prices:
        return "on its prices"
    assumed = not CONVENTIONS[row.row.symbol].recomputed
    return "by its printed Buy & Hold row" + (", if that is on sqrt(365)" if assumed else "")


def _same_series(symbol: str, rows: list[AuditedRow]) -> Iterator[Finding]:
    ratio = math.sqrt(CRYPTO_DAYS / STOCK_DAYS)
    for pair in combinations(rows, 2):
        for larger, smaller in (pair, pair[::-1]):
            if not same_series(larger.row, smaller.row, ratio):
                continue
            models = [short_name(larger.row.model), short_name(smaller.row.model)]
            yield Finding(
                kind="same_series",
                symbol=symbol,
                model=None,
                sentence=f"{symbol}: {models[0]} and {models[1]} print the same CR "
                f"({_percent(larger.row.cumulative_return)} %), and volatilities that differ by exactly "
                f"sqrt(365/252) ({_percent(larger.row.annual_volatility)} % and "
                f"{_percent(smaller.row.annual_volatility)} %): one series of daily returns on two bases.",
                numbers={"models": [larger.row.model, smaller.row.model], "ratio": ratio},
            )


def _buy_and_hold(row: AuditedRow) -> Iterator[Finding]:
    """Only rows that share both CR and AV: those two fix a series, while a drawdown is shared by many."""
    variant = row.hold_variant
    if row.row.model == HOLD or variant is None:
        return
    if not {CUMULATIVE_RETURN, ANNUAL_VOLATILITY} <= set(variant.metrics):
        return
    names = ", ".join(NAMES[metric] for metric in variant.metrics)
    yield Finding(
        kind="buy_and_hold",
        symbol=row.row.symbol,
        model=row.row.model,
        sentence=f"{row.row.symbol}: {short_name(row.row.model)} is Buy & Hold over the {variant.window} with "
        f"sqrt({variant.days_volatility}): {names} agree to the printed decimals.",
        numbers={
            "window": variant.window,
            "days_volatility": variant.days_volatility,
            "metrics": variant.metrics,
        },
    )


def _impossible(row: AuditedRow) -> Iterator[Finding]:
    if row.volatility != "impossible":
        return
    low, high = row.ceiling.days[STOCK_DAYS], row.ceiling.days[CRYPTO_DAYS]
    yield Finding(
        kind="impossible_volatility",
        symbol=row.row.symbol,
        model=row.row.model,
        sentence=f"{row.row.symbol}: {short_name(row.row.model)} prints a volatility of "
        f"{_percent(row.row.annual_volatility)} %; {_ceiling_source(row)}, positions of -1, 0 and 1 have at most "
        f"{_percent(low)} % with sqrt(252) and {_percent(high)} % with sqrt(365).",
        numbers={
            "annual_volatility": row.row.annual_volatility,
            "ceiling_252": low,
            "ceiling_365": high,
            "from_prices": row.ceiling.from_prices,
        },
    )


def _long_flat(row: AuditedRow) -> Iterator[Finding]:
    """The sentence takes the window with as many returns as the row implies days, else the fuller one."""
    if row.flat is None:
        return
    days = row.window_days[STOCK_DAYS]
    window = next((name for name, cases in row.flat.items() if cases[STOCK_DAYS].num_returns in days), FULL)
    stock, crypto = row.flat[window][STOCK_DAYS], row.flat[window][CRYPTO_DAYS]
    ruled_out = not any(cases[STOCK_DAYS].possible for cases in row.flat.values())
    room = "no room for any" if stock.at_most is None else f"room for at most {_points(stock.at_most)}"
    verdict = (
        "so the row is no long-or-flat account on that basis, on either window"
        if ruled_out
        else "so a long-or-flat account is not ruled out"
    )
    yield Finding(
        kind="long_flat",
        symbol=row.row.symbol,
        model=row.row.model,
        sentence=f"{row.row.symbol}: a long-or-flat account would need {_points(stock.needed)} points of CR over Buy & "
        f"Hold from days out of the market; with sqrt(252) the printed volatility leaves {room} ({stock.num_returns} "
        f"returns), {verdict}. With sqrt(365) there would be room for {_room(crypto.at_most)}.",
        numbers={
            "window": window,
            "ruled_out": ruled_out,
            "cases": {
                name: {str(basis): asdict(case) for basis, case in cases.items()} for name, cases in row.flat.items()
            },
        },
    )


def _room(at_most: float | None) -> str:
    return "none" if at_most is None else _points(at_most)


def _days(row: AuditedRow) -> Iterator[Finding]:
    """FLAG-TRADER's rows always, others where no window explains them under either basis."""
    implied = row.implied[STOCK_DAYS]
    if implied is None or (row.row.model != FLAG and any(row.window_days.values())):
        return
    explained = "; ".join(
        f"{number} is the number of {_meaning(row.row.symbol, number)}" for number in row.window_days[STOCK_DAYS]
    )
    whole = f"only {', '.join(map(str, implied.integers))} is whole" if implied.integers else "no whole number"
    missed = f"{whole} there, and the window has {CONVENTIONS[row.row.symbol].benchmark_prices} prices"
    yield Finding(
        kind="flag_days" if row.row.model == FLAG else "implied_days",
        symbol=row.row.symbol,
        model=row.row.model,
        sentence=f"{row.row.symbol}: {short_name(row.row.model)}'s CR, SR and AV imply {implied.estimate:.2f} days "
        f"({implied.low:.2f} to {implied.high:.2f}); {explained or missed}.",
        numbers={"implied": asdict(implied), "window_days": row.window_days[STOCK_DAYS]},
    )


def _meaning(symbol: str, number: int) -> str:
    """What a number of days is in the benchmark's window of `symbol`."""
    returns = CONVENTIONS[symbol].benchmark_prices - 1
    if number > returns:
        return f"prices of the {FULL}"
    if number == returns:
        return f"returns of the {FULL}, or of prices with the {DROPPED}"
    return f"returns with the {DROPPED}"


def _rank(row: AuditedRow) -> Iterator[Finding]:
    if row.row.model != FLAG:
        return
    ranks = row.ranks
    needed = ", as the highest possible volatility asks" if row.volatility == "needs sqrt(365)" else ""
    same = ranks.sharpe_other == ranks.sharpe_common
    other = "" if same else f" ({ranks.sharpe_other} if its own printed one is on sqrt(365){needed})"
    yield Finding(
        kind="ranks",
        symbol=row.row.symbol,
        model=FLAG,
        sentence=f"{row.row.symbol}: FLAG-TRADER is number {ranks.cumulative_return} by CR and {ranks.sharpe_printed} "
        f"by SR as printed; with sqrt(252) in every row's volatility it is {ranks.sharpe_common} by SR{other}.",
        numbers=asdict(ranks),
    )


def _all_ranks(rows: list[AuditedRow]) -> Finding:
    first = {
        name: [row.row.symbol for row in rows if getattr(row.ranks, name) == 1]
        for name in ("cumulative_return", "sharpe_printed", "sharpe_common")
    }
    counted = {name: f"{len(symbols)} of {len(rows)} ({', '.join(symbols)})" for name, symbols in first.items()}
    return Finding(
        kind="ranks",
        symbol=None,
        model=FLAG,
        sentence=f"FLAG-TRADER is first by CR on {counted['cumulative_return']}, by SR as printed on "
        f"{counted['sharpe_printed']}, and by SR with sqrt(252) in every volatility on {counted['sharpe_common']}.",
        numbers={"first": first},
    )
