"""FLAG-TRADER (arXiv:2502.11433): a language model trained by policy gradient to trade."""

__version__ = "0.2.0"
