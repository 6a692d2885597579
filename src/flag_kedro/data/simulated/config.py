"""Parameters `simulated.*`: a preset of the market, and what differs from it."""

from dataclasses import dataclass as plain_dataclass
from dataclasses import fields, replace
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Preset = Literal["laboratory", "language", "realistic", "regimes", "easy"]
Language = Literal["templates", "recombined", "paraphrases"]
TestWordings = Literal["first", "second"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


@plain_dataclass(frozen=True, kw_only=True)
class MarketRule:
    """All numbers of a simulated market; `SimulatedConfig` says what each means."""

    first_session: date
    last_session: date
    drift: float
    regime_drift: float
    regime_sessions: int
    noise: float
    share: float
    signal: float
    horizon: int
    decay: float
    size_spread: float
    priced_in: float
    fewest_neutral: int
    neutral_articles: int
    rival_share: float
    ambiguous_share: float
    stale_share: float
    language: Language
    reversal_share: float
    conflict_share: float
    reports: int
    test_wordings: TestWordings
    volatility_news: float = 0.0
    volatility_effect: float = 1.0
    volatility_decay: float = 1.0

    @property
    def event_share(self) -> float:
        """Share of (symbol, session) pairs with a headline, or a conflict, that moves prices."""
        return self.share + self.conflict_share * (1.0 - self.share)


FIRST, LAST = date(2019, 1, 2), date(2023, 12, 29)
EASY = MarketRule(
    first_session=FIRST, last_session=LAST,
    drift=0.0, regime_drift=0.0, regime_sessions=0, noise=0.012,
    share=0.5, signal=0.006, horizon=3, decay=1.0, size_spread=0.0, priced_in=0.0,
    fewest_neutral=1, neutral_articles=3, rival_share=0.0, ambiguous_share=0.0, stale_share=0.0,
    language="templates", reversal_share=0.0, conflict_share=0.0, reports=1, test_wordings="first",
)  # fmt: skip
LABORATORY = MarketRule(
    first_session=FIRST, last_session=LAST,
    drift=0.07, regime_drift=0.2, regime_sessions=60, noise=0.012,
    share=0.4, signal=0.01, horizon=3, decay=0.5, size_spread=0.5, priced_in=0.3,
    fewest_neutral=0, neutral_articles=2, rival_share=0.15, ambiguous_share=0.1, stale_share=0.1,
    language="recombined", reversal_share=0.0, conflict_share=0.0, reports=1, test_wordings="first",
)  # fmt: skip
LANGUAGE = replace(
    LABORATORY,
    drift=0.0, regime_sessions=0, signal=0.02, horizon=1, priced_in=0.0, ambiguous_share=0.0, stale_share=0.0,
    language="paraphrases", reports=4,
)  # fmt: skip
PRESETS: dict[Preset, MarketRule] = {
    "laboratory": LABORATORY,
    "language": LANGUAGE,
    "realistic": replace(LABORATORY, signal=0.0025),
    "regimes": replace(LABORATORY, volatility_news=0.4, volatility_effect=2.0),
    "easy": EASY,
}
LANGUAGE_SHARES: dict[Language, dict[str, Any]] = {
    "templates": {"reversal_share": 0.0, "conflict_share": 0.0, "reports": 1},
    "recombined": {"reversal_share": 0.0, "conflict_share": 0.0, "reports": 1},
    "paraphrases": {"reversal_share": 0.3, "conflict_share": 0.1},
}
"""What each language has of its own, whatever the preset."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SimulatedConfig:
    """The simulated market. Returns are logarithmic; null means the preset's."""

    market: Preset = "laboratory"
    """`laboratory`: drifting prices, most articles distract, no sentence of the test window occurs in training, effects
    are strong; `language`: prices tell nothing, and events are told in words that are new in each window; `realistic`:
    the laboratory with small effects; `regimes`: the laboratory with headlines that announce how much prices will move;
    `easy`: equal effects, few templates, no drift."""
    first_session: date = FIRST
    """First day of the span that windows divide; prices begin 59 sessions earlier, for the indicators."""
    last_session: date = LAST
    """Last day of the span; at least three years give windows worth learning on."""
    drift: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    """Expected log return of a year without any headline."""
    regime_drift: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    """What a calm regime adds to `drift` and a stressed one takes from it."""
    regime_sessions: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Mean length of the regimes, which alternate and are common to all symbols; lengths lie within a third of it. 0 is
    a market without regimes."""
    noise: Annotated[float, Field(gt=0.0, le=0.2)] | None = None
    """Standard deviation of a session's log return without headlines; calm regimes have 0.85 of it, stressed 1.25."""
    share: Share | None = None
    """Share of (symbol, session) pairs with a good or bad headline."""
    signal: Annotated[float, Field(ge=0.0, le=0.1)] | None = None
    """Mean log return that such a headline adds to (or takes from) the first session it moves; 0 is the no-signal
    twin."""
    horizon: Annotated[int, Field(ge=1, le=20)] | None = None
    """Sessions that a headline moves."""
    decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Effect on each of them over that on the one before."""
    size_spread: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    """Standard deviation of the logarithm of a headline's size, which multiplies its effect and has mean 1; 0 makes all
    alike."""
    priced_in: Share | None = None
    """Part of the first session's effect that also moves the last session that closes before the headline is out, so
    that no reader can earn it."""
    fewest_neutral: Annotated[int, Field(ge=0, le=10)] | None = None
    """Fewest neutral headlines of a symbol and session."""
    neutral_articles: Annotated[int, Field(ge=0, le=10)] | None = None
    """Most neutral headlines of a symbol and session; every number up to it is as likely."""
    rival_share: Share | None = None
    """Share of (symbol, session) pairs with a good or bad headline about another company, which moves nothing."""
    ambiguous_share: Share | None = None
    """Share with a headline that holds a good and a bad clause, which moves nothing."""
    stale_share: Share | None = None
    """Share with a good or bad headline told again 4 to 10 sessions later, which moves nothing then."""
    language: Language | None = None
    """`templates`: a few sentences with slots, which recur in all windows; `recombined`: sentences of a verb phrase, an
    object and a tail, each in one of the windows 60/20/20 only; `paraphrases`: free wordings, each in one window, whose
    words say good or bad in that window only."""
    reversal_share: Share | None = None
    """Share of good and bad headlines that say it the other way round: a denial, a loss that shrinks, a plan that is
    dropped. Null means the language's: 0.3 of `paraphrases`; the others have none."""
    conflict_share: Share | None = None
    """Share of (symbol, session) pairs with two headlines that disagree and say their sizes, in place of another one
    that moves prices; the larger wins, and their effects add up. Null means the language's: 0.1 of `paraphrases`; the
    others have none."""
    reports: Annotated[int, Field(ge=1, le=5)] | None = None
    """Outlets that report an event, each in its own words, on the same side of the close; of two headlines that
    disagree, the larger one is reported so often. More than 1 needs `paraphrases`."""
    test_wordings: TestWordings | None = None
    """Which of two sets of paraphrases the test window has: null and `first` are the one that the market was designed
    with, `second` one that was written after all settings had been fixed."""
    volatility_news: Share | None = None
    """Share of (symbol, session) pairs whose decision learns of a headline that announces turbulence, or that it is
    over, as often one as the other; they say nothing of where prices go. Above 0 it needs `recombined`."""
    volatility_effect: Annotated[float, Field(ge=1.0, le=4.0)] | None = None
    """Factor on the noise's standard deviation in the session after a headline of turbulence, and divisor after one
    that it is over; the newest counts. 1 is the twin without effect."""
    volatility_decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """The factor's logarithm in each further session over that in the one before; 1 lasts until the next headline."""

    def __post_init__(self) -> None:
        if self.first_session >= self.last_session:
            raise ValueError(
                f"simulated.first_session ({self.first_session}) must lie before "
                f"simulated.last_session ({self.last_session})"
            )
        rule = self.rule()
        if rule.fewest_neutral > rule.neutral_articles:
            raise ValueError(
                f"simulated.fewest_neutral ({rule.fewest_neutral}) must not exceed "
                f"simulated.neutral_articles ({rule.neutral_articles})"
            )
        for name, none in (("reversal_share", 0.0), ("conflict_share", 0.0), ("reports", 1)):
            if rule.language != "paraphrases" and getattr(rule, name) > none:
                raise ValueError(
                    f"simulated.{name} is {getattr(rule, name)}, but simulated.language={rule.language} has no such "
                    f"headlines; set simulated.language to paraphrases, or simulated.{name} to null"
                )
        if rule.test_wordings == "second" and rule.language != "paraphrases":
            raise ValueError(
                f"simulated.test_wordings is second, but simulated.language={rule.language} has one set alone; set "
                "simulated.language to paraphrases, or simulated.test_wordings to null"
            )

        if rule.volatility_news > 0.0 and rule.language != "recombined":
            raise ValueError(
                f"simulated.volatility_news is {rule.volatility_news}, but simulated.language={rule.language} has no "
                "words for it; set simulated.language to recombined, or simulated.volatility_news to 0"
            )

    def rule(self) -> MarketRule:
        """The preset's numbers and the language's, with those that are given in their place."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(MarketRule)}
        language = self.language or PRESETS[self.market].language
        changes = LANGUAGE_SHARES[language] | {name: value for name, value in given.items() if value is not None}
        return replace(PRESETS[self.market], **changes)
