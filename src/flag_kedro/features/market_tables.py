"""The tables that market states are built from, and how to build them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import polars as pl

from flag_kedro.features.ablation import Ablation, ablate_articles
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.digest import read_articles
from flag_kedro.features.market_state import build_market_states

States = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class MarketTables:
    """What ingest handed on, and the parameters of features."""

    prices: pl.DataFrame
    """Columns of `data.schema.PRICES`."""
    news: pl.DataFrame
    """Columns of `data.schema.NEWS`."""
    names: Mapping[str, list[str]]
    """What articles call a symbol."""
    universe: pl.DataFrame
    """Columns of `data.universe.UNIVERSE`; empty where there is no universe."""
    features: FeaturesConfig

    def build_states(
        self,
        prices: pl.DataFrame | None = None,
        news: pl.DataFrame | None = None,
        ablation: Ablation | None = None,
    ) -> States:
        """Market states by symbol, from these tables or from others in their place.

        Args:
            prices: instead of the own ones.
            news: instead of the own ones.
            ablation: instead of `features.ablation`.

        Raises:
            DataError: see `features.market_state.build_market_states`.
        """
        settings = asdict(self.features) | ({} if ablation is None else {"ablation": ablation})
        states, _ = build_market_states(
            self.prices if prices is None else prices,
            self.news if news is None else news,
            names=self.names,
            universe=self.universe,
            **settings,
        )
        return states

    def read_articles(self, news: pl.DataFrame, symbols: list[str]) -> pl.DataFrame:
        """`symbol`, `available_at` and clean `text` of each article as states show it, uncut.

        Args:
            news: columns of `data.schema.NEWS`.
            symbols: those that have states.
        """
        articles = read_articles(news, self.names)
        return ablate_articles(articles, symbols, self.names, self.features.ablation, self.features.ablation_seed)
