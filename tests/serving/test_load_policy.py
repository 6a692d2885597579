"""A policy opened where no Kedro is, and refused where anything is not what it was trained with."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import flag_kedro
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.bundle import TrainedPolicy
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.serving.policy import load_policy

CPU = torch.device("cpu")
FACTS = {"symbols": ["A"], "windows": {"train": ["2024-01-01", "2024-02-01"], "test": ["2024-03-01", "2024-04-01"]}}
ALONE = """
import json, sys
sys.modules.update(dict.fromkeys(("kedro", "kedro_datasets", "kedro_mlflow", "mlflow")))  # importing one fails
import numpy as np
import flag_kedro
given = json.loads(sys.stdin.read())
policy = flag_kedro.load_policy(given["folder"])
states = flag_kedro.States(given["prefix"], given["account"], np.ones((len(given["prefix"]), 3), dtype=bool))
answer = policy.decide(states)
print(json.dumps([answer.probabilities.tolist(), answer.values.tolist()]))
"""


@pytest.fixture(scope="module")
def trained(small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder's models: a policy that differs from an untrained one, and a backbone beside it that it brings."""
    models = tmp_path_factory.mktemp("models")
    (models / "backbone").mkdir()
    (models / "policy").mkdir()
    write_backbone(PolicyConfig(), [text for texts in small_window.prefixes for text in texts], 0, models / "backbone")
    model = build_actor_critic(models / "backbone", PolicyConfig(frozen_layers=1), 0, CPU)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in (weight for weight in model.parameters() if weight.requires_grad):
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    TrainedPolicy(model, models / "backbone", FACTS).write(models / "policy")
    write_manifest(models / "policy")
    return models


@pytest.fixture
def policy(trained: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(trained, tmp_path / "models")
    return tmp_path / "models" / "policy"


@pytest.fixture(scope="module")
def states(small_window: TradingWindow) -> States:
    prefixes = [texts[t] for texts in small_window.prefixes for t in (0, 3, 7)]
    accounts = [" flat. Decision:", " long one day gain. Decision:"] * len(prefixes)
    return States([text for text in prefixes for _ in range(2)], accounts, np.ones((len(accounts), 3), dtype=bool))


def test_a_process_without_kedro_gives_the_same_bits_from_any_folder(policy: Path, states: States, tmp_path: Path):
    expected = load_policy(policy).decide(states)
    given = {"folder": str(policy), "prefix": list(states.prefix), "account": list(states.account)}
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        input=json.dumps(given),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    probabilities, values = json.loads(done.stdout)
    assert expected.probabilities is not None
    assert expected.values is not None
    assert probabilities == expected.probabilities.tolist()
    assert values == expected.values.tolist()
    assert len({tuple(row) for row in probabilities}) > 1


def test_a_flipped_byte_in_any_file_is_refused_by_name(policy: Path):
    names = [path.relative_to(policy).as_posix() for path in policy.rglob("*") if path.is_file()]
    assert {"heads.safetensors", "policy.json", "adapter_model.safetensors", "backbone/tokenizer.json"} <= set(names)
    for name in names:
        whole = (policy / name).read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        (policy / name).write_bytes(changed)
        with pytest.raises((DataError, ValueError), match=r"MANIFEST|json" if name == "MANIFEST.json" else name):
            load_policy(policy)
        (policy / name).write_bytes(whole)
    load_policy(policy)


def rewrite(policy: Path, **changes: object) -> None:
    """Change what `policy.json` says, as if it had been written so."""
    description = json.loads((policy / "policy.json").read_text())
    (policy / "policy.json").write_text(json.dumps(description | changes))
    write_manifest(policy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt_version": 1}, r"it has prompt_version 1, not 2"),
        (
            {"action_order": ["buy", "hold", "sell"]},
            r"action_order \['buy', 'hold', 'sell'\], not \['sell', 'hold', 'buy'\]",
        ),
        ({"format": 1, "prompt_version": 9}, r"it has format 1, not 2 and prompt_version 9"),
    ],
)
def test_other_prompts_and_actions_are_refused_by_name(policy: Path, changes: dict[str, object], said: str):
    rewrite(policy, **changes)
    with pytest.raises(DataError, match=said):
        load_policy(policy)


def other_weights(folder: Path) -> None:
    whole = bytearray((folder / "model.safetensors").read_bytes())
    whole[-1] ^= 1
    (folder / "model.safetensors").write_bytes(whole)


def other_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")


@pytest.mark.parametrize(
    ("change", "said"), [(other_weights, "its model is another"), (other_tokenizer, "its tokenizer")]
)
def test_another_backbone_is_refused_by_what_differs(policy: Path, change: Callable[[Path], None], said: str):
    shutil.rmtree(policy / "backbone")  # as of a backbone that a policy does not bring
    write_manifest(policy)
    load_policy(policy)  # the one beside it
    change(policy.parent / "backbone")
    with pytest.raises(DataError, match=said):
        load_policy(policy)


def test_a_backbone_that_is_not_there_is_asked_for(policy: Path, tmp_path: Path):
    shutil.rmtree(policy / "backbone")
    write_manifest(policy)
    shutil.move(policy.parent / "backbone", tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"there is no backbone.*load_policy\(.*backbone=FOLDER\)"):
        load_policy(policy)
    load_policy(policy, backbone=tmp_path / "elsewhere")


def test_public_names_are_there():
    assert set(flag_kedro.__all__) <= set(dir(flag_kedro))
    assert all(getattr(flag_kedro, name) is not None for name in flag_kedro.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        flag_kedro.nothing  # noqa: B018
