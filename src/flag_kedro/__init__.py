"""FLAG-TRADER (arXiv:2502.11433): a language model trained by policy gradient to trade.

For use as a library, besides `kedro run`:

- `load_policy(folder)` opens a trained policy, `policy.decide(States(...))` asks it;
- `gymnasium.make("flag_kedro/Trading-v0")` is the environment (`experiments.gymnasium_env.make_trading`), which
  importing this package registers;
- `replay(name, window, env, decide)` trades a window by any rule, `score_replays(replays, evaluation)` scores it.

Each is imported when it is first used: only `load_policy` needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from flag_kedro.backtest.replay import Replay, replay
    from flag_kedro.env.config import EnvConfig
    from flag_kedro.env.states import Decisions, States
    from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
    from flag_kedro.env.window import TradingWindow
    from flag_kedro.experiments.scoring import score_replays
    from flag_kedro.serving.policy import load_policy

__version__ = "0.2.0"
__all__ = [
    "ENV_ID",
    "Decisions",
    "EnvConfig",
    "Replay",
    "States",
    "TradingEnv",
    "TradingVectorEnv",
    "TradingWindow",
    "load_policy",
    "replay",
    "score_replays",
]
ENV_ID = "flag_kedro/Trading-v0"
_MODULES = {
    "Decisions": "env.states",
    "EnvConfig": "env.config",
    "Replay": "backtest.replay",
    "States": "env.states",
    "TradingEnv": "env.trading",
    "TradingVectorEnv": "env.trading",
    "TradingWindow": "env.window",
    "load_policy": "serving.policy",
    "replay": "backtest.replay",
    "score_replays": "experiments.scoring",
}


def __getattr__(name: str) -> Any:
    """What is imported when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Public names first."""
    return sorted({*__all__, *globals()})


if ENV_ID not in gymnasium.registry:
    gymnasium.register(ENV_ID, entry_point="flag_kedro.experiments.gymnasium_env:make_trading")
