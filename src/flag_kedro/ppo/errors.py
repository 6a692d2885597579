"""What stops a training."""


class TrainingError(RuntimeError):
    """Learning cannot go on: a loss or gradient stopped being a number, or processes no longer agree."""


class WorkerError(TrainingError):
    """A training process died; the message has its traceback."""


class ResultElsewhereError(TrainingError):
    """The training ended well, but another machine has its result."""


class PeerLostError(RuntimeError):
    """Another training process is gone, so that this one cannot go on; the reason lies with the other."""
