"""Bits of answers and gradients do not depend on what is remembered of the trunk."""

import multiprocessing
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.states import States
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trunk import open_trunk_cache

CPU = torch.device("cpu")
NEVER = PolicyConfig(frozen_layers=1, trunk_cache="never")
ROWS = [(prefix, account) for prefix in range(8) for account in (0, 3, 17)]
NUM_PREFIXES = 8
Counts = tuple[int, int, int, int]
Build = Callable[..., ActorCritic]
StatesOf = Callable[[Sequence[tuple[int, int]]], States]


def answers(model: ActorCritic, states: States) -> dict[str, Tensor]:
    """Outputs, and the gradients of a loss in which every one of them counts."""
    model.zero_grad()
    evaluation = model.evaluate(states)
    weights = torch.linspace(-1.0, 2.0, len(states))
    (evaluation.log_probs.exp().square().sum(dim=1) * weights + evaluation.values * weights.flip(0)).sum().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients.values())
    return {"log_probs": evaluation.log_probs.detach(), "values": evaluation.values.detach(), **gradients}


def assert_same_bits(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def counts(model: ActorCritic, before: Counts = (0, 0, 0, 0)) -> Counts:
    """Hits in RAM, hits on disk, misses and rejected files since `before`."""
    cache = model.trunk.cache
    assert cache is not None
    now = cache.hits, cache.disk_hits, cache.misses, cache.rejected
    return tuple(count - then for count, then in zip(now, before, strict=True))  # type: ignore[return-value]


@pytest.fixture(params=["float32", "bfloat16"])
def config(request: pytest.FixtureRequest) -> PolicyConfig:
    return replace(NEVER, dtype=request.param)


@pytest.fixture
def states(states_of: StatesOf) -> States:
    return states_of(ROWS)


@pytest.mark.parametrize(("trainable", "packing"), [("lora", True), ("layers", True), ("lora", False)])
def test_warm_cache_gives_the_bits_of_a_cold_one(
    build: Build, config: PolicyConfig, trainable: str, packing: bool, positioned_backbone: Path, states: States
):
    config = replace(config, trainable=trainable, packing=packing)
    expected = answers(build(positioned_backbone, config), states)
    model = build(positioned_backbone, replace(config, trunk_cache="ram"))
    num_rows = NUM_PREFIXES if packing else len(ROWS)
    for hits, misses in ((0, num_rows), (num_rows, 0)):
        before = counts(model)
        assert_same_bits(answers(model, states), expected)
        assert counts(model, before) == (hits, 0, misses, 0)


def test_order_in_which_rows_were_remembered_does_not_matter(
    build: Build, config: PolicyConfig, positioned_backbone: Path, states_of: StatesOf
):
    expected = answers(build(positioned_backbone, config), states_of(ROWS))
    model = build(positioned_backbone, replace(config, trunk_cache="ram"))
    for row in reversed(ROWS):
        model.evaluate(states_of([row]))
    before = counts(model)
    assert_same_bits(answers(model, states_of(ROWS)), expected)
    assert counts(model, before) == (NUM_PREFIXES, 0, 0, 0)


def test_cache_that_cannot_hold_all_rows_changes_no_bit(
    build: Build, config: PolicyConfig, positioned_backbone: Path, states: States
):
    expected = answers(build(positioned_backbone, config), states)
    model = build(positioned_backbone, replace(config, trunk_cache="ram"))
    assert model.trunk.cache is not None
    model.trunk.cache.max_bytes = 30_000
    for _ in range(2):
        before = counts(model)
        assert_same_bits(answers(model, states), expected)
        assert counts(model, before)[2] > 0
        assert 0 < model.trunk.cache.nbytes <= model.trunk.cache.max_bytes


def test_row_with_all_accounts_gives_the_bits_of_one_with_few(
    build: Build, config: PolicyConfig, positioned_backbone: Path, states: States
):
    expected = answers(build(positioned_backbone, config), states)
    model = build(positioned_backbone, replace(config, trunk_cache="ram"))
    model.complete_rows(compact_account_texts())
    for hits, misses in ((0, NUM_PREFIXES), (NUM_PREFIXES, 0)):
        before = counts(model)
        assert_same_bits(answers(model, states), expected)
        assert counts(model, before) == (hits, 0, misses, 0)
    prompt = model.tokenise(states.prefix[0], states.account[0])
    assert model.trunk.cache is not None
    row = model.trunk.cache.get(prompt.prefix, [prompt.suffix])
    assert row is not None
    assert len(row.suffixes) == 31


def evaluate_and_persist(backbone: Path, configs: Sequence[PolicyConfig], rows: Path, states: States) -> None:
    """What another process does, asked in another order."""
    torch.set_num_threads(1)
    for config in configs:
        model = build_actor_critic(backbone, config, 0, CPU, open_trunk_cache(backbone, config, CPU, rows))
        model.complete_rows(compact_account_texts())
        model.decide(States(states.prefix[::-1], states.account[::-1], states.action_mask[::-1].copy()))


def test_rows_of_another_process_give_the_bits_of_a_cold_cache(
    build: Build, positioned_backbone: Path, states: States, tmp_path: Path
):
    configs = [replace(NEVER, dtype=dtype, trunk_cache="disk") for dtype in ("float32", "bfloat16")]
    other = multiprocessing.get_context("fork").Process(
        target=evaluate_and_persist, args=(positioned_backbone, configs, tmp_path, states)
    )
    other.start()
    other.join(timeout=120)
    assert other.exitcode == 0
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2 * NUM_PREFIXES
    for config in configs:
        expected = answers(build(positioned_backbone, replace(config, trunk_cache="never")), states)
        model = build(positioned_backbone, config, tmp_path)
        model.complete_rows(compact_account_texts())
        for hits, disk_hits in ((0, NUM_PREFIXES), (NUM_PREFIXES, 0)):
            before = counts(model)
            assert_same_bits(answers(model, states), expected)
            assert counts(model, before) == (hits, disk_hits, 0, 0)


def test_damaged_file_is_computed_again_with_the_same_bits(
    build: Build, config: PolicyConfig, positioned_backbone: Path, states: States, tmp_path: Path
):
    expected = answers(build(positioned_backbone, config), states)
    config = replace(config, trunk_cache="disk")
    evaluate_and_persist(positioned_backbone, [config], tmp_path, states)
    whole = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*.safetensors"))}
    first, second, third, fourth, *_ = whole
    first.write_bytes(whole[first][:-1] + bytes([whole[first][-1] ^ 1]))
    second.write_bytes(whole[second][:1000])
    third.write_bytes(whole[fourth])
    model = build(positioned_backbone, config, tmp_path)
    model.complete_rows(compact_account_texts())
    before = counts(model)
    assert_same_bits(answers(model, states), expected)
    assert counts(model, before) == (0, NUM_PREFIXES - 3, 3, 3)
    assert {file: file.read_bytes() for file in sorted(tmp_path.rglob("*.safetensors"))} == whole


def test_rows_are_named_by_all_that_their_bits_depend_on(
    positioned_backbone: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def context(folder: Path = positioned_backbone, **changes: object) -> tuple[tuple[str, object], ...]:
        cache = open_trunk_cache(folder, replace(NEVER, trunk_cache="ram", **changes), CPU)
        assert cache is not None
        return tuple(sorted(cache.context.items()))

    threads = torch.get_num_threads()
    contexts = [
        context(),
        context(tiny_backbone),
        context(frozen_layers=2),
        context(dtype="bfloat16"),
        context(batch_tokens=256),
    ]
    try:
        torch.set_num_threads(threads + 1)
        contexts.append(context())
    finally:
        torch.set_num_threads(threads)
    for name, value in (
        ("torch.__version__", "0.0"),
        ("transformers.__version__", "0.0"),
        ("flag_kedro.policy.trunk.processor", lambda: "another"),
        ("flag_kedro.policy.trunk.LAYOUT_VERSION", 0),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(name, value)
            contexts.append(context())
    assert len(set(contexts)) == len(contexts)
    assert context() == contexts[0]
    assert context(trunk_cache_mb=1, lora_rank=4) == contexts[0]


def test_same_weights_with_one_changed_are_another_backbone(positioned_backbone: Path, tmp_path: Path):
    copied = shutil.copytree(positioned_backbone, tmp_path / "copy")
    opened = [
        open_trunk_cache(folder, replace(NEVER, trunk_cache="ram"), CPU) for folder in (positioned_backbone, copied)
    ]
    assert opened[0] is not None
    assert opened[1] is not None
    assert opened[0].context == opened[1].context
    content = bytearray((copied / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "model.safetensors").write_bytes(bytes(content))
    changed = open_trunk_cache(copied, replace(NEVER, trunk_cache="ram"), CPU)
    assert changed is not None
    assert changed.context != opened[0].context
