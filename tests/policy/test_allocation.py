"""Dirichlet weights: torch's own numbers, finite everywhere, and weights that can be anything the account may hold."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Dirichlet, kl_divergence

from flag_kedro.env.config import Positions
from flag_kedro.policy.allocation import Allocation, weights_of

NUM = 3


def allocation(scores: list[list[float]], positions: Positions = "long_flat") -> Allocation:
    """Of accounts whose symbols have log-odds against holding: buy, and sell where there are two a symbol."""
    long_short = positions == "long_short"
    logits = torch.zeros(len(scores), NUM, 3)
    given_scores = torch.tensor(scores)
    logits[..., 2] = given_scores[:, :NUM]
    logits[..., 0] = given_scores[:, NUM:] if long_short else -torch.inf
    log_probs = torch.log_softmax(logits, dim=-1).view(-1, 3)
    return Allocation(log_probs, torch.arange(float(len(log_probs))), NUM, positions)


def test_concentrations_are_softplus_of_the_odds_and_values_are_means():
    found = allocation([[0.0, 2.0, -3.0], [1.0, 1.0, 1.0]])
    expected = 1.0 + np.log1p(np.exp([[0.0, 2.0, -3.0, 0.0], [1.0, 1.0, 1.0, 0.0]]))
    np.testing.assert_allclose(found.concentration, expected, rtol=1e-6)
    assert found.values.tolist() == [1.0, 4.0]


def test_density_entropy_and_divergence_are_torchs():
    own, other = allocation([[0.5, -1.0, 3.0]]), allocation([[0.0, 0.0, 0.0]])
    parts = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    reference = Dirichlet(own.concentration)
    torch.testing.assert_close(own.log_prob(parts.log()), reference.log_prob(parts))
    torch.testing.assert_close(own.entropy(), reference.entropy())
    torch.testing.assert_close(own.kl(other), kl_divergence(reference, Dirichlet(other.concentration)))
    assert float(own.kl(own)) == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=1000, deadline=None)
@given(
    scores=st.lists(st.floats(-60, 60), min_size=NUM, max_size=NUM),
    positions=st.sampled_from(["long_flat", "long_short"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_drawn_is_allowed_and_its_density_finite_under_any_other_policy(
    scores: list[float], positions: Positions, seed: int
):
    generator = np.random.default_rng(seed)
    own = allocation([scores + list(generator.uniform(-60, 60, NUM))], positions)
    parts, logs = own.sample([generator])
    weights = weights_of(parts, NUM, 1.0)
    assert np.abs(weights).sum() <= 1.0 + 1e-12
    assert parts.sum() == pytest.approx(1.0)
    assert positions == "long_short" or weights.min() >= 0.0
    assert torch.isfinite(own.log_prob(logs)).all()
    assert torch.isfinite(allocation([list(generator.uniform(-60, 60, 2 * NUM))], positions).log_prob(logs)).all()
    assert np.abs(weights_of(own.mode(), NUM, 1.0)).sum() <= 1.0 + 1e-12


@pytest.mark.parametrize("wanted", [[1, 0, 0, 0], [0, 0, 0, 1], [0.5, 0.5, 0, 0], [0.2, 0.3, 0.1, 0.4], [0.25] * 4])
def test_the_mode_reaches_every_corner_and_middle_of_the_simplex(wanted: list[float]):
    cash = max(wanted[-1], 1e-9)
    targets = np.log(2.0) * np.maximum(np.array(wanted[:NUM]), 1e-9) / cash
    scores = np.where(targets > 30, targets, np.log(np.expm1(np.minimum(targets, 30))))
    found = allocation([scores.tolist()]).mode()[0]
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_draws_follow_the_distribution():
    own = allocation([[1.0, 0.0, -1.0]] * 20_000)
    parts, logs = own.sample([np.random.default_rng([7, row]) for row in range(20_000)])
    alpha = own.concentration[0].numpy()
    np.testing.assert_allclose(parts.mean(axis=0), alpha / alpha.sum(), atol=0.005)
    np.testing.assert_allclose(logs.exp().numpy(), parts, rtol=1e-5)
    entropy = -float(own.log_prob(logs).double().mean())
    assert entropy == pytest.approx(float(own.entropy()[0]), abs=0.03)


def test_long_and_short_parts_offset_each_other():
    parts = np.array([[0.5, 0.1, 0.0, 0.1, 0.1, 0.1, 0.1]])
    np.testing.assert_allclose(weights_of(parts, NUM, 2.0), [[0.8, 0.0, -0.2]])


def test_gradients_reach_the_odds():
    logits = torch.zeros(NUM, 3, requires_grad=True)
    log_probs = torch.log_softmax(logits.masked_fill(torch.tensor([True, False, False]), -torch.inf), dim=-1)
    own = Allocation(log_probs, torch.zeros(NUM), NUM, "long_flat")
    own.log_prob(torch.tensor([[0.7, 0.1, 0.1, 0.1]]).log()).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 2] > 0.0 > logits.grad[1, 2]
