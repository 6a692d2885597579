"""FLAG-TRADER (arXiv:2502.11433): a language model trained by policy gradient to trade.

Importing it registers the environment `flag_kedro/Trading-v0` with Gymnasium; `experiments.gymnasium_env.make_trading`
says what it takes.
"""

import gymnasium

__version__ = "0.2.0"
ENV_ID = "flag_kedro/Trading-v0"

if ENV_ID not in gymnasium.registry:
    gymnasium.register(ENV_ID, entry_point="flag_kedro.experiments.gymnasium_env:make_trading")
