"""Which decisions became trades, where they filled and what their positions earned."""

from collections.abc import Mapping

import polars as pl

from flag_kedro.errors import DataError
from flag_kedro.names import POLICY, STOPPED

TRADES = {
    "symbol": pl.String,
    "decided": pl.Date,
    "filled": pl.Date,
    "action": pl.String,
    "probability": pl.Float64,
    "before": pl.Int64,
    "after": pl.Int64,
    "price": pl.Float64,
    "earned": pl.Float64,
    "still_open": pl.Boolean,
}
"""`decided` and `filled` are sessions, `before` and `after` positions, `price` that of the fill. `earned` is
what the opened position made from this fill to the next trade's (or the window's last mark, `still_open`); of
a trade that only closes, what the closed position had made. A decimal, before costs and fees. What
`env.max_drawdown_stop` closes is no decision: its `action` is `stop`, its probability null."""
STOP = "stop"


def list_trades(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    market_states: Mapping[str, pl.DataFrame],
    fill: str,
    strategy: str = POLICY,
) -> pl.DataFrame:
    """The decisions of `strategy` that changed its position, in order of symbol and session.

    Args:
        decisions: columns of `replay.DECISIONS`.
        equity: columns of `replay.EQUITY`.
        market_states: columns of `features.market_state.MARKET_STATE` for each symbol.
        fill: `next_open`, `next_close` or `same_close`.
        strategy: whose; the others are not read.

    Returns:
        Columns of `TRADES`.

    Raises:
        DataError: when a session that filled a trade has no price to fill at.
    """
    mine = pl.col("strategy") == strategy
    tables = []
    for (symbol,), decided in decisions.filter(mine).group_by("symbol", maintain_order=True):
        path = equity.filter(mine & (pl.col("symbol") == symbol))
        states = market_states[str(symbol)]
        tables.append(_earnings(_fills(decided, path, states, fill), states, path["session"][-1]))
    return pl.concat([pl.DataFrame(schema=TRADES), *tables])


def _fills(decisions: pl.DataFrame, path: pl.DataFrame, states: pl.DataFrame, fill: str) -> pl.DataFrame:
    """`TRADES` without what positions earned, of one symbol."""
    coming = path.select("session", next_session=pl.col("session").shift(-1), held=pl.col("position").shift(-1))
    # the state after the fill tells the position; an account ruined at once has no such state
    after = pl.coalesce(pl.col("position").shift(-1), "held")
    if STOPPED in decisions.columns:
        decisions = decisions.with_columns(action=pl.when(STOPPED).then(pl.lit(STOP)).otherwise("action"))
    probability = (
        pl.when(pl.col("action") == STOP)
        .then(None)
        .when(pl.col("action") == "sell")
        .then("prob_sell")
        .when(pl.col("action") == "buy")
    )
    decided = ("action", "decided", "prob_sell", "prob_buy", "prob_hold")
    trades = (
        decisions.with_columns(decided="session")
        .with_columns(pl.when(pl.col("action") != "hold").then(pl.col(decided)).forward_fill())  # of an order in parts
        .join(coming, on="session", how="left", maintain_order="left")
        .with_columns(after=after)
        .filter(pl.col("after") != pl.col("position"))
        .with_columns(filled=pl.col("session") if fill == "same_close" else pl.col("next_session"))
    )
    price = "open_price" if fill == "next_open" else "mark_price"
    filled = trades.join(states.select(filled="session", price=price), on="filled", how="left", maintain_order="left")
    missing = filled.filter(pl.col("price").is_null())
    if missing.height:
        raise DataError(
            f"{missing['symbol'][0]} {missing['filled'][0]}: a trade filled where the market states have no {price}; "
            "give the states that the decisions were made from"
        )
    return filled.select(
        "symbol",
        "filled",
        "action",
        "after",
        "price",
        "decided",
        before="position",
        probability=probability.then("prob_buy").otherwise("prob_hold"),
    )


def _earnings(trades: pl.DataFrame, states: pl.DataFrame, last: object) -> pl.DataFrame:
    last_mark = states.filter(pl.col("session") == last)["mark_price"].item()
    price, before, after = pl.col("price"), pl.col("before"), pl.col("after")
    opened = after * (price.shift(-1, fill_value=last_mark) / price - 1.0)
    closed = before * (price / price.shift(1) - 1.0)
    return trades.with_columns(
        earned=pl.when(after != 0).then(opened).otherwise(closed),
        still_open=(after != 0) & (pl.int_range(pl.len()) == pl.len() - 1),
    ).select(*TRADES)
