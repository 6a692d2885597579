"""A market whose headlines move prices by a known rule, so that learning can be proven.

The rule: a good or bad headline adds plus or minus `signal` times its size to the open-to-close log return of the
session after the first one whose decision may use it, and `decay` of the effect before to each of the next ones, up to
`horizon` sessions. Beside that and a drift nothing can be predicted: volatility clusters (GARCH) and symbols share a
common factor and regimes, but the sign of the noise is random. With `volatility_news` headlines announce how much a
symbol's noise will move its price (`volatility.py`).
"""

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated.articles import article_table, news_table
from flag_kedro.data.simulated.config import MarketRule, SimulatedConfig
from flag_kedro.data.simulated.division import WARM_UP_SESSIONS
from flag_kedro.data.simulated.effects import plant_effects
from flag_kedro.data.simulated.expected_variance import expect_week_variance
from flag_kedro.data.simulated.news import draw_articles
from flag_kedro.data.simulated.prices import Climate, draw_climate, draw_prices, garch_noise
from flag_kedro.data.simulated.volatility import plant_volatility
from flag_kedro.data.streams import stream
from flag_kedro.errors import ParameterError

CALENDAR = "XNYS"
DEFAULT_SYMBOLS = tuple(COMPANIES)[:6]


@dataclass(frozen=True)
class SimulatedMarket:
    """Prices and news, and the effects that the simulation planted."""

    prices: pl.DataFrame
    """Columns of `schema.PRICES`."""
    news: pl.DataFrame
    """Columns of `schema.NEWS`."""
    truth: pl.DataFrame
    """`symbol`, `session`, `effect`: the planted part of the session's open-to-close log return, what was priced in
    before publication included. `next_effect`, `second_effect`: what headlines knowable at the session's close plant in
    the next session, and in the one after. For tests and oracles; never shown to a policy. `usable`: good less bad
    headlines (of the symbol itself, those that move it) that no decision before the session's could know;
    `before_close`: whether one of them came on the day itself. Two that disagree count as one, of the larger's sign.
    `level`: the highest level (`sentence.py`) of what becomes usable at the session's decision: 0 nothing, 1 plain, 2
    turned round, 3 of another company, 4 a conflict. `regime`: calm, stressed, or null without regimes. `volatility`:
    what headlines of turbulence multiply the session's noise by; `week_variance`: expected sum of the squared log
    returns, close over close, of the next five sessions, given all up to the close and the regimes of those sessions
    (`expected_variance.py`), null for the last five."""
    articles: pl.DataFrame
    """Row by row what `news` holds: `symbol`, `session` (on whose date it is published), `kind` (good, bad, neutral,
    rival, ambiguous, stale, turbulent, settled; the first two move prices), `size` of its effect relative to the mean,
    0 where it moves nothing, and `level` (`sentence.py`). Never shown to a policy."""


def simulate_market(symbols: tuple[str, ...] | None, config: SimulatedConfig, seed: int) -> SimulatedMarket:
    """Draw a market; the same arguments give the same bits, and a symbol does not depend on the others.

    Args:
        symbols: those of `headlines.COMPANIES`; None for the first six.
        config: parameters `simulated.*`.
        seed: of every draw.

    Raises:
        ParameterError: for a symbol the simulation does not know.
        DataError: when the exchange's calendar does not reach over the simulated span.
    """
    symbols = symbols or DEFAULT_SYMBOLS
    unknown = [symbol for symbol in symbols if symbol not in COMPANIES]
    if unknown:
        raise ParameterError(
            f"data.symbols: no data for {' '.join(unknown)}; the simulated market has {' '.join(COMPANIES)}"
        )
    rule = config.rule()
    sessions = exchange_sessions(CALENDAR, rule.first_session - timedelta(days=120), rule.last_session)
    sessions = sessions.slice(int((sessions["session"] < rule.first_session).sum()) - WARM_UP_SESSIONS)
    climate = draw_climate(rule, sessions.height, seed)
    parts = [_simulate_symbol(symbol, sessions, climate, rule, seed) for symbol in symbols]
    prices, news, truth, articles = (pl.concat(tables) for tables in zip(*parts, strict=True))
    return SimulatedMarket(prices=prices, news=news, truth=truth, articles=articles)


def _simulate_symbol(
    symbol: str, sessions: pl.DataFrame, climate: Climate, rule: MarketRule, seed: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    articles = draw_articles(symbol, sessions, rule, seed)
    planted = plant_effects(articles, rule, sessions.height) | plant_volatility(articles, rule, sessions.height)
    rng = stream(seed, symbol, "prices")
    idiosyncratic = garch_noise(rng, sessions.height)
    prices = draw_prices(symbol, sessions, climate, planted, idiosyncratic, rule.noise, rng)
    planted["week_variance"] = expect_week_variance(articles, planted.pop("turbulence"), climate, idiosyncratic, rule)
    columns = [pl.Series(name, values, nan_to_null=True) for name, values in planted.items()]
    regime = pl.Series("regime", climate.names, dtype=pl.String)
    truth = sessions.select(pl.lit(symbol).alias("symbol"), "session", *columns, regime)
    return prices, news_table(symbol, articles), truth, article_table(symbol, articles, sessions["session"])
