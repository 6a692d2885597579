"""One update of PPO or REINFORCE, state by state, with gradients worked out by hand; none of the project's code.

Advantages: Schulman et al. 2016 (arXiv:1506.02438). Clipped surrogate: Schulman et al. 2017 (arXiv:1707.06347), its
clipped value loss as in CleanRL. REINFORCE: Williams 1992. Adam: Kingma and Ba 2015 (arXiv:1412.6980).
The policy is a table: the logits of row k are policy[k] + bias, its value is value[k], its forecast volatility[k].

Shape legend: T = steps, N = accounts, M = T x N.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = dict[str, Floats]


def plain_advantages(seen: Any, settings: Any) -> Floats:
    """Sum over l of (gamma lambda)^l delta_{t+l}, up to the end of the episode or of the rollout; [T, N]."""
    rewards, values, following = (
        np.asarray(given, dtype=np.float64) for given in (seen.rewards, seen.values, seen.next_values)
    )
    num_steps, num_accounts = rewards.shape
    advantages = np.zeros((num_steps, num_accounts))
    for n in range(num_accounts):
        for t in range(num_steps):
            for k in range(t, num_steps):
                died, cut = bool(seen.terminated[k, n]), bool(seen.truncated[k, n])
                future = 0.0 if died or (cut and not settings.bootstrap_truncated) else following[k, n]
                delta = settings.reward_scale * rewards[k, n] + settings.gamma * future - values[k, n]
                advantages[t, n] += (settings.gamma * settings.gae_lambda) ** (k - t) * delta
                if died or cut:
                    break
    return advantages


def legal_softmax(logits: Floats, legal: NDArray[np.bool_]) -> Floats:
    """Probabilities; 0 where not legal."""
    scores = [math.exp(logit) if allowed else 0.0 for logit, allowed in zip(logits, legal, strict=True)]
    return np.array(scores) / sum(scores)


@dataclass
class PlainState:
    """What one state adds: terms of the loss, and the loss's derivatives by its logits [3], value and forecast."""

    terms: dict[str, float]
    by_logits: Floats
    by_value: float
    by_forecast: float


