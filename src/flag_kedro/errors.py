"""Every error that a user can meet and mend; all of them are a `FlagError`."""


class FlagError(Exception):
    """Root of all errors of this project; shown as a message, without a traceback."""


class DataError(FlagError, ValueError):
    """Data, or what is on disk, is not what it must be."""


class ParameterError(FlagError, ValueError):
    """Parameters that cannot be run with, here or at all."""


class VerdictError(FlagError):
    """A certificate was issued, and it says no; its figures are saved."""


class LookAheadError(FlagError, ValueError):
    """A market state holds something that became known after its decision."""


class BusyError(FlagError):
    """Another run is using the data folder."""


class RunInterrupted(FlagError):
    """A run stopped by Ctrl-C or SIGTERM; an Exception, so that Kedro and MLflow end the run as failed."""


class CheckpointError(FlagError):
    """A training cannot be resumed, or is being done by another process."""


class TrainingError(FlagError, RuntimeError):
    """Learning cannot go on: a loss or gradient stopped being a number, or processes no longer agree."""


class WorkerError(TrainingError):
    """A training process died; the message has its traceback."""


class ResultElsewhereError(TrainingError):
    """The training ended well, but another machine has its result."""


class PeerLostError(FlagError, RuntimeError):
    """Another training process is gone, so that this one cannot go on; the reason lies with the other."""
