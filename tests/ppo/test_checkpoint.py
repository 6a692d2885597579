"""Checkpoints are whole, sound and one process's at a time."""

import logging
import multiprocessing
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from flag_kedro.errors import CheckpointError
from flag_kedro.ppo.checkpoint import Checkpoints, TrainingState, remove_finished, training_key


def state(updates: int, *, finished: bool = False) -> TrainingState:
    tensors = {"weights/a": torch.full((2, 2), float(updates)), "env/n": torch.tensor(updates)}
    return TrainingState(tensors, [{"step": float(at)} for at in range(updates)], {"waited": updates}, finished)


def same(actual: TrainingState | None, expected: TrainingState) -> bool:
    assert actual is not None
    equal = all(torch.equal(actual.tensors[name], tensor) for name, tensor in expected.tensors.items())
    return equal and asdict(actual)["history"] == expected.history and actual.selection == expected.selection


def test_newest_state_comes_back_and_two_are_kept(tmp_path: Path):
    with_run = Checkpoints(tmp_path, "k", "run 1")
    assert with_run.newest() is None
    for updates in (1, 2, 13):
        with_run.save(state(updates))
    with_run.close()
    later = Checkpoints(tmp_path, "k", "run 2")
    assert same(later.newest(), state(13))
    assert later.resumed_from == "run 1"
    assert sorted(path.name for path in (tmp_path / "k").glob("update-*")) == ["update-00000002", "update-00000013"]


def test_a_state_comes_back_from_its_bytes():
    there = state(3)
    back = TrainingState.from_bytes(there.to_bytes())
    assert (back.history, back.selection, back.finished) == (there.history, there.selection, there.finished)
    assert set(back.tensors) == set(there.tensors)
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in there.tensors.items())


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "no manifest"])
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture):
    checkpoints = Checkpoints(tmp_path, "k")
    checkpoints.save(state(1))
    checkpoints.save(state(2))
    newest = tmp_path / "k" / "update-00000002"
    tensors = newest / "state.safetensors"
    match damage:
        case "cut":
            tensors.write_bytes(tensors.read_bytes()[:-1])
        case "changed":
            content = bytearray(tensors.read_bytes())
            content[-1] ^= 1
            tensors.write_bytes(bytes(content))
        case "gone":
            tensors.unlink()
        case "no manifest":
            (newest / "MANIFEST.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert same(checkpoints.newest(), state(1))
    assert "update-00000002 is damaged and passed over" in caplog.text


def test_none_sound_is_an_error_that_says_what_to_do(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, "k")
    checkpoints.save(state(1))
    (tmp_path / "k" / "update-00000001" / "facts.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"none of the 1 checkpoints in .* is sound; .*ppo\.resume=never"):
        checkpoints.newest()


def test_never_resuming_removes_what_was_there(tmp_path: Path):
    first = Checkpoints(tmp_path, "k")
    first.save(state(1))
    first.close()
    assert Checkpoints(tmp_path, "k", resume=False).newest() is None


def hold(root: Path, held: "multiprocessing.Queue[str]", again: "multiprocessing.Queue[bool]") -> None:
    """Take hold of a training, or say why not and try once more when told."""
    try:
        Checkpoints(root, "k")
    except CheckpointError as error:
        held.put(str(error))
        again.get(timeout=60)
        Checkpoints(root, "k")
    held.put("held")


def test_a_second_process_is_refused(tmp_path: Path):
    mine = Checkpoints(tmp_path, "k")
    context = multiprocessing.get_context("spawn")
    answers, again = context.Queue(), context.Queue()
    other = context.Process(target=hold, args=(tmp_path, answers, again))
    other.start()
    assert "another process is at the training" in answers.get(timeout=60)
    mine.close()
    again.put(True)
    assert answers.get(timeout=60) == "held"
    other.join()


def test_other_trainings_stay_and_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    Checkpoints(tmp_path, "other").save(state(1))
    with caplog.at_level(logging.INFO):
        assert Checkpoints(tmp_path, "k").newest() is None
    assert "1 unfinished trainings with other settings" in caplog.text
    assert (tmp_path / "other" / "update-00000001").is_dir()


def test_only_the_training_that_finished_last_is_removed(tmp_path: Path):
    """`lost` finished too, but its run died before it saved the outputs: it is all that is left of that training."""
    for key, finished in (("lost", True), ("half", False), ("done", True)):
        Checkpoints(tmp_path, key).save(state(3, finished=finished))
    for path in (tmp_path / "half").rglob("facts.json"):
        path.unlink()  # another training's damage is none of ours
    remove_finished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half", "lost"]
    remove_finished(tmp_path)  # what is gone is gone once
    remove_finished(tmp_path / "absent")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half", "lost"]


def test_a_finished_training_that_is_read_again_is_removed_once_it_is_saved(tmp_path: Path):
    for key in ("first", "second"):
        Checkpoints(tmp_path, key).save(state(3, finished=True))
    again = Checkpoints(tmp_path, "first", locked=True)
    assert again.newest() is not None
    remove_finished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["second"]


def test_a_removal_that_was_cut_is_finished_by_the_next_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    Checkpoints(tmp_path, "done").save(state(3, finished=True))
    with monkeypatch.context() as patched:
        patched.setattr("flag_kedro.ppo.checkpoint.shutil.rmtree", lambda *_, **__: None)
        remove_finished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".done.gone"]
    with caplog.at_level(logging.INFO):
        assert Checkpoints(tmp_path, "done").newest() is None
    assert [path.name for path in tmp_path.iterdir()] == ["done"]
    assert "unfinished" not in caplog.text


def test_key_depends_on_every_fact_and_not_on_their_order():
    facts = {"seed": 0, "ppo": {"gamma": 0.5, "lr": 0.1}}
    assert training_key(facts) == training_key({"ppo": {"lr": 0.1, "gamma": 0.5}, "seed": 0})
    assert len({training_key(facts), training_key(facts | {"seed": 1}), training_key(facts | {"more": 1})}) == 3
