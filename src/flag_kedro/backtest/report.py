"""The report of a backtest: one page that needs nothing else to be opened."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from flag_kedro.backtest import report_terms
from flag_kedro.backtest.plot_style import COLORS, OTHER_COLOR, POLICY, in_order
from flag_kedro.backtest.report_figures import overview_figure, share_sessions, symbol_figures
from flag_kedro.backtest.trades import list_trades
from flag_kedro.features.digest import NO_NEWS

SHOWN_DECISIONS = 8


def write_report(
    *,
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    backtest_metrics: Mapping[str, Any],
    inference: Mapping[str, Any],
    sensitivity: Mapping[str, Any],
    audit: Mapping[str, Any],
    market_states: Mapping[str, pl.DataFrame],
    facts: Mapping[str, Any],
    data_warnings: Sequence[str] = (),
) -> str:
    """Write the report as HTML with plots, styles and scripts inside.

    Args:
        decisions: columns of `replay.DECISIONS`.
        equity: columns of `replay.EQUITY`.
        backtest_metrics: `convention`, `results` and `other_convention`; one convention is `account`.
        inference: intervals of differences, luck, collapse and verdict of each symbol and strategy.
        sensitivity: cost curves, lagged scores and capacity of each symbol and strategy.
        audit: checks of causality and how many differences each found.
        market_states: columns of `features.market_state.MARKET_STATE` for each symbol.
        facts: printed in the header as they are: windows, seed, hash of the data.
        data_warnings: what ingest found to beware of, one sentence each.

    Raises:
        DataError: when a number is NaN or infinite.
    """
    import plotly.io  # takes long to import, as the next
    from plotly.offline import get_plotlyjs

    account, results = account_scores_of(backtest_metrics), backtest_metrics["results"]
    sections = []
    for symbol in results:
        curve = {**sensitivity, "symbols": {symbol: sensitivity["symbols"][symbol]}}
        section = _section(_of(decisions, symbol), _of(equity, symbol), curve, market_states, account["convention"])
        sections.append({"symbol": symbol, "strategies": in_order(list(results[symbol])), **section})
    return _template().render(
        policy=POLICY,
        sections=sections,
        intervals=overview_figure(backtest_metrics, inference),
        plot_template=plotly.io.templates["plotly_white"].to_plotly_json(),
        plotly_js=Markup(get_plotlyjs()),
        metrics=backtest_metrics,
        results=results,
        account=account["results"],
        inference=inference,
        sensitivity=sensitivity,
        audit=audit,
        facts=facts,
        data_warnings=data_warnings,
        colors={name: COLORS.get(name, OTHER_COLOR) for scores in results.values() for name in scores},
        terms=report_terms,
    )


def _section(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    sensitivity: Mapping[str, Any],
    market_states: Mapping[str, pl.DataFrame],
    convention: dict[str, Any],
) -> dict[str, Any]:
    """Sessions, figures and largest decisions of one symbol."""
    sessions = equity["session"].unique().sort().cast(pl.String).to_list()
    figures = symbol_figures(decisions, equity, sensitivity, market_states, convention)
    for drawn in figures.values():
        share_sessions(drawn["figure"], sessions)
    trades = list_trades(decisions, equity, market_states, convention["fill"])
    largest = largest_decisions(trades, market_states[equity["symbol"][0]])
    return {"sessions": sessions, "figures": figures, "largest": largest}


def account_scores_of(backtest_metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """`convention` and `results` of the convention `account`, whichever of the two was asked for."""
    asked_for = backtest_metrics["convention"]["name"] == "account"
    return backtest_metrics if asked_for else backtest_metrics["other_convention"]


def largest_decisions(trades: pl.DataFrame, states: pl.DataFrame, num: int = SHOWN_DECISIONS) -> list[dict[str, Any]]:
    """The `num` trades whose action was most probable, and the headlines their decisions read.

    Args:
        trades: columns of `trades.TRADES`, of one symbol.
        states: the symbol's market states.
        num: rows at most.

    Returns:
        The columns of `TRADES` and `headlines`, newest first; the most probable trade first.
    """
    largest = trades.sort("probability", "decided", descending=[True, False], nulls_last=True).head(num)
    texts = states.select(decided="session", news_text="news_text")
    rows = largest.join(texts, on="decided", how="left", maintain_order="left").to_dicts()
    return [row | {"headlines": _headlines(row["news_text"])} for row in rows]


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
