"""Trading on events alone: masks, refusals, and nothing that is another where every session may trade."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date

import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from gymnasium.utils.env_checker import check_env

import flag_kedro
from flag_kedro.backtest.baselines import buy_and_hold, sticky_random
from flag_kedro.backtest.counterfactual import replay_targets
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.rules import follow
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.config import EVENT_FIELDS, EnvConfig, PortfolioConfig
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.env.portfolio import PortfolioVectorEnv
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
from flag_kedro.env.window import TradingWindow, cut_window, require_events
from flag_kedro.errors import DataError, MadeOtherwiseError
from flag_kedro.features.events import EventRule
from flag_kedro.policy.bundle import check_facts

ON_NEWS = EnvConfig(decide_on="events")
SPAN = (date(2024, 1, 1), date(2099, 1, 1))
MakeStates = Callable[..., pl.DataFrame]


@pytest.fixture
def window(make_states: MakeStates) -> TradingWindow:
    """Two symbols of eight sessions, with news on the even ones (A) and never (B)."""
    closes = [10.0, 11.0, 12.0, 11.0, 10.0, 12.0, 13.0, 14.0]
    states = {"A": make_states(closes), "B": make_states(closes).with_columns(news_text=pl.lit("none"))}
    return cut_window(states, SPAN, "next_open", events=ON_NEWS.event_rule)


def test_a_window_knows_its_events_and_only_where_they_are_asked_for(window: TradingWindow, make_window):
    assert window.event_kinds.tolist() == [[1, 0] * 4, [0] * 8]
    assert make_window("next_open", A=[1, 2]).event_kinds is None


def test_events_count_sessions_before_the_window(make_states: MakeStates):
    marks = np.exp(np.cumsum([0.0] + [0.01, -0.01] * 15 + [0.1, 0.0])).tolist()
    rule = EventRule(large_move=3.0)
    last = cut_window({"A": make_states(marks)}, (date(2024, 1, 31), SPAN[1]), "next_close", events=rule)
    assert last.sessions[0][0] == date(2024, 1, 31)
    assert last.event_kinds.tolist() == [[0, 2, 0]]


def test_only_hold_is_legal_where_no_event_is(window: TradingWindow):
    env = TradingVectorEnv(window, ON_NEWS)
    assert env.states().action_mask.tolist() == [[False, True, True], [False, True, False]]
    observed = env.step(np.array([BUY, HOLD]))[0]
    assert observed["action_mask"].tolist() == [[0, 1, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match=r"action 0 \(sell\) is masked at A 2024-01-02: .*valid actions: hold"):
        env.step(np.array([SELL, HOLD]))
    env.step(np.array([HOLD, HOLD]))
    assert env.action_mask().tolist() == [[True, True, False], [False, True, False]]


def test_random_actions_are_legal(window: TradingWindow):
    env = TradingVectorEnv(window, ON_NEWS, 50)
    env.action_space.seed(0)
    taken = []
    for _ in range(7):
        taken.append(env.action_space.sample())
        env.step(taken[-1])
    assert all((actions == HOLD).all() for actions in taken[1::2])
    assert set(np.concatenate(taken[::2]).tolist()) == {SELL, HOLD, BUY}


@pytest.mark.parametrize("positions", ["long_flat", "long_short"])
def test_every_rule_trades_on_events_alone(small_states: dict[str, pl.DataFrame], positions: str):
    config = EnvConfig(decide_on="events", event_news_burst=3.0, positions=positions)
    cut = cut_window(small_states, whole(small_states), "next_open", positions=positions, events=config.event_rule)
    targets = np.random.default_rng(0).integers(0, 2, cut.mark_prices.shape)
    rules = {
        "hold": buy_and_hold,
        "random": sticky_random(0, cut.symbols, 0.9),
        "path": follow(targets),
    }
    for name, rule in rules.items():
        decisions = replay(name, cut, config, rule).decisions
        for s, symbol in enumerate(cut.symbols):
            actions = decisions.filter(pl.col("symbol") == symbol)["action"].to_numpy()
            assert (actions[~cut.is_event[s]] == "hold").all()
        assert (decisions["action"] != "hold").any()


def whole(states: dict[str, pl.DataFrame]) -> tuple[date, date]:
    days = next(iter(states.values()))["session"]
    return days[0], days[-1]


def test_counterfactual_paths_trade_at_any_session(window: TradingWindow):
    targets = np.zeros((2, 1, 8), dtype=np.int64)
    targets[:, :, 1:] = 1
    free = replace(ON_NEWS, cost_bps=0.0, slippage_bps=0.0)
    assert (replay_targets(window, free, targets).traded_value[:, 0, 2] > 0.0).all()


def test_an_order_in_parts_goes_on_between_events(make_states: MakeStates):
    states = {"A": make_states([10.0] * 4, volumes=[100.0] * 4)}
    config = EnvConfig(decide_on="events", max_participation=1.0, initial_cash=2_500.0, cost_bps=0.0, slippage_bps=0.0)
    env = TradingVectorEnv(cut_window(states, SPAN, "next_open", events=config.event_rule), config)
    traded = [env.step(np.array([action]))[4]["traded_value"][0] for action in (BUY, HOLD, HOLD)]
    assert traded == pytest.approx([1_000.0, 1_000.0, 500.0])


def test_a_window_that_was_cut_otherwise_is_refused(window: TradingWindow, make_window):
    with pytest.raises(ValueError, match=r"env\.decide_on is every_session, but the window was cut with events"):
        TradingVectorEnv(window, EnvConfig())
    with pytest.raises(ValueError, match=r"env\.decide_on is events, but the window was cut without events"):
        PortfolioVectorEnv(make_window("next_open", A=[1, 2], B=[1, 2]), ON_NEWS, PortfolioConfig())


def test_a_window_without_any_event_is_refused_by_name(small_states: dict[str, pl.DataFrame]):
    days = small_states["ALDR"]["session"]
    windows = WindowsConfig(train=(days[0], days[20]), validation=(days[21], days[30]), test=(days[31], days[-1]))
    env = EnvConfig(decide_on="events", event_news_burst=1_000.0)
    split = MarketSplit.of(small_states, DataConfig(windows=windows), env)
    for name, cut in (("training", "train"), ("validation", "validation"), ("test", "test")):
        with pytest.raises(DataError, match=rf"the {name} window from .* has no event.*env\.event_news_burst"):
            getattr(split, cut)


def test_an_event_at_the_last_session_alone_is_none(make_states: MakeStates):
    states = make_states([10.0, 11.0, 12.0]).with_columns(news_text=pl.Series(["none", "none", "- x"]))
    cut = cut_window({"A": states}, SPAN, "next_open", events=ON_NEWS.event_rule)
    with pytest.raises(DataError, match="the test window from 2024-01-01 to 2024-01-03 has no event"):
        require_events(cut, "test")


def test_facts_are_as_before_where_every_session_may_trade():
    named = EnvConfig().facts()
    assert not {"decide_on", *EVENT_FIELDS} & set(named)
    assert {name: asdict(EnvConfig())[name] for name in named} == named
    assert EnvConfig(event_large_move=2.0).facts() == named
    events = {name: asdict(ON_NEWS)[name] for name in ("decide_on", *EVENT_FIELDS)}
    assert ON_NEWS.facts() == named | events


def test_a_policy_of_other_events_is_refused():
    trained = {"env": ON_NEWS.facts()}
    check_facts(trained, {"env": EnvConfig(decide_on="events").facts()})
    for other in (EnvConfig(), EnvConfig(decide_on="events", event_news_burst=2.0)):
        with pytest.raises(MadeOtherwiseError, match="env"):
            check_facts(trained, {"env": other.facts()})
    with pytest.raises(MadeOtherwiseError, match="decide_on"):
        check_facts({"env": EnvConfig().facts()}, trained)


def test_all_weights_stay_as_they_are_where_no_symbol_has_an_event(window: TradingWindow):
    config = replace(ON_NEWS, cost_bps=0.0, slippage_bps=0.0)
    env = PortfolioVectorEnv(window, config, PortfolioConfig())
    targets = [np.array([[0.6, 0.2]]), np.array([[0.1, 0.1]]), np.array([[0.1, 0.1]])]
    traded = [env.step(target)[3]["traded_value"][0] for target in targets]
    assert traded[0] > 0.0
    assert traded[1] == 0.0
    assert traded[2] > 0.0


def test_an_agent_of_gymnasium_trades_on_events(window: TradingWindow):
    flag_kedro.__version__  # noqa: B018  (registers the environment)
    made = gym.make(
        "flag_kedro/Trading-v0", observation="prompt", env=EnvConfig(decide_on="events", event_news_burst=3.0)
    )
    check_env(made.unwrapped, skip_render_check=True)
    plain = made.unwrapped
    assert isinstance(plain, TradingEnv)
    plain.reset(seed=0)
    idle = 0
    for _ in range(60):
        mask = plain.action_masks()
        idle += mask.tolist() == [False, True, False]
        plain.step(BUY)  # holds where it may not buy
    assert 0 < idle < 60


def test_decisions_at_sessions_that_are_no_event_are_marked_and_are_no_choice(
    make_window: Callable[..., TradingWindow],
) -> None:
    plain = make_window("next_close", A=[10.0, 11.0, 12.0, 11.0], B=[10.0, 11.0, 12.0])
    window = replace(plain, event_kinds=np.array([[0, 1, 0, 2], [1, 0, 0, 0]]))
    env = EnvConfig(decide_on="events", fill="next_close")
    calendars = {"A": "XNYS", "B": "XNYS"}
    played = replay("held", window, env, buy_and_hold)
    marked = EvaluationWindow(window, env, ("2024-01-01", "2024-01-04"), calendars).mark_forced(played.decisions)
    assert marked["forced"].to_list() == [True, False, True, False, False, True, True]
    assert played.choices.rows() == marked.filter(~pl.col("forced")).drop("forced").rows()
    free = EvaluationWindow(plain, EnvConfig(fill="next_close"), ("2024-01-01", "2024-01-04"), calendars)
    assert free.mark_forced(played.decisions) is played.decisions
