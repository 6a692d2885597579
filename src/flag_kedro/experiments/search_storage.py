"""Where a search keeps its trials: a journal beside the rows of finished trainings, or a database."""

from pathlib import Path
from typing import TYPE_CHECKING

from flag_kedro.errors import DataError, ParameterError

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"


def open_study(folder: Path, name: str, url: str | None) -> "optuna.Study":
    """A new study, or the one of that name with all of its trials.

    Args:
        folder: of the experiment; has the journal where there is no `url`.
        name: of the study.
        url: of a database, as SQLAlchemy has it.

    Raises:
        DataError: when the journal cannot be read.
        ParameterError: when Optuna or a driver is not installed, or the database cannot be opened.
    """
    _require_optuna()
    import optuna

    storage = _journal(folder) if url is None else _database(url)
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        study.get_trials(deepcopy=False)
    except ValueError as error:
        raise DataError(
            f"the study in {url or folder / JOURNAL} cannot be read ({error}); remove it: rows of finished trainings "
            "are kept apart, and the same command goes on from them"
        ) from error
    return study


def _require_optuna() -> None:
    try:
        import optuna
    except ImportError as error:
        raise ParameterError(
            "sweep.sampler=tpe and random need Optuna; pip install 'flag_kedro[search]', or set sweep.sampler=grid"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _journal(folder: Path) -> "optuna.storages.BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder.mkdir(parents=True, exist_ok=True)
    try:
        return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    except ValueError as error:
        raise DataError(
            f"{folder / JOURNAL} is damaged ({error}); remove it: rows of finished trainings are kept apart, and the "
            "same command goes on from them"
        ) from error


def _database(url: str) -> "optuna.storages.BaseStorage":
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return RDBStorage(url)
    except ImportError as error:
        raise ParameterError(
            f"sweep.storage is {url}, whose driver is not installed ({error}); for PostgreSQL pip install "
            "'flag_kedro[cluster]'"
        ) from error
    except (SQLAlchemyError, ValueError) as error:
        raise ParameterError(
            f"sweep.storage is {url}, which cannot be opened ({error}); give a URL such as "
            "postgresql://user@host/db of a database that is there and may be written"
        ) from error
