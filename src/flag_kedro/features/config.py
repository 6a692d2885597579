"""Parameters `features.*`: how much of the news one state shows."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FeaturesConfig:
    """What goes into a market state's text."""

    digest_sessions: int = Field(3, ge=1, le=60)
    """How many sessions of news a state shows, the newest first: 1 is what became known since the last decision. What
    moves a price for days is learned faster by a policy that sees it for days (docs/experiments.md)."""
    digest_chars: int = Field(600, ge=40)
    """Budget of the news text in characters; whole articles are left out beyond it, oldest first."""
    article_chars: int = Field(240, ge=20)
    """Length at which one article's text is cut."""
