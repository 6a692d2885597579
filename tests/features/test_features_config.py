"""Bounds of `features.*`."""

import pytest
from pydantic import ValidationError

from flag_kedro.features.config import FeaturesConfig


def test_state_shows_the_news_of_three_sessions_unless_told_otherwise():
    assert FeaturesConfig().digest_sessions == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("digest_sessions", 0),
        ("digest_sessions", 61),
        ("digest_chars", 39),
        ("article_chars", 19),
        ("article_chars", 4001),
        ("min_article_chars", 9),
        ("digest", 1),
    ],
)
def test_value_out_of_bounds_and_unknown_key_are_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        FeaturesConfig(**{key: value})