class PlainLearner:
    """A table that learns; `rates` are Adam's step sizes of each weight."""

    def __init__(self, settings: Any, weights: Weights, reference: Weights | None, rates: dict[str, float]) -> None:
        self.settings, self.rates = settings, rates
        self.weights = {name: weight.copy() for name, weight in weights.items()}
        self.reference = reference
        self.first = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self.second = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self.num_steps = 0

    def learn(
        self, seen: Any, rows: list[int], minibatches: list[list[int]], lr_factor: float = 1.0
    ) -> tuple[list[Weights], dict[str, float]]:
        """Clipped gradients of every step, and means of all that is reported.

        Args:
            seen: a rollout.
            rows: of the table, for each of its states, [M].
            minibatches: states of each step, all epochs in one list.
            lr_factor: what annealing has left of the step sizes.
        """
        advantages = plain_advantages(seen, self.settings)
        targets = (advantages + np.asarray(seen.values, dtype=np.float64)).ravel()
        spread, old = np.var(targets), np.asarray(seen.values, dtype=np.float64).ravel()
        if self.settings.norm_adv:
            advantages = (advantages - np.mean(advantages)) / (np.std(advantages, ddof=1) + 1e-8)
        series_of: dict[str, list[float]] = defaultdict(list)
        steps = []
        for states in minibatches:
            gradients = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
            for m in states:
                state = self._state(seen, m, rows[m], float(advantages.ravel()[m]), float(targets[m]))
                gradients["bias"] += state.by_logits / len(states)
                gradients["policy"][rows[m]] += state.by_logits / len(states)
                gradients["value"][rows[m]] += state.by_value / len(states)
                if "volatility" in gradients:
                    gradients["volatility"][rows[m]] += state.by_forecast / len(states)
                for name, term in state.terms.items():
                    series_of[name].append(term)
            norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
            series_of["grad_norm"].append(norm)
            shrink = min(1.0, self.settings.max_grad_norm / (norm + 1e-6))  # torch's guard against a norm of 0
            steps.append({name: gradient * shrink for name, gradient in gradients.items()})
            self._adam(steps[-1], lr_factor)
        means = {f"ppo/{name}": sum(series) / len(series) for name, series in series_of.items()}
        return steps, means | {"ppo/explained_variance": 1 - np.var(targets - old) / spread}

    def _state(self, seen: Any, m: int, row: int, advantage: float, target: float) -> PlainState:
        settings, legal, action = self.settings, seen.states.action_mask[m], int(seen.actions[m])
        probs = legal_softmax(self.weights["policy"][row] + self.weights["bias"], legal)
        logs = [math.log(prob) if allowed else 0.0 for prob, allowed in zip(probs, legal, strict=True)]
        ratio = probs[action] / math.exp(float(seen.log_probs[m]))
        score = np.eye(3)[action] - probs  # derivative of log pi(action) by the logits
        near, eps = min(max(ratio, 1 - settings.clip_coef), 1 + settings.clip_coef), settings.clip_coef
        if settings.algorithm == "reinforce":
            policy_loss, by_logits = -logs[action] * advantage, -advantage * score
        else:
            policy_loss = -min(ratio * advantage, near * advantage)
            stopped = (advantage > 0 and ratio > 1 + eps) or (advantage < 0 and ratio < 1 - eps)
            by_logits = np.zeros(3) if stopped else -advantage * ratio * score
        value, old_value = float(self.weights["value"][row, 0]), float(seen.values.flatten()[m])
        value_loss, by_value = (value - target) ** 2 / 2, value - target
        if settings.clip_vloss and abs(value - old_value) > eps:
            held_back = old_value + math.copysign(eps, value - old_value)
            if (held_back - target) ** 2 / 2 > value_loss:
                value_loss, by_value = (held_back - target) ** 2 / 2, 0.0
        entropy = -sum(prob * log for prob, log in zip(probs, logs, strict=True))
        by_logits = by_logits + settings.ent_coef * probs * (np.array(logs) + entropy)
        loss = policy_loss + settings.vf_coef * value_loss - settings.ent_coef * entropy
        terms = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": ratio - 1 - math.log(ratio),
            "clip_fraction": float(abs(ratio - 1) > eps),
        }
        if self.reference is not None:
            before = legal_softmax(self.reference["policy"][row] + self.reference["bias"], legal)
            apart = np.array([math.log(p / q) if p > 0 else 0.0 for p, q in zip(probs, before, strict=True)])
            terms["kl"] = float(probs @ apart)
            by_logits = by_logits + settings.kl_coef * probs * (apart - terms["kl"])
            loss += settings.kl_coef * terms["kl"]
        miss = 0.0
        if "volatility" in self.weights:
            told = float(seen.volatility[m])
            miss = 0.0 if math.isnan(told) else float(self.weights["volatility"][row, 0]) - told
            terms["volatility_loss"] = miss * miss / 2
            loss += settings.volatility_coef * terms["volatility_loss"]
        terms["loss"] = loss
        return PlainState(terms, by_logits, settings.vf_coef * by_value, settings.volatility_coef * miss)

    def _adam(self, gradients: Weights, lr_factor: float) -> None:
        self.num_steps += 1
        for name, gradient in gradients.items():
            self.first[name] = 0.9 * self.first[name] + 0.1 * gradient
            self.second[name] = 0.999 * self.second[name] + 0.001 * gradient**2
            mean = self.first[name] / (1 - 0.9**self.num_steps)
            square = self.second[name] / (1 - 0.999**self.num_steps)
            self.weights[name] -= lr_factor * self.rates[name] * mean / (np.sqrt(square) + 1e-5)
