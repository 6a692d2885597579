import pytest
from pydantic import ValidationError

from flag_kedro.backtest.config import BacktestConfig


def test_account_is_the_convention_unless_another_is_asked_for() -> None:
    assert BacktestConfig().convention == "account"
    assert BacktestConfig(convention="investorbench").convention == "investorbench"


@pytest.mark.parametrize("fields", [{"convention": "paper"}, {"conventions": "account"}])
def test_unknown_conventions_and_misspelt_names_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        BacktestConfig(**fields)
