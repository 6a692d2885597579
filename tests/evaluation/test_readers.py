"""Readers give what their models give by themselves, and read each prompt once for the layers they share."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.evaluation.readers import Readers, read_vectors
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.bundle import TrainedPolicy, load_policy, read_description
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.policy.trunk import Trunk
from flag_kedro.policy.write_backbone import write_backbone

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split(small_states: Mapping[str, pl.DataFrame]) -> MarketSplit:
    (fold,) = roll_folds(common_sessions(small_states), train=40, validation=5, test=10, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    return MarketSplit.of(small_states, DataConfig(windows=windows), EnvConfig(account_view="position"))


@pytest.fixture(scope="module")
def backbone(split: MarketSplit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), [text for texts in split.train.prefixes for text in texts], 0, folder)
    return folder


@pytest.fixture(params=["ram", "disk", "never"])
def bundle(request: pytest.FixtureRequest, split: MarketSplit, backbone: Path, tmp_path: Path) -> Path:
    config = PolicyConfig(frozen_layers=1, readout="lines", trunk_cache=request.param)
    model = build_actor_critic(backbone, config, 0, CPU)
    model.fit_readout([text for texts in split.train.prefixes for text in texts])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    folder = tmp_path / "policy"
    folder.mkdir()
    TrainedPolicy(model, backbone, {**split.facts, "seed": 0}).write(folder)
    write_manifest(folder)
    return folder


def test_readers_share_what_their_frozen_layers_read(
    bundle: Path, backbone: Path, split: MarketSplit, monkeypatch: pytest.MonkeyPatch
):
    prefixes = [text for window in (split.train, split.test) for texts in window.prefixes for text in texts]
    readers = Readers(bundle, backbone, read_description(bundle), split, CPU, seed=0)
    num_read: list[int] = []
    read = Trunk._read

    def count(self: Trunk, requested, known, store):  # type: ignore[no-untyped-def]
        num_read.append(len(requested))
        return read(self, requested, known, store)

    opened = {name: opener() for name, opener in readers.openers().items()}
    monkeypatch.setattr(Trunk, "_read", count)
    found = {name: read_vectors(model, prefixes, split) for name, model in opened.items()}
    if readers.config.trunk_cache == "ram":
        num_new = len(set(prefixes) - {text for texts in split.train.prefixes for text in texts})
        assert sum(num_read) == num_new  # the training window was read when the untrained one was standardised
    else:
        assert sum(num_read) == 2 * len(prefixes)

    alone = load_policy(bundle, backbone, CPU)
    np.testing.assert_allclose(found["flag_trader"], read_vectors(alone, prefixes, split), atol=1e-5)
    fresh = build_actor_critic(backbone, alone.config, 0, CPU)
    fresh.fit_readout([text for texts in split.train.prefixes for text in texts])
    np.testing.assert_allclose(found["backbone"], read_vectors(fresh, prefixes, split), atol=1e-5)
    assert np.abs(found["backbone"] - found["flag_trader"]).max() > 1e-3
