"""Loss terms against numbers worked by hand and torch's own distributions."""

import math

import torch
from torch.distributions import Categorical, kl_divergence

from flag_kedro.ppo import losses


def test_policy_loss_takes_the_worse_of_ratio_and_clipped_ratio():
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    loss = losses.policy_loss(ratios.log(), advantages, 0.2)
    # min(1.5, 1.2); min(-1.5, -1.2); min(0.5, 0.8); min(-0.5, -0.8); min(2.2, 2.2), negated
    torch.testing.assert_close(loss, torch.tensor([-1.2, 1.5, -0.5, 0.8, -2.2]))


def test_value_loss_without_clipping_is_half_the_squared_error():
    loss = losses.value_loss(torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([1.0]), None)
    assert loss.tolist() == [2.0]


def test_value_loss_keeps_the_larger_of_plain_and_clipped_error():
    values, old, targets = torch.tensor([3.0, 1.1]), torch.tensor([0.0, 1.0]), torch.tensor([4.0, 0.0])
    # plain errors 1 and 1.21; clipped to 0.2 and 1.1: errors 14.44 and 1.21
    torch.testing.assert_close(losses.value_loss(values, old, targets, 0.2), torch.tensor([7.22, 0.605]))


def test_entropy_of_two_equal_legal_actions_is_log_two():
    masked = torch.log_softmax(torch.tensor([[0.3, -torch.inf, 0.3]]), dim=-1)
    assert math.isclose(losses.entropy(masked).item(), math.log(2), rel_tol=1e-6)


def test_entropy_and_kl_equal_torch_distributions_on_legal_actions():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(50, 3, generator=generator), torch.randn(50, 3, generator=generator)
    p, q = torch.log_softmax(first, -1), torch.log_softmax(second, -1)
    torch.testing.assert_close(losses.entropy(p), Categorical(logits=first).entropy())
    expected = kl_divergence(Categorical(logits=first), Categorical(logits=second))
    torch.testing.assert_close(losses.kl_divergence(p, q), expected)


def test_masked_actions_pass_no_gradient_and_no_nan():
    logits = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    mask = torch.tensor([[False, True, True]])
    log_probs = torch.log_softmax(logits.masked_fill(~mask, -torch.inf), dim=-1)
    reference = torch.log_softmax(torch.zeros(1, 3).masked_fill(~mask, -torch.inf), dim=-1)
    (losses.entropy(log_probs) + losses.kl_divergence(log_probs, reference)).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 0] == 0
