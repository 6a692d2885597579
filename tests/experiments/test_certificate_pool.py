"""What a certificate refuses to run on, and how its processes end."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import psutil
import pytest

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import ParameterError
from flag_kedro.experiments.certificate_pool import run_markets
from flag_kedro.experiments.certificate_run import CertificateSettings, assess_market, draw_market
from flag_kedro.experiments.config import CertifyConfig
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.pipelines.certify.nodes import issue_certificate
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

ENDLESS = PPOConfig(
    total_timesteps=10_000_000, learning_rate=5e-4, num_envs=1, num_steps=40, gamma=0.95, gae_lambda=0.98,
    update_epochs=1, clip_vloss=True, ent_coef=0.05, kl_coef=0.05, gradient_accumulation_steps=8, minibatch_size=32,
    stagger_starts=False, reward_scale=1.0, validation_interval=10,
)  # fmt: skip


@pytest.mark.parametrize(
    ("simulated", "env", "named"),
    [
        (SimulatedConfig(market="easy", signal=0.0), EnvConfig(), "simulated.signal is 0"),
        (SimulatedConfig(market="easy", drift=0.1), EnvConfig(), "simulated.drift is 0.1, must be 0.0"),
        (SimulatedConfig(market="easy"), EnvConfig(cash_rate=0.03), "env.cash_rate is 0.03, must be 0.0"),
        (
            SimulatedConfig(market="easy"),
            EnvConfig(positions="long_short"),
            "env.positions is long_short, must be long_flat",
        ),
    ],
)
def test_what_pays_without_reading_is_refused(simulated: SimulatedConfig, env: EnvConfig, named: str):
    rest = FeaturesConfig(), env, PolicyConfig(), ENDLESS, RuntimeConfig()
    with pytest.raises(ParameterError, match=named):
        issue_certificate(CertifyConfig(), simulated, *rest, Path("rows"))


SETTINGS = CertificateSettings(
    ("ALDR", "BRIX"), SimulatedConfig(market="easy", signal=0.02), FeaturesConfig(), EnvConfig(), PolicyConfig(),
    ENDLESS, RuntimeConfig(threads=1),
)  # fmt: skip


def test_an_effect_below_the_cost_says_nothing():
    tiny = replace(SETTINGS, simulated=SimulatedConfig(market="easy", signal=0.0001))
    assessment = assess_market(draw_market(tiny, 1, planted=True), tiny)
    assert (assessment.informative, assessment.oracle_log_return) == (False, 0.0)


class Interrupted(Exception):
    """As a signal raises it."""


@pytest.fixture
def alarm() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_stopped_certificate_does_not_wait_for_its_trainings(alarm: None):
    children, began = set(active_children()), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 5)
    with pytest.raises(Interrupted):
        next(run_markets(SETTINGS, (2, 3, 4), processes=1))
    assert time.monotonic() - began < 20
    assert set(active_children()) <= children


DIE = """
import os, signal, sys, time
from types import SimpleNamespace
# Both processes do without what trains, which takes seconds to import.
sys.modules["flag_kedro.experiments.certificate_run"] = SimpleNamespace(
    CertificateSettings=None, run_certificate_market=None
)
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from flag_kedro.experiments.certificate_pool import _end_with_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 120)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_certificate_leaves_no_process_behind(tmp_path: Path):
    (tmp_path / "die.py").write_text(DIE)
    died = subprocess.run([sys.executable, str(tmp_path / "die.py")], stdout=subprocess.PIPE, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL
    end = time.monotonic() + 10
    while psutil.pid_exists(int(died.stdout)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(died.stdout)) or psutil.Process(int(died.stdout)).status() == "zombie"
