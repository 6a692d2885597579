"""A head that forecasts how much a price will move, beside those of the policy and its value."""

import torch
from torch import Tensor, nn

NAME = "volatility"
"""Among the heads of a policy."""


class VolatilityHead(nn.Linear):
    """Reads the standardised logarithm of the realised variance of the next five sessions (`data.realised`).

    It begins with 0, the mean of the training window, whatever is read.
    """

    mean: Tensor
    """Of the logarithm on the training window, []."""
    deviation: Tensor
    """Of it there, []."""

    def __init__(self, width: int, mean: float, deviation: float) -> None:
        super().__init__(width, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def log_variance(self, standardised: Tensor) -> Tensor:
        """Logarithms of the variances that outputs of the head mean, [N] -> [N]."""
        return self.mean + self.deviation * standardised
