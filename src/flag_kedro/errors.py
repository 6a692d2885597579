"""Every error that a user can meet and mend; all of them are a `FlagError`."""

from collections.abc import Mapping


class FlagError(Exception):
    """Root of all errors of this project; shown as a message, without a traceback."""


class DataError(FlagError, ValueError):
    """Data, or what is on disk, is not what it must be."""


class MadeOtherwiseError(DataError):
    """What is on disk was made with other parameters than are given."""

    def __init__(self, message: str, params: Mapping[str, object] | None) -> None:
        """Say so.

        Args:
            message: what differs.
            params: what to give instead so that nothing does, by path; None where parameters alone do not tell.
        """
        super().__init__(message)
        self.params = params


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


class DivergedError(TrainingError):
    """Learning itself went wrong, as it always will with these parameters: no finite gradient, or a limit crossed."""


class WorkerError(TrainingError):
    """A training process died; the message has its traceback."""


class ResultElsewhereError(TrainingError):
    """The training ended well, but another machine has its result."""


class PeerLostError(FlagError, RuntimeError):
    """Another training process is gone, so that this one cannot go on; the reason lies with the other."""


class TrackingError(FlagError, RuntimeError):
    """MLflow's store cannot be opened, or does not answer where nothing can go on without it."""


class StoreError(FlagError, RuntimeError):
    """The object store of a run's data does not answer, or another run has taken it over."""
