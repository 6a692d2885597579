"""Fixtures shared by all tests."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings

os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"

from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.features.market_state import build_market_states

settings.register_profile("project", deadline=None)  # the machine may be busy
settings.load_profile("project")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SMALL_RUN = (
    "data.symbols=ALDR BRIX,simulated.first_session=2023-04-03,"
    "ppo.total_timesteps=1280,ppo.validation_interval=5,runtime.threads=1,"
    "backtest.audit_times=1,backtest.bootstrap_draws=400"
)
"""Parameters of a complete run in seconds: two symbols, 189 sessions, ten updates."""

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


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
def small_states() -> dict[str, pl.DataFrame]:
    """Market states of two simulated symbols over 63 sessions."""
    config = SimulatedConfig(first_session=date(2023, 7, 3), last_session=date(2023, 9, 29))
    market = simulate_market(("ALDR", "BRIX"), config, seed=0)
    return build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)[0]


@pytest.fixture(scope="session")
def small_window(small_states: Mapping[str, pl.DataFrame]) -> TradingWindow:
    """The first twenty sessions of `small_states`."""
    return cut_window(small_states, (date(2023, 7, 3), date(2023, 7, 31)), "next_open")


@pytest.fixture(scope="session")
def kedro() -> Kedro:
    """Run a kedro command in the project with its own data folder and MLflow store, as a user would."""

    def run(
        *arguments: str, data_dir: Path, params: str = "", check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{data_dir / 'mlflow.db'}",
            "MLFLOW_ARTIFACT_LOCATION": str(data_dir / "mlartifacts"),
            "COLUMNS": "120",
        }
        command = [sys.executable, "-m", "kedro", *arguments]
        command.append(f"--params=data_dir={data_dir}" + (f",{params}" if params else ""))
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def small_run() -> str:
    """Parameters of a complete run in seconds."""
    return SMALL_RUN


@pytest.fixture(scope="session")
def finished_run(kedro: Kedro, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder of a small finished `kedro run`; its MLflow store lies inside. Tests must not change it."""
    data_dir = tmp_path_factory.mktemp("finished")
    done = kedro("run", data_dir=data_dir, params=SMALL_RUN)
    (data_dir / "output.txt").write_text(done.stdout + done.stderr)
    return data_dir
