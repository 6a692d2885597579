"""Names that several rooms spell: strategies, and metrics by which runs are compared."""

POLICY = "flag_trader"
BENCHMARK = "buy_and_hold"
TINY = "tiny"
"""The backbone that a training draws for itself."""
VALIDATION_LOG_RETURN = "env/validation_log_return"
