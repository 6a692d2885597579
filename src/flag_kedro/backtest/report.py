"""The report of a backtest: one page that needs nothing else to be opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from flag_kedro.backtest import report_terms
from flag_kedro.backtest.answer import answer_rows
from flag_kedro.backtest.plot_style import COLORS, OTHER_COLOR, in_order
from flag_kedro.backtest.report_figures import PageFigure, overview_figures, share_sessions, symbol_figures
from flag_kedro.backtest.trades import STOP, list_trades
from flag_kedro.features.digest import NO_NEWS
from flag_kedro.names import POLICY, SIMULATED

SHOWN_DECISIONS = 8


@dataclass(frozen=True, kw_only=True)
class LargeDecision:
    """A trade and the headlines that its decision read; the other fields are columns of `trades.TRADES`."""

    decided: date
    action: str
    probability: float | None
    after: int
    earned: float
    still_open: bool
    headlines: list[tuple[str, float | None]]
    """Each with the change of the action's probability that it made: with it less without it, all others staying; None
    where that was not asked."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the page shows of one symbol."""

    symbol: str
    strategies: list[str]
    """In the order of legends."""
    sessions: list[str]
    """Dates, which the figures share."""
    figures: dict[str, PageFigure]
    largest: list[LargeDecision]


def write_report(
    *,
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    backtest_metrics: Mapping[str, Any],
    inference: Mapping[str, Any],
    sensitivity: Mapping[str, Any],
    audit: Mapping[str, Any],
    market_states: Mapping[str, pl.DataFrame],
    influence: pl.DataFrame,
    facts: Mapping[str, Any],
    hashes: Mapping[str, str],
    strength: str | None = None,
    language_models: Sequence[str] = (),
    data_warnings: Sequence[str] = (),
) -> str:
    """Write the report as HTML with plots, styles and scripts inside.

    Args:
        decisions: columns of `replay.DECISIONS`.
        equity: columns of `replay.EQUITY`.
        backtest_metrics: `market`, `convention`, `results`, `pooled` and `other_convention`; one convention is
            `account`.
        inference: intervals of differences, luck, collapse and verdict of each symbol and strategy.
        sensitivity: cost curves, lagged scores and capacity of each symbol and strategy.
        audit: checks of causality and how many differences each found.
        market_states: columns of `features.market_state.MARKET_STATE` for each symbol.
        influence: columns `symbol`, `session`, `headline`, `probability` and `probability_without` of the headlines of
            trades.
        facts: printed in the header as they are: market, windows, costs, seed.
        hashes: of the data and the policy, printed at the end.
        strength: of a simulated market, in words; None for any other.
        language_models: what is to be said of those that were asked without training, one paragraph each.
        data_warnings: what ingest found to beware of, one sentence each.

    Raises:
        DataError: when a number is NaN or infinite.
    """
    import plotly.io  # takes long to import, as the next
    from plotly.offline import get_plotlyjs

    account, results = account_scores_of(backtest_metrics), backtest_metrics["results"]
    sections = []
    for symbol, scores in results.items():
        one = {**sensitivity, "symbols": {symbol: sensitivity["symbols"][symbol]}}
        tables = _of(decisions, symbol), _of(equity, symbol), market_states, _of(influence, symbol)
        sections.append(_section(symbol, in_order(list(scores)), *tables, one, account["convention"]))
    return _template().render(
        policy=POLICY,
        sections=sections,
        answer=answer_rows(backtest_metrics["pooled"], inference["pooled"]),
        simulated=backtest_metrics["market"].startswith(SIMULATED),
        overview=overview_figures(equity, backtest_metrics, inference, account["convention"]),
        plot_template=plotly.io.templates["plotly_white"].to_plotly_json(),
        plotly_js=Markup(get_plotlyjs()),
        metrics=backtest_metrics,
        results=results,
        account=account["results"],
        inference=inference,
        sensitivity=sensitivity,
        audit=audit,
        facts=facts,
        hashes=hashes,
        strength=strength,
        language_models=language_models,
        data_warnings=data_warnings,
        colors={name: COLORS.get(name, OTHER_COLOR) for scores in results.values() for name in scores},
        terms=report_terms,
    )


def _section(
    symbol: str,
    strategies: list[str],
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    market_states: Mapping[str, pl.DataFrame],
    influence: pl.DataFrame,
    sensitivity: Mapping[str, Any],
    convention: Mapping[str, Any],
) -> Section:
    """Sessions, figures and largest decisions of one symbol; all tables and `sensitivity` are of it alone."""
    sessions = equity["session"].unique().sort().cast(pl.String).to_list()
    figures = symbol_figures(decisions, equity, sensitivity, market_states, convention)
    for drawn in figures.values():
        share_sessions(drawn.figure, sessions)
    trades = list_trades(decisions, equity, market_states, convention["fill"])
    largest = [_shown(row, market_states[symbol], influence) for row in largest_decisions(trades).iter_rows(named=True)]
    return Section(symbol=symbol, strategies=strategies, sessions=sessions, figures=figures, largest=largest)


def account_scores_of(backtest_metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """`convention` and `results` of the convention `account`, whichever of the two was asked for."""
    asked_for = backtest_metrics["convention"]["name"] == "account"
    return backtest_metrics if asked_for else backtest_metrics["other_convention"]


def largest_decisions(trades: pl.DataFrame, num: int = SHOWN_DECISIONS) -> pl.DataFrame:
    """The `num` trades of each symbol whose action was most probable, the earliest first of those that are equal.

    What a stop has closed was not decided.

    Args:
        trades: columns of `trades.TRADES`.
        num: rows of a symbol at most.
    """
    order = trades.filter(pl.col("action") != STOP).sort(
        "probability", "decided", descending=[True, False], nulls_last=True, maintain_order=True
    )
    return order.group_by("symbol", maintain_order=True).head(num)


def _shown(trade: Mapping[str, Any], states: pl.DataFrame, influence: pl.DataFrame) -> LargeDecision:
    """A trade of `list_trades` as the page shows it, the headline that moved it most first."""
    columns = ("decided", "action", "probability", "after", "earned", "still_open")
    decided = trade["decided"]
    change = pl.col("probability") - pl.col("probability_without")
    moved = influence.filter(pl.col("session") == decided).select("headline", change=change)
    headlines = moved.sort(pl.col("change").abs(), descending=True, maintain_order=True).rows()
    if not headlines:
        headlines = [
            (text, None) for text in _headlines(states.filter(pl.col("session") == decided)["news_text"].item())
        ]
    return LargeDecision(headlines=headlines, **{name: trade[name] for name in columns})


def _of(table: pl.DataFrame, symbol: str) -> pl.DataFrame:
    return table.filter(pl.col("symbol") == symbol)


def _headlines(news_text: str | None) -> list[str]:
    if news_text is None or news_text == NO_NEWS:
        return []
    return [line.removeprefix("- ") for line in news_text.splitlines()]


def _template() -> Template:
    """The page's template. Everything it is given is escaped: headlines are written by strangers."""
    environment = Environment(
        loader=PackageLoader("flag_kedro.backtest", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "show": report_terms.show,
        "show_interval": report_terms.show_interval,
        "show_fact": report_terms.show_fact,
    }
    return environment.get_template("report.html.jinja")
