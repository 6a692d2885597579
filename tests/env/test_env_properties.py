"""What holds for every market, configuration and legal sequence of actions."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.env.account import BUY, HOLD, SELL, Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
from flag_kedro.env.window import TradingWindow, cut_window

MakeWindow = Callable[..., TradingWindow]
MakeConfig = Callable[..., EnvConfig]

SEEDS = st.integers(0, 2**32 - 1)
NUM_MARKETS, NUM_STEPS = 150, 6
FILLS = st.sampled_from(["next_open", "next_close", "same_close"])
CONFIGS = st.fixed_dictionaries(
    {
        "fill": FILLS,
        "positions": st.sampled_from(["long_flat", "long_short"]),
        "cost_bps": st.sampled_from([0.0, 12.3, 500.0]),
        "slippage_bps": st.sampled_from([0.0, 45.6]),
        "borrow_bps_year": st.sampled_from([0.0, 700.0]),
        "cash_rate": st.sampled_from([0.0, 0.05]),
        "max_participation": st.sampled_from([None, 0.3]),
        "max_episode_steps": st.sampled_from([None, 4]),
        "max_drawdown_stop": st.sampled_from([None, 0.1, 0.4]),
    }
)


@pytest.fixture(scope="session")
def make_env(random_window: Callable[..., TradingWindow], make_config: MakeConfig) -> Callable[..., TradingVectorEnv]:
    """Two symbols of one of the random markets, two accounts each."""

    def make(seed: int, fields: dict[str, Any]) -> TradingVectorEnv:
        config = make_config(**fields)
        window = random_window(seed % NUM_MARKETS, config.fill, config.positions)
        return TradingVectorEnv(window, config, accounts_per_symbol=2)

    return make


MakeEnv = Callable[..., TradingVectorEnv]


def _legal(rng: np.random.Generator, env: TradingVectorEnv) -> Ints:
    return np.argmax(np.where(env.accounts.action_mask(), rng.random((env.num_envs, 3)), -1.0), axis=1)


def _played(env: TradingVectorEnv, num_steps: int, seed: int) -> list[list[Any]]:
    """Everything that random legal actions gave, to compare with `==`."""
    rng, given = np.random.default_rng(seed), []
    for _ in range(num_steps):
        observed, *outcome, info = env.step(_legal(rng, env))
        numbers = [*observed.values(), *outcome, info["equity"], info["position"], info["traded_value"]]
        states = [env.states(), *([info["final_states"]] if "final_states" in info else [])]
        given.append(
            [values.tolist() for values in numbers] + [[list(each.prefix), list(each.account)] for each in states]
        )
    return given


def _earned_overnight(cash: Floats, shares: Floats, marks: Floats, years: Floats, config: EnvConfig) -> Floats:
    """Interest less fee of one night for each account."""
    earned = []
    for money, held, mark, length in zip(cash, shares, marks, years, strict=True):
        worth = held * mark
        free = max(money if worth >= 0 else money + worth, 0.0)
        fee = max(-worth, 0.0) * config.borrow_bps_year / 10_000 * length
        earned.append(free * ((1 + config.cash_rate) ** length - 1) - fee)
    return np.array(earned)


# Money


@given(seed=SEEDS, fields=CONFIGS)
def test_equity_changes_by_what_shares_gain_less_costs_and_fees_plus_interest(
    seed: int, fields: dict[str, Any], make_env: MakeEnv
) -> None:
    env, rng = make_env(seed, fields), np.random.default_rng([seed, 1])
    config, window = env.config, env.window
    for _ in range(NUM_STEPS):
        cash, shares, before = env.accounts.cash.copy(), env.accounts.shares.copy(), env.equity()
        here, there = (env.symbol, env.session), (env.symbol, env.session + 1)
        _, _, terminated, truncated, info = env.step(_legal(rng, env))
        going = ~(terminated | truncated)  # the others have been restarted
        price, mark, years = window.fill_prices[there], window.mark_prices[here], window.years[there]
        paid = config.cost * info["traded_value"]
        held_at_night, cash_at_night = shares, cash
        if config.fill == "same_close":
            held_at_night, cash_at_night = env.accounts.shares, cash - (env.accounts.shares - shares) * price - paid
        earned = _earned_overnight(cash_at_night, held_at_night, mark, years, config)
        gained = shares * (price - mark) + env.accounts.shares * (window.mark_prices[there] - price)
        assert np.allclose(info["equity"][going], (before + gained - paid + earned)[going], rtol=1e-11, atol=1e-8)
        assert env.equity()[going].tolist() == info["equity"][going].tolist()


@given(seed=SEEDS, fields=CONFIGS)
def test_whoever_is_not_short_owes_nothing(seed: int, fields: dict[str, Any], make_env: MakeEnv) -> None:
    env, rng = make_env(seed, fields), np.random.default_rng([seed, 1])
    for _ in range(NUM_STEPS):
        *_, terminated, _, _ = env.step(_legal(rng, env))
        accounts = env.accounts
        assert (np.sign(accounts.shares) == accounts.position).all()
        assert (accounts.cash[accounts.position >= 0] >= 0.0).all()
        assert (env.equity() > 0.0).all()
        if env.config.positions == "long_flat":
            assert (accounts.position >= 0).all()
            assert not terminated.any()
        if env.config.max_participation is None:
            assert (accounts.cash[accounts.position > 0] == 0.0).all()


@given(seed=SEEDS, fields=CONFIGS)
def test_log_return_rewards_add_up_to_the_log_of_the_equity_change(
    seed: int, fields: dict[str, Any], make_env: MakeEnv
) -> None:
    env, rng = make_env(seed, fields), np.random.default_rng([seed, 1])
    total = np.zeros(env.num_envs)
    for _ in range(NUM_STEPS):
        _, rewards, terminated, truncated, info = env.step(_legal(rng, env))
        total += rewards
        assert np.allclose(total, np.log(info["equity"] / 1_000.0), rtol=1e-10, atol=1e-12)
        total[terminated | truncated] = 0.0


@given(seed=SEEDS, fields=CONFIGS)
def test_no_fill_takes_more_than_its_share_of_the_volume(seed: int, fields: dict[str, Any], make_env: MakeEnv) -> None:
    env, rng = make_env(seed, fields | {"max_participation": 0.3}), np.random.default_rng([seed, 1])
    for _ in range(NUM_STEPS):
        there, shares = (env.symbol, env.session + 1), env.accounts.shares.copy()
        _, _, terminated, truncated, info = env.step(_legal(rng, env))
        most = 0.3 * np.nan_to_num(env.window.fill_volumes[there], nan=np.inf)
        assert (info["traded_value"] / env.window.fill_prices[there] <= most * (1 + 1e-14)).all()
        going = ~(terminated | truncated)
        assert (np.abs(env.accounts.shares - shares)[going] <= (most * (1 + 1e-12) + 1e-12)[going]).all()


@given(seed=SEEDS, fields=CONFIGS)
def test_uncapped_fill_leaves_a_position_worth_plus_or_minus_the_equity(
    seed: int, fields: dict[str, Any], make_env: MakeEnv
) -> None:
    plain = {"positions": "long_short", "max_participation": None, "cash_rate": 0.0, "borrow_bps_year": 0.0}
    env, rng = make_env(seed, fields | plain), np.random.default_rng([seed, 1])
    for _ in range(NUM_STEPS):
        price = env.window.fill_prices[env.symbol, env.session + 1]
        actions = _legal(rng, env)
        *_, terminated, truncated, _ = env.step(actions)
        worth, equity = env.accounts.shares * price, env.accounts.equity(price)
        filled = (actions != HOLD) & ~(terminated | truncated)
        sides = np.where(actions == BUY, 1.0, -1.0)
        assert np.allclose(worth[filled], (sides * equity)[filled], rtol=1e-11, atol=0.0)


@given(seed=SEEDS, fill=FILLS, sessions=st.integers(3, 6))
def test_long_and_short_without_costs_gain_the_opposite_from_the_same_prices(
    seed: int, fill: str, sessions: int, make_window: MakeWindow
) -> None:
    prices = np.random.default_rng(seed).integers(60, 100, (2, sessions)).tolist()
    config = EnvConfig(
        positions="long_short", cost_bps=0.0, slippage_bps=0.0, borrow_bps_year=0.0, initial_cash=1_000.0
    )
    env = TradingVectorEnv(make_window(fill, positions="long_short", A=tuple(prices)), config, accounts_per_symbol=2)
    env.reset()
    for action in [np.array([BUY, SELL]), *[np.array([HOLD, HOLD])] * (sessions - 2)]:
        long, short = env.step(action)[-1]["equity"]
        assert long - 1_000.0 == pytest.approx(1_000.0 - short, rel=1e-9, abs=1e-9)


@given(seed=SEEDS, fields=CONFIGS, scale=st.sampled_from([0.25, 8.0, 1024.0]))
def test_money_scales_with_the_initial_cash_and_log_returns_do_not(
    seed: int, fields: dict[str, Any], scale: float, make_env: MakeEnv
) -> None:
    uncapped = fields | {"max_participation": None}
    small, large = make_env(seed, uncapped), make_env(seed, uncapped | {"initial_cash": 1_000.0 * scale})
    rng = np.random.default_rng([seed, 1])
    for _ in range(NUM_STEPS):
        actions = _legal(rng, small)
        one, other = small.step(actions), large.step(actions)
        assert one[1].tolist() == other[1].tolist()
        assert (one[-1]["equity"] * scale).tolist() == other[-1]["equity"].tolist()


# Legal actions and resets


@given(seed=SEEDS, fields=CONFIGS, single=st.booleans())
def test_random_agent_never_takes_a_masked_action(
    seed: int, fields: dict[str, Any], single: bool, make_env: MakeEnv
) -> None:
    env: Any = make_env(seed, fields)
    if single:
        first = replace(env.window, **{name: getattr(env.window, name)[:1] for name in _BY_SYMBOL})
        env = TradingEnv(first, env.config)
    observation, _ = env.reset(seed=seed)
    for _ in range(NUM_STEPS):
        actions = env.action_space.sample()
        mask = np.atleast_2d(observation["action_mask"])
        assert mask[np.arange(len(mask)), np.atleast_1d(actions)].all()
        observation, _, terminated, truncated, _ = env.step(int(actions) if single else actions)
        if single and (terminated or truncated):
            observation, _ = env.reset()


_BY_SYMBOL = (
    "symbols",
    "sessions",
    "prefixes",
    "fill_prices",
    "mark_prices",
    "num_sessions",
    "years",
    "fill_volumes",
)


@given(seed=SEEDS, fields=CONFIGS, num_steps=st.integers(0, 6), which=st.integers(0, 3))
def test_masked_action_is_refused_and_leaves_everything_as_it_was(
    seed: int, fields: dict[str, Any], num_steps: int, which: int, make_env: MakeEnv
) -> None:
    env, untouched = make_env(seed, fields), make_env(seed, fields)
    assert _played(env, num_steps, seed) == _played(untouched, num_steps, seed)
    position, lowest = env.accounts.asked[which], -1 if env.config.positions == "long_short" else 0
    masked = [-1, 3, *([SELL] if position == lowest else []), *([BUY] if position == 1 else [])]
    for action in masked:
        actions = np.full(env.num_envs, HOLD)
        actions[which] = action
        with pytest.raises(ValueError, match="is masked at"):
            env.step(actions)
    assert _played(env, 3, seed) == _played(untouched, 3, seed)


@given(
    seed=SEEDS,
    fields=CONFIGS,
    reward=st.sampled_from(["log_return", "sharpe_increment", "differential_sharpe"]),
    view=st.sampled_from(["position", "compact", "paper"]),
    num_steps=st.integers(0, 6),
)
def test_reset_gives_a_new_environment_however_often_and_whenever_it_comes(
    seed: int, fields: dict[str, Any], reward: str, view: str, num_steps: int, make_env: MakeEnv
) -> None:
    fields |= {"reward": reward, "account_view": view}
    used, new = make_env(seed, fields), make_env(seed, fields)
    _played(used, num_steps, seed)
    used.reset()
    used.reset()
    assert _played(used, NUM_STEPS, seed) == _played(new, NUM_STEPS, seed)


# Which prices are read


def _poisoned(states: pl.DataFrame, fill: str, seed: int) -> tuple[pl.DataFrame, tuple[date, date]]:
    """`states` between two sessions of NaN, infinity and rubbish on either side, and the window of the good ones.

    Where decisions fill at closes, all opens are rubbish too; the first open and volume, and under `same_close`
    the last volume, are prices and volumes that nothing may fill at.
    """
    bad = [float("nan"), float("inf"), -1e9, 1e300]
    first, last = states["session"][0], states["session"][-1]
    columns = ("open_price", "mark_price", "volume")
    before, after = (
        pl.concat([states.head(1)] * 2).with_columns(
            session=pl.Series([edge + timedelta(days=days) for days in away]),
            **{name: pl.Series(np.random.default_rng([seed, way]).choice(bad, 2)) for name in columns},
        )
        for way, edge, away in ((0, first, (-3, -1)), (1, last, (1, 2)))
    )
    inside = states.with_row_index("t").with_columns(
        open_price=pl.when((pl.col("t") == 0) | (fill != "next_open"))
        .then(1e300 if fill == "next_open" else None)
        .otherwise("open_price"),
        volume=pl.when(pl.col("t") == (states.height - 1 if fill == "same_close" else 0))
        .then(float("inf"))
        .otherwise("volume"),
    )
    return pl.concat([before, inside.drop("t").select(states.columns), after]), (first, last)


@given(seed=SEEDS, fields=CONFIGS, reward=st.sampled_from(["log_return", "differential_sharpe"]))
def test_nothing_outside_the_window_and_no_price_before_the_first_decision_is_read(
    seed: int,
    fields: dict[str, Any],
    reward: str,
    random_market: Callable[..., Any],
    random_window: MakeWindow,
    make_states: Callable[..., pl.DataFrame],
    make_config: MakeConfig,
) -> None:
    which, config = seed % NUM_MARKETS, make_config(**fields, reward=reward)
    market = random_market(which, 1)
    opens, closes, volumes = market.symbols["A"]
    spoilt, window = _poisoned(make_states(closes, opens, volumes, market.nights[: len(closes) - 1]), config.fill, seed)
    other = cut_window({"A": spoilt}, window, config.fill, positions=config.positions)
    plain = random_window(which, config.fill, config.positions, 1)
    expected = _played(TradingVectorEnv(plain, config, 3), NUM_STEPS, seed)
    assert _played(TradingVectorEnv(other, config, 3), NUM_STEPS, seed) == expected


@given(seed=SEEDS, fields=CONFIGS)
def test_padding_and_the_first_sessions_fill_are_never_read(
    seed: int, fields: dict[str, Any], make_env: MakeEnv
) -> None:
    env = make_env(seed, fields)
    sessions = np.arange(env.window.mark_prices.shape[1])
    padding = sessions >= env.window.num_sessions[:, None]
    unread = padding | (sessions == 0)
    spoilt = replace(
        env.window,
        **{
            name: np.where(never, np.inf, getattr(env.window, name))
            for name, never in (
                ("mark_prices", padding),
                ("fill_prices", unread),
                ("fill_volumes", unread),
                ("years", unread),
            )
        },
    )
    assert _played(TradingVectorEnv(spoilt, env.config, 2), NUM_STEPS, seed) == _played(env, NUM_STEPS, seed)


@given(seed=SEEDS, fields=CONFIGS, when=st.integers(1, 5), view=st.sampled_from(["position", "compact", "paper"]))
def test_what_comes_after_a_session_changes_nothing_up_to_it(
    seed: int,
    fields: dict[str, Any],
    when: int,
    view: str,
    random_market: Callable[..., Any],
    random_window: MakeWindow,
    make_window: MakeWindow,
    make_config: MakeConfig,
) -> None:
    which, config = seed % NUM_MARKETS, make_config(**fields, account_view=view)
    market = random_market(which, 1)
    opens, closes, volumes = market.symbols["A"]
    when = min(when, len(closes) - 1)
    rng = np.random.default_rng([seed, 2])
    later = len(closes) - when

    def changed(values: list[Any]) -> list[Any]:
        return [*values[:when], *rng.integers(1, 999, later).tolist()]

    nights = [*market.nights[: when - 1], *rng.integers(1, 99, later).tolist()]
    plain = random_window(which, config.fill, config.positions, 1)
    other = make_window(
        config.fill,
        positions=config.positions,
        nights=nights,
        A=(changed(opens), changed(closes), changed(volumes)),
    )
    envs = [TradingVectorEnv(window, config, 3) for window in (plain, other)]
    assert _played(envs[0], when - 1, seed) == _played(envs[1], when - 1, seed)
