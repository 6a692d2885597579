"""Tables on disk are taken by those who ask for what they were made with, also where they do not say all of it."""

import json
from typing import Any

import pytest

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.errors import MadeOtherwiseError
from flag_kedro.features.provenance import MarketFacts, check_market, market_facts


def facts(**simulated: Any) -> MarketFacts:
    """As they are read from disk."""
    made: MarketFacts = json.loads(
        json.dumps(market_facts(DataConfig(), NewsConfig(), SimulatedConfig(**simulated)), default=str)
    )
    return made


def facts_of_before() -> MarketFacts:
    """Of the laboratory, as it was saved before headlines could announce volatility."""
    made = facts()
    rule = {name: value for name, value in made["simulated"].items() if not name.startswith("volatility_")}
    assert len(rule) == len(made["simulated"]) - 3
    return made | {"simulated": rule}


def test_a_market_that_was_simulated_before_volatility_was_announced_is_still_taken():
    check_market(facts_of_before(), facts())


@pytest.mark.parametrize("before", [True, False])
def test_other_volatility_is_refused_both_ways_and_what_made_the_data_is_named(before: bool):
    plain = facts_of_before() if before else facts()
    with pytest.raises(MadeOtherwiseError, match=r"simulated\.volatility_news: made with 0\.0, now 0\.4") as refused:
        check_market(plain, facts(market="regimes"))
    assert refused.value.params == {"simulated.volatility_news": 0.0, "simulated.volatility_effect": 1.0}
    with pytest.raises(MadeOtherwiseError, match=r"simulated\.volatility_news: made with 0\.4, now 0\.0") as refused:
        check_market(facts(market="regimes"), facts())
    assert refused.value.params == {"simulated.volatility_news": 0.4, "simulated.volatility_effect": 2.0}
