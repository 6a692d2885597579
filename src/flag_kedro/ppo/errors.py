"""What stops a training."""


class TrainingError(RuntimeError):
    """Learning cannot go on: a loss or gradient stopped being a number."""
