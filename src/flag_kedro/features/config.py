"""Parameters `features.*`: how much of the news one state shows."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.data.text import MAX_CHARS
from flag_kedro.features.ablation import Ablation
from flag_kedro.features.indicators import WarmUp, num_unseen


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FeaturesConfig:
    """What goes into a market state's text."""

    warm_up: WarmUp = "full"
    """`full`: a symbol's states begin with its 60th session, when every indicator has its history. `partial`: with its
    first; until then a prompt says "RSI unknown" and the like, and sb3_baseline refuses windows that begin so early."""
    digest_sessions: int = Field(default=1, ge=1, le=60)
    """How many sessions of news a state shows, the newest first: 1 is what became known since the last decision. What
    moves a price for days is learned faster by a policy that sees it for days (docs/experiments.md)."""
    digest_chars: int = Field(default=600, ge=40)
    """Budget of the news text in characters, shared among its articles: each gets as much, and what short ones leave
    goes to the others."""
    article_chars: int = Field(default=240, ge=20, le=MAX_CHARS)
    """Most characters of one article."""
    min_article_chars: int = Field(default=80, ge=10)
    """Fewest characters to which an article is cut. Where the budget has not that many for each, articles are left out
    and counted in a last line, those that do not mention the company first, then the oldest. One article is always
    shown."""
    ablation: Ablation = "none"
    """What states do not show: `mask_names` (companies, tickers, dates), `shuffle_news` (articles say what earlier ones
    said), `no_news`, `no_prices` (features/ablation.py). Fills and marks stay as they are."""
    ablation_seed: int = Field(default=0, ge=0)
    """Seed of the draws of `shuffle_news`."""

    @property
    def num_unseen(self) -> int:
        """Sessions of a symbol before its first state."""
        return num_unseen(self.warm_up)

    @property
    def num_warming(self) -> int:
        """First states of a symbol in which an indicator may be unknown."""
        return num_unseen("full") - self.num_unseen
