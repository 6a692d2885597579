"""Where MLflow's store is, said so that it means one place, or refused by name."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.store.db.db_types import DATABASE_ENGINES

from flag_kedro.errors import TrackingError

VARIABLE = "MLFLOW_TRACKING_URI"
FILE = "mlflow.db"
SQLITE = "sqlite:///"
SERVERS = ("http", "https", "databricks")
SECRETS = re.compile(r"(?i)([?&][^=&#]*(?:password|passwd|pwd|secret|token)[^=&#]*=)[^&#]*")
"""What an address may say behind its `?`."""
_chosen: set[str] = set()
"""Addresses that were chosen here: MLflow writes the one in use into the variable, where another project finds it."""


def store_address(configured: str | None, project: Path) -> str:
    """What `mlflow.yml` says, else the variable MLFLOW_TRACKING_URI, else `mlflow.db` below the project.

    Raises:
        TrackingError: naming an address that MLflow has no store for.
    """
    given = os.environ.get(VARIABLE, "").strip()
    address = (configured or "").strip() or ("" if given in _chosen else given)
    if address:
        return _checked(address, project)
    chosen = f"{SQLITE}{(project / FILE).resolve()}"
    _chosen.add(chosen)
    return chosen


def is_local(address: str) -> bool:
    """Whether the store is files of this machine, which choose where artifacts go by what they are told here."""
    return urlsplit(address).scheme not in SERVERS and address != "databricks"


def is_postgres(address: str) -> bool:
    """Whether the store is a database of PostgreSQL."""
    return urlsplit(address).scheme.partition("+")[0] in ("postgresql", "postgres")


def without_password(address: str) -> str:
    """The address as it may be shown, also where the password has characters that should be escaped in an address."""
    scheme, separator, rest = SECRETS.sub(r"\1***", address).partition("://")
    user, at, host = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    has_password = bool(at and colon) and not rest.startswith("/")
    return f"{scheme}{separator}{name}:***@{host}" if has_password else f"{scheme}{separator}{rest}"


def database_file(address: str) -> Path | None:
    """The file of an SQLite store; None for another kind."""
    return Path(address.removeprefix(SQLITE).partition("?")[0]) if address.startswith(SQLITE) else None


def _checked(address: str, project: Path) -> str:
    scheme, shown = urlsplit(address).scheme.lower(), without_password(address)
    if address == "databricks" or scheme in SERVERS:
        if address != "databricks" and not urlsplit(address).netloc:
            raise TrackingError(f"{VARIABLE} is {shown!r}, which names no server; {_expected(project)}")
        return address
    if scheme in ("", "file") and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() == "true":
        return address
    if scheme in ("", "file"):
        folder = address.removeprefix("file://")
        raise TrackingError(
            f"{VARIABLE} is {shown!r}, a folder, and MLflow writes into folders no more; {_expected(project)}. "
            "Runs that are in the folder come along with\n"
            f"  mlflow migrate-filestore --source {folder} --target {SQLITE}{(project / FILE).resolve()}"
        )
    file = database_file(address)
    if scheme == "sqlite" and (file is None or str(file) in (".", ":memory:")):
        raise TrackingError(
            f"{VARIABLE} is {shown!r}, which names no file (a store in memory is gone with the run, and a path comes "
            f"behind three slashes); {_expected(project)}"
        )
    if file is not None:
        return f"{SQLITE}{(project / file).resolve()}{address[len(SQLITE) + len(str(file)) :]}"
    if scheme.partition("+")[0] not in DATABASE_ENGINES:
        raise TrackingError(f"{VARIABLE} is {shown!r}, and MLflow knows no {scheme!r}; {_expected(project)}")
    return _with_driver(address) if is_postgres(address) else address


def _with_driver(address: str) -> str:
    """The address with the driver that the extra `cluster` brings, where none is named: SQLAlchemy takes another."""
    scheme, separator, rest = address.partition("://")
    return address if "+" in scheme else f"postgresql+psycopg2{separator}{rest}"


def _expected(project: Path) -> str:
    engines = ", ".join(f"{engine}://" for engine in DATABASE_ENGINES if engine != "sqlite")
    return (
        f"give a file as {SQLITE}/path/to/{FILE}, a server as http://HOST:PORT or https://HOST, a database ({engines}) "
        f"or nothing for {project / FILE}"
    )
