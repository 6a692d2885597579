import pytest
from pydantic import ValidationError

from flag_kedro.env.config import EnvConfig


def test_base_cost_is_ten_basis_points_of_a_trade() -> None:
    assert EnvConfig().cost == 0.001


def test_commission_and_slippage_add_up() -> None:
    assert EnvConfig(cost_bps=20.0, slippage_bps=30.0).cost == 0.005


def test_costs_that_eat_the_whole_trade_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"cost_bps \+ env.slippage_bps must stay below 10,000; got 10000"):
        EnvConfig(cost_bps=6_000.0, slippage_bps=4_000.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"cost_bps": -1.0},
        {"slippage_bps": -0.5},
        {"initial_cash": 0.0},
        {"max_episode_steps": 0},
        {"fill": "last_close"},
        {"reward": "pnl"},
        {"account_view": "full"},
        {"cots_bps": 5.0},
    ],
)
def test_impossible_values_and_misspelt_names_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        EnvConfig(**fields)
