"""Several trainings on Ray give the files of trainings one after another, whatever happens to their workers."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError, ParameterError, RunInterrupted, WorkerError
from flag_kedro.experiments.carried import CarriedFolder, SeenFolder, node_folder, pack_folder
from flag_kedro.experiments.fan_out import Task, fan_out
from flag_kedro.experiments.ray_session import _join, ray_session
from flag_kedro.experiments.runs import PackedShared
from flag_kedro.experiments.same_backbone import fetching
from flag_kedro.experiments.same_bits import machine_facts, refuse_other_machine
from flag_kedro.pipelines.training.nodes import TrunkRows
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import folder_hash, write_manifest
from flag_kedro.ppo.runtime import RuntimeConfig
from rolls import FOUR_FOLDS, LOCAL, RAY, roll, rows

ray = pytest.importorskip("ray", reason="needs flag_kedro[ray]")


@pytest.fixture(scope="module")
def on_ray() -> Iterator[RuntimeConfig]:
    """Ray on this machine, which all tests of this module use; workers cannot import the module."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with ray_session(RAY):
        yield RAY


@pytest.mark.slow
def test_a_walk_forward_on_ray_writes_the_files_of_one_training_after_another(on_ray: RuntimeConfig, tmp_path: Path):
    local, there = tmp_path / "local", tmp_path / "ray"
    two = replace(FOUR_FOLDS, folds=2)
    assert roll(there, on_ray, two, seeds="1") == roll(local, LOCAL, two, seeds="1")
    assert rows(there) == rows(local)
    assert len(rows(there)) == 2


@pytest.mark.slow
def test_prompts_read_on_ray_are_the_rows_that_one_process_writes(
    small_window: TradingWindow, on_ray: RuntimeConfig, tmp_path: Path
):
    policy = PolicyConfig(trunk_cache="disk")
    (tmp_path / "backbone").mkdir()
    prefixes = dict(zip(small_window.symbols, small_window.prefixes, strict=True))
    texts = [text for of_symbol in prefixes.values() for text in of_symbol]
    write_backbone(policy, texts, 0, tmp_path / "backbone")
    write_manifest(tmp_path / "backbone")
    listed = {symbol: list(dict.fromkeys(of_symbol)) for symbol, of_symbol in prefixes.items()}
    for name, runtime in (("local", LOCAL), ("ray", on_ray)):
        TrunkRows(tmp_path / "backbone", texts, listed, EnvConfig(), policy, runtime).write(tmp_path / name)
    written = {path.relative_to(tmp_path / "ray"): path.read_bytes() for path in (tmp_path / "ray").rglob("*.*")}
    assert written == {
        path.relative_to(tmp_path / "local"): path.read_bytes() for path in (tmp_path / "local").rglob("*.*")
    }
    assert len(written) == len(set(texts))


def sleep_and_return(seconds: float, value: int) -> int:
    time.sleep(seconds)
    return value


def fail(message: str) -> None:
    raise DataError(message)


def divide(number: int) -> float:
    return number / 0


def test_results_come_as_they_are_done_with_the_index_of_their_task(on_ray: RuntimeConfig):
    tasks = [Task("slow", partial(sleep_and_return, 3.0, 7)), Task("quick", partial(sleep_and_return, 0.0, 8))]
    assert list(fan_out(tasks, on_ray)) == [(1, 8), (0, 7)]
    here = [Task(f"{value}", partial(sleep_and_return, 0.0, value)) for value in (7, 8)]
    assert list(fan_out(here, LOCAL)) == [(0, 7), (1, 8)]


def test_a_task_that_fails_is_named_and_keeps_its_kind_and_others_are_let_go(on_ray: RuntimeConfig):
    began = time.monotonic()
    tasks = [Task("endless", partial(sleep_and_return, 600.0, 0)), Task("fold 2 seed 5", partial(fail, "no such day"))]
    with pytest.raises(DataError, match=r"^fold 2 seed 5: no such day$"):
        list(fan_out(tasks, on_ray))
    with pytest.raises(WorkerError, match=r"fold 3 seed 1 failed on a Ray worker(?s:.*)ZeroDivisionError"):
        list(fan_out([Task("fold 3 seed 1", partial(divide, 1))], on_ray))
    assert time.monotonic() - began < 120


