"""Where the store is: below the project, where the user says, or refused by name."""

from pathlib import Path

import pytest

from flag_kedro.errors import TrackingError
from flag_kedro.tracking.location import VARIABLE, database_file, is_local, store_address, without_password


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, "sqlite:////project/mlflow.db"),
        ("", "sqlite:////project/mlflow.db"),
        ("  ", "sqlite:////project/mlflow.db"),
        ("sqlite:///runs/x.db", "sqlite:////project/runs/x.db"),
        ("sqlite:////else/where.db", "sqlite:////else/where.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://mlflow.example", "https://mlflow.example"),
        ("postgresql://user:secret@host/runs", "postgresql+psycopg2://user:secret@host/runs"),
        ("postgresql+psycopg://user:secret@host/runs", "postgresql+psycopg://user:secret@host/runs"),
        ("mysql+pymysql://host/runs", "mysql+pymysql://host/runs"),
        ("databricks", "databricks"),
    ],
)
def test_the_store_is_the_projects_own_or_the_one_that_is_given(
    given: str | None, address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(VARIABLE, given)
    assert store_address(None, Path("/project")) == address


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("./mlruns", "a folder.*mlflow migrate-filestore --source ./mlruns"),
        ("file:///tmp/mlruns", "a folder.*mlflow migrate-filestore --source /tmp/mlruns"),
        ("mlflow.db", "a folder"),
        ("sqlite://mlflow.db", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlit:///mlflow.db", "knows no 'sqlit'"),
        ("htp://host", "knows no 'htp'"),
        ("http:/host", "names no server"),
        ("localhost:5000", "knows no 'localhost'"),
    ],
)
def test_an_address_that_means_no_store_is_refused_with_those_that_do(
    given: str, named: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(TrackingError, match=f"(?s){named}") as raised:
        store_address(None, Path("/project"))
    assert repr(given) in str(raised.value)
    assert "sqlite:////path/to/mlflow.db" in str(raised.value)
    assert "/project/mlflow.db" in str(raised.value)


def test_what_mlflow_yml_says_comes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "http://other")
    assert store_address("http://mine", Path("/project")) == "http://mine"


def test_the_store_of_another_project_in_the_same_process_is_not_taken_for_the_users_wish(
    monkeypatch: pytest.MonkeyPatch,
):
    """MLflow writes the address in use into the variable."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv(VARIABLE, store_address(None, Path("/first")))
    assert store_address(None, Path("/second")) == "sqlite:////second/mlflow.db"


def test_only_files_and_databases_are_local():
    assert is_local("sqlite:////a/b.db")
    assert is_local("postgresql://host/runs")
    assert not is_local("https://host")
    assert not is_local("databricks")
    assert database_file("sqlite:////a/b.db?timeout=3") == Path("/a/b.db")
    assert database_file("https://host") is None


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://user:secret@host:5432/runs", "postgresql://user:***@host:5432/runs"),
        ("postgresql://user:s%40cret@host/runs?sslmode=require", "postgresql://user:***@host/runs?sslmode=require"),
        ("https://user:secret@mlflow.example/api", "https://user:***@mlflow.example/api"),
        ("postgresql://user:se#cr?e/t@host/runs", "postgresql://user:***@host/runs"),
        ("postgresql://user:se@cret@host/runs", "postgresql://user:***@host/runs"),
        ("postgresql://host/runs?user=u&password=secret&a=b", "postgresql://host/runs?user=u&password=***&a=b"),
        ("postgresql://user@host/runs", "postgresql://user@host/runs"),
        ("sqlite:////project:a@b/mlflow.db", "sqlite:////project:a@b/mlflow.db"),
        ("sqlite:////project/mlflow.db", "sqlite:////project/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_a_password_is_not_shown(address: str, shown: str):
    assert without_password(address) == shown


def test_an_address_that_is_refused_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "oracle://user:secret@host/runs")
    with pytest.raises(TrackingError, match=r"user:\*\*\*@host") as refused:
        store_address(None, Path("/project"))
    assert "secret" not in str(refused.value)
