"""Names that tables, result files and the tracking store share: strategies, symbols taken together, and metrics."""

POLICY = "flag_trader"
"""The strategy that is trained; the others are what it is compared with."""
BENCHMARK = "buy_and_hold"
FLAT = "flat"
STICKY_RANDOM = "sticky_random"
MOMENTUM = "momentum"
MEAN_REVERSION = "mean_reversion"
UNTRAINED_LM = "untrained_lm"
ZERO_SHOT_LM = "zero_shot_lm"
CALIBRATED_LM = "calibrated_lm"
ENDPOINT_LM = "endpoint_lm"
TEXT_RIDGE = "text_ridge"
TEXT_LINEAR_PPO = "text_linear_ppo"
SB3_PPO = "sb3_ppo"
RANDOM_WEIGHTS = "random_weights"
"""The geometry of a language model that has read nothing."""
STRATEGIES = (
    POLICY,
    BENCHMARK,
    FLAT,
    STICKY_RANDOM,
    MOMENTUM,
    MEAN_REVERSION,
    UNTRAINED_LM,
    ZERO_SHOT_LM,
    CALIBRATED_LM,
    ENDPOINT_LM,
    TEXT_RIDGE,
    TEXT_LINEAR_PPO,
    SB3_PPO,
)
"""In the order of tables and legends."""

RIVALS = (TEXT_RIDGE, TEXT_LINEAR_PPO, UNTRAINED_LM, ZERO_SHOT_LM, CALIBRATED_LM)
"""What reads the same words as the policy, without a language model or without training it."""

STOPPED = "stopped"
"""Column of decisions, where `env.max_drawdown_stop` is set: whether the account is closed, or to be."""
FORCED = "forced"
"""Column of decisions that are judged, where `env.decide_on` is events: whether nothing but `hold` was legal."""

SIMULATED = "SIMULATED"
"""How the name of a market begins that no real price is in."""
ALL_SYMBOLS = "all"
"""All symbols together, where results are by symbol."""

CUMULATIVE_RETURN = "cumulative_return"
TOTAL_RETURN = "total_return"
SHARPE_RATIO = "sharpe_ratio"
SORTINO_RATIO = "sortino_ratio"
ANNUAL_VOLATILITY = "annual_volatility"
MAX_DRAWDOWN = "max_drawdown"
CALMAR_RATIO = "calmar_ratio"
WIN_RATE = "win_rate"
EXPOSURE = "exposure"
TURNOVER = "turnover"
NUM_TRADES = "num_trades"
"""Scores of a path of equity or positions; formulas in `backtest.metrics`."""

VALIDATION_LOG_RETURN = "env/validation_log_return"
"""Log return of the greedy policy on the validation window after costs, summed over symbols."""
BEST_VALIDATION_LOG_RETURN = "env/best_validation_log_return"
"""The same of the weights that a training ends with: the largest of all updates."""

TINY = "tiny"
"""The backbone that each training draws for itself."""
SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct, from wherever its weights can be had."""