def test_what_is_raised_while_waiting_ends_the_tasks(on_ray: RuntimeConfig):
    def stop() -> None:
        raise RunInterrupted("stopped by SIGINT")

    began = time.monotonic()
    with pytest.raises(RunInterrupted):
        list(fan_out([Task("endless", partial(sleep_and_return, 600.0, 0))], on_ray, stop))
    assert time.monotonic() - began < 60


def test_a_signal_while_ray_waits_is_raised_as_its_handler_does(on_ray: RuntimeConfig):
    def interrupted(*_: object) -> None:
        raise RunInterrupted("stopped by SIGINT")

    before = signal.signal(signal.SIGINT, interrupted)
    sender = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    sender.start()
    try:
        with pytest.raises(RunInterrupted, match="stopped by SIGINT"):
            list(fan_out([Task("endless", partial(sleep_and_return, 600.0, 0))], on_ray))
    finally:
        sender.cancel()
        signal.signal(signal.SIGINT, before)


def test_more_than_any_node_has_is_refused_instead_of_waited_for(on_ray: RuntimeConfig):
    greedy = RuntimeConfig(device="cpu", engine="ray", task_cpus=1000)
    with pytest.raises(ParameterError, match=r"each task asks for 1000 CPUs .* which no node of the Ray cluster has"):
        list(fan_out([Task("greedy", partial(sleep_and_return, 0.0, 1))], greedy))


def test_a_machine_that_computes_other_bits_is_refused_by_name():
    expected = {**machine_facts(LOCAL), "instructions": "AVX9", "torch": "1.0"}
    with pytest.raises(ParameterError, match=r"node 10\.0\.0\.9 would .* other bits .* torch is .* there and 1\.0"):
        refuse_other_machine(expected, LOCAL, "10.0.0.9")
    refuse_other_machine(machine_facts(RAY), LOCAL, "10.0.0.9")


def test_a_node_with_another_backbone_of_the_same_name_is_refused(tmp_path: Path):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text('{"num_hidden_layers": 2}')
    policy = PolicyConfig(backbone=str(tmp_path), frozen_layers=1)
    work = partial(sleep_and_return, 0.0, 5)
    assert fetching(policy, RAY, work) is work  # on this machine alone
    there = fetching(policy, replace(RAY, ray_address="auto"), work)
    assert there() == 5
    (tmp_path / "model.safetensors").write_text("other weights")
    with pytest.raises(DataError, match=r"policy\.backbone=.* on this node and .* where the command was started"):
        there()


def test_a_backbone_that_a_node_lacks_is_unpacked_there_once(on_ray: RuntimeConfig, tmp_path: Path):
    """On the driver's own machine, with a path that is not there."""
    folder = tmp_path / "backbone"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"1234")
    write_manifest(folder)
    content = ray.put(pack_folder(folder))
    carried = CarriedFolder(tmp_path / "elsewhere", folder_hash(folder), content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAG_KEDRO_CACHE", str(tmp_path / "cache"))
        there = carried.here()
        assert (there / "deep" / "weights").read_bytes() == b"1234"
        assert folder_hash(there) == folder_hash(folder)
        first = there.stat().st_ino
        assert carried.here() == there
        assert there.stat().st_ino == first
    assert CarriedFolder(folder, folder_hash(folder), content).here() == folder
    with pytest.raises(DataError, match="changed while tasks read it"):
        CarriedFolder(tmp_path / "elsewhere", folder_hash(folder), None).here()


def test_rows_and_checkpoints_of_a_node_that_does_not_see_the_drivers_folders_stay_out_of_them(tmp_path: Path):
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / ".mark").touch()
    assert SeenFolder(tmp_path / "seen", ".mark").here() == tmp_path / "seen"
    assert SeenFolder(tmp_path / "seen", ".other").here() is None
    shared = PackedShared(
        None, SeenFolder(tmp_path / "seen", ".other"), SeenFolder(tmp_path, ".other"), None
    ).unpacked()
    assert shared.trunk_rows == node_folder("trunk_rows")
    assert shared.checkpoints is None


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_named_at_once(address: str):
    runtime = replace(RAY, ray_address=address)
    with pytest.raises(ParameterError, match=rf"ray_address is {address}, but no Ray cluster can be joined there"):
        _join(ray, runtime)


def test_without_ray_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ParameterError, match=r"pip install 'flag_kedro\[ray\]'"):
        list(fan_out([Task("any", partial(sleep_and_return, 0.0, 1))], RAY))
