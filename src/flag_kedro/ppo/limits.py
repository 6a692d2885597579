"""Where learning stops with an error: what can never count, a gradient that is no number, and the limits that were set.

`ppo.max_kl` and `ppo.min_entropy` are the limits.

Shape legend: M = rows of a rollout.
"""

import math

import torch
from torch import Tensor

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DivergedError, ParameterError
from flag_kedro.policy.evaluation_cache import EvaluationCache
from flag_kedro.policy.interface import Evaluator
from flag_kedro.ppo import losses
from flag_kedro.ppo.actions import ActionHead
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.rollout import Rollout


def refuse_idle_penalty(window: TradingWindow, env: EnvConfig) -> None:
    """Refuse a penalty on the conditional value at risk that no episode of the training window is long enough for.

    Raises:
        ParameterError: naming the parameters.
    """
    num_returns = int(window.num_sessions.max()) - 1
    if env.cvar_penalty and num_returns <= env.cvar_sessions:
        raise ParameterError(
            f"env.cvar_penalty counts from an episode's session {env.cvar_sessions + 1} on (1 / env.cvar_level = "
            f"{1.0 / env.cvar_level:g} returns must be known), but the training window has {num_returns} returns at "
            "most; raise env.cvar_level, or lengthen data.windows.train"
        )


def check_gradient(grad_norm: Tensor, update: int, epoch: int) -> float:
    """The gradient's norm; a loss that is not finite shows here too.

    Raises:
        DivergedError: when it is not finite.
    """
    if not math.isfinite(float(grad_norm)):
        raise DivergedError(
            f"the gradient is {float(grad_norm)} at update {update + 1}, epoch {epoch + 1}: training stopped and no "
            "policy was saved. Look at ppo/loss and ppo/grad_norm of the updates before; a lower ppo.learning_rate or "
            "ppo.reward_scale keeps them small"
        )
    return float(grad_norm)


def check_limits(
    policy: Evaluator, rollout: Rollout, head: ActionHead, entropy: float, config: PPOConfig, update: int
) -> None:
    """Stop where a limit that was asked for is crossed.

    Args:
        policy: the policy after the update's last step, asked by all processes together.
        rollout: what the policy before the update collected.
        head: what outputs mean.
        entropy: mean over the update's states with more than one legal action, nats.
        config: the limits.
        update: its number from 0.

    Raises:
        DivergedError: naming the limit.
    """
    kl = 0.0 if config.max_kl is None else policy_kl(policy, rollout, head)
    if config.max_kl is not None and kl > config.max_kl:
        raise DivergedError(
            f"the policy moved by a KL divergence of {kl:.3g} in update {update + 1}, ppo.max_kl allows "
            f"{config.max_kl:g}: training stopped and no policy was saved. Lower ppo.learning_rate or "
            "ppo.update_epochs, or end epochs early with ppo.target_kl"
        )
    if config.min_entropy is not None and entropy < config.min_entropy:
        raise DivergedError(
            f"the policy's entropy fell to {entropy:.3g} in update {update + 1}, ppo.min_entropy asks for "
            f"{config.min_entropy:g}: training stopped and no policy was saved. Raise ppo.ent_coef"
        )


@torch.no_grad()
def policy_kl(policy: Evaluator, rollout: Rollout, head: ActionHead) -> float:
    """Approximate KL between the policy that collected `rollout` and `policy`, a mean over M rows.

    `ppo/approx_kl` would not do: each minibatch is seen before its own step, so an update of a single step always
    shows 0.
    """
    evaluation = EvaluationCache(policy).evaluate(rollout.states)
    log_probs = head.log_prob(evaluation, rollout.actions)
    return float(losses.approximate_kl(log_probs - rollout.log_probs).mean())
