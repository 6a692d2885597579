"""One symbol's day: what N accounts ask, what they did, and the loss of an update.

Shape legend: N = accounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Protocol

import numpy as np
import torch
from actor_critic_backbone import Geometry, random_texts
from torch import Tensor

from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.account import Bools, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.states import States, take_states
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import cut_window
from flag_kedro.features.market_state import build_market_states
from flag_kedro.policy.interface import Evaluation
from flag_kedro.ppo import losses
from flag_kedro.ppo.config import PPOConfig

PPO = PPOConfig(total_timesteps=1, ent_coef=0.05)
SIMULATED = date(2023, 7, 3), date(2023, 9, 29)
FIRST_DAY = 20
"""Sessions that simulated accounts trade before days are taken, so that no account text is still impossible."""


class Evaluator(Protocol):
    """What the plain loop and ActorCritic have in common."""

    def evaluate(self, states: States) -> Evaluation:
        """Log-probabilities and values of N states."""


@dataclass(frozen=True)
class Day:
    """What an update needs of a day, drawn at random; `model` has changed a little since it acted."""

    states: States
    actions: Tensor
    """Legal ones, [N]."""
    old_log_probs: Tensor
    """Of the actions, [N]."""
    old_values: Tensor
    """[N]."""
    advantages: Tensor
    """[N]."""
    targets: Tensor
    """Value targets, [N]."""

    def to(self, device: torch.device) -> "Day":
        """The same day with its tensors on a device."""
        names = [field.name for field in fields(self) if field.name != "states"]
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def drawn_days(
    prefix: int, suffix: int, accounts: int, distinct: int, geometry: Geometry, model: Evaluator, seed: int
) -> list[Day]:
    """One day of `accounts` accounts that share `distinct` account texts evenly."""
    rng = np.random.default_rng(seed)
    [prefix_text] = random_texts(1, prefix, geometry, rng)
    account_texts = random_texts(distinct, suffix, geometry, rng)
    text_index = np.arange(accounts) % distinct
    flat, long = [False, True, True], [True, True, False]
    states = States(
        prefix=[prefix_text] * accounts,
        account=[account_texts[index] for index in text_index],
        action_mask=np.array([long if index % 2 else flat for index in text_index]),
    )
    return [_day(states, model, rng)]


def simulated_days(
    prefix: int, suffix: int, accounts: int, num_days: int, geometry: Geometry, model: Evaluator, seed: int
) -> list[Day]:
    """Days on which each account has the text it would have after a random rollout, in `suffix` tokens."""
    rng = np.random.default_rng(seed)
    texts = compact_account_texts()
    random_text = dict(zip(texts, random_texts(len(texts), suffix, geometry, rng), strict=True))
    days = []
    visited = _visited(accounts, num_days, seed)
    for prefix_text, (account, mask) in zip(random_texts(num_days, prefix, geometry, rng), visited, strict=True):
        account_texts = [random_text[text] for text in account]
        days.append(_day(States(prefix=[prefix_text] * accounts, account=account_texts, action_mask=mask), model, rng))
    return days


def _visited(accounts: int, num_days: int, seed: int) -> list[tuple[Sequence[str], Bools]]:
    """Account texts and masks of one symbol after the other, on consecutive sessions of a random rollout."""
    market = simulate_market(
        None, SimulatedConfig(market="easy", first_session=SIMULATED[0], last_session=SIMULATED[1]), seed
    )
    tables, _ = build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)
    env = TradingVectorEnv(cut_window(tables, SIMULATED, "next_open"), EnvConfig(), accounts)
    env.reset(seed=seed)
    visited = []
    for session in range(FIRST_DAY + num_days):
        if session >= FIRST_DAY:
            symbol = session % len(env.window.symbols)
            states = take_states(env.states(), np.flatnonzero(env.symbol == symbol))
            visited.append((states.account, states.action_mask))
        env.step(env.action_space.sample())
    return visited


@torch.no_grad()
def _day(states: States, model: Evaluator, rng: np.random.Generator) -> Day:
    num, mask, evaluation = len(states), states.action_mask, model.evaluate(states)
    actions = torch.from_numpy(np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=1))
    log_probs = evaluation.log_probs.gather(1, actions[:, None]).squeeze(1)
    advantages, targets = torch.from_numpy(rng.standard_normal((2, num))).float()
    old_log_probs, old_values = log_probs - _changes(num, rng), evaluation.values - _changes(num, rng)
    return Day(states, actions, old_log_probs, old_values, advantages, targets)


def _changes(num: int, rng: np.random.Generator) -> Tensor:
    """Changes since the rollout, some beyond PPO's clip, none near it: there rounding would choose the gradient."""
    changes = rng.choice([-0.3, -0.1, 0.1, 0.3], num) * rng.uniform(0.8, 1.2, num)
    return torch.from_numpy(changes).float()


@torch.no_grad()
def roll_out(model: Evaluator, day: Day, rows: int) -> None:
    """Evaluate the day's states as a rollout does, `rows` accounts at a time."""
    for chunk in _chunks(len(day.states), rows):
        model.evaluate(take_states(day.states, chunk))


def add_gradients(model: Evaluator, day: Day, rows: int) -> None:
    """One epoch: forward and backward, `rows` accounts at a time; gradients add up to those of the mean loss."""
    for chunk in _chunks(len(day.states), rows):
        evaluation = model.evaluate(take_states(day.states, chunk))
        indices = torch.from_numpy(chunk).to(evaluation.values.device)
        loss = _ppo_loss(evaluation, day, indices).sum() / len(day.states)
        loss.backward()  # type: ignore[no-untyped-call]


def _ppo_loss(evaluation: Evaluation, day: Day, indices: Tensor) -> Tensor:
    """The loss of each of the day's states at `indices`."""
    log_ratio = evaluation.log_probs.gather(1, day.actions[indices, None]).squeeze(1) - day.old_log_probs[indices]
    policy = losses.policy_loss(log_ratio, day.advantages[indices], PPO.clip_coef)
    value = losses.value_loss(evaluation.values, day.old_values[indices], day.targets[indices], PPO.clip_coef)
    return policy + PPO.vf_coef * value - PPO.ent_coef * losses.entropy(evaluation.log_probs)


def _chunks(num: int, rows: int) -> list[Ints]:
    return [np.arange(start, min(start + rows, num)) for start in range(0, num, rows)]
