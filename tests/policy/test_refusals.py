"""What would be wrong without a word is an error instead."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import (
    Gemma3TextConfig,
    Gemma3TextModel,
    GPT2Config,
    GPT2Model,
    GPTNeoConfig,
    GPTNeoModel,
    GPTNeoXConfig,
    GPTNeoXModel,
    GraniteConfig,
    GraniteModel,
    LlamaConfig,
    LlamaModel,
    MambaConfig,
    MambaModel,
    MistralConfig,
    MistralModel,
    MixtralConfig,
    MixtralModel,
    Olmo2Config,
    Olmo2Model,
    PhiConfig,
    PhiModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
)

from flag_kedro.env.config import EnvConfig, Positions
from flag_kedro.env.prompt import long_paper_texts
from flag_kedro.env.states import States
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import cut_window
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import load_tokenizer
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trunk import open_trunk_cache

CPU = torch.device("cpu")
SMALL = {
    "vocab_size": 1024,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": 0,
}
GPT_NEO = GPTNeoConfig(
    vocab_size=1024, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
)
StatesOf = Callable[[Sequence[tuple[int, int]]], States]


@pytest.fixture
def open_model(save_backbone: Callable[[PreTrainedModel], Path]) -> Callable[..., ActorCritic]:
    """An actor-critic on a model, one of its two layers frozen unless told otherwise."""

    def build(model: PreTrainedModel, **given: object) -> ActorCritic:
        folder = save_backbone(model)
        config = PolicyConfig(**{"frozen_layers": 1, **given})
        return build_actor_critic(folder, config, 0, CPU, open_trunk_cache(folder, config, CPU))

    return build


# --- a trunk that would change


@pytest.mark.parametrize("cache", ["ram", "never"])
@pytest.mark.parametrize("trainable", ["lora", "layers"])
def test_weight_that_learns_in_the_trunk_is_named(
    trainable: str, cache: str, open_model: Callable[..., ActorCritic], states_of: StatesOf
):
    model = open_model(LlamaModel(LlamaConfig(**SMALL)), trainable=trainable, trunk_cache=cache)
    model.evaluate(states_of([(0, 0)]))
    model.trunk.layers[0].mlp.up_proj.weight.requires_grad_(True)
    with pytest.raises(ValueError, match=r"mlp\.up_proj\.weight below policy\.frozen_layers learns"):
        model.evaluate(states_of([(0, 0)]))


def test_embeddings_that_learn_are_refused(open_model: Callable[..., ActorCritic], states_of: StatesOf):
    model = open_model(LlamaModel(LlamaConfig(**SMALL)), frozen_layers=0)
    model.trunk.embed.weight.requires_grad_(True)
    with pytest.raises(ValueError, match=r"weight below policy\.frozen_layers learns"):
        model.evaluate(states_of([(0, 0)]))


def test_learned_positions_that_go_on_learning_are_refused(open_model: Callable[..., ActorCritic], states_of: StatesOf):
    model = open_model(GPT2Model(GPT2Config(**SMALL)), frozen_layers=0)
    model.trunk.base.wpe.weight.requires_grad_(True)
    with pytest.raises(ValueError, match=r"weight below policy\.frozen_layers learns"):
        model.evaluate(states_of([(0, 0)]))


def test_lora_in_the_trunk_is_refused_learning_or_not(tiny_backbone: Path):
    low, high = PolicyConfig(frozen_layers=0), PolicyConfig(frozen_layers=1)
    backbone = build_actor_critic(tiny_backbone, low, 0, CPU).backbone.requires_grad_(False)
    cache = open_trunk_cache(tiny_backbone, high, CPU)
    with pytest.raises(ValueError, match=r"lora_A\.default\.weight below policy\.frozen_layers learns"):
        ActorCritic(backbone, tiny_backbone, high, 0, cache)


# --- dropout


@pytest.mark.parametrize("cache", ["ram", "never"])
@pytest.mark.parametrize(
    "model",
    [
        lambda: LlamaModel(LlamaConfig(**SMALL, attention_dropout=0.1)),
        lambda: GPTNeoXModel(GPTNeoXConfig(**SMALL, hidden_dropout=0.1)),
        lambda: GPT2Model(GPT2Config(**SMALL, embd_pdrop=0.0, resid_pdrop=0.0)),
        lambda: GPT2Model(GPT2Config(**SMALL, embd_pdrop=0.0, attn_pdrop=0.0)),
    ],
    ids=["of attention", "of hidden states", "of GPT-2's attention", "of GPT-2's hidden states"],
)
@pytest.mark.parametrize("part", ["trunk", "top"])
def test_active_dropout_is_refused_in_trunk_and_top(
    part: str,
    model: Callable[[], PreTrainedModel],
    cache: str,
    open_model: Callable[..., ActorCritic],
    states_of: StatesOf,
):
    built = open_model(model(), trunk_cache=cache)
    asked = states_of([(0, 0), (1, 2)])
    expected = built.evaluate(asked).values
    layers = getattr(built, part).layers
    for layer in layers:
        layer.train()
    for _ in range(2):  # what is remembered does not hide it
        with pytest.raises(ValueError, match=r"dropout of 0\.1 is active"):
            built.evaluate(asked)
    built.eval()
    assert torch.equal(built.evaluate(asked).values, expected)


def test_dropout_of_one_module_is_refused_although_its_layer_is_in_eval_mode(
    open_model: Callable[..., ActorCritic], states_of: StatesOf
):
    built = open_model(GPTNeoXModel(GPTNeoXConfig(**SMALL, hidden_dropout=0.1)), trunk_cache="never")
    built.trunk.layers[0].post_attention_dropout.train()
    with pytest.raises(ValueError, match=r"dropout of 0\.1 is active"):
        built.evaluate(states_of([(0, 0)]))


def test_dropout_behind_embeddings_is_refused(open_model: Callable[..., ActorCritic], states_of: StatesOf):
    built = open_model(GPT2Model(GPT2Config(**SMALL, resid_pdrop=0.0, attn_pdrop=0.0)))
    built.train()
    with pytest.raises(ValueError, match=r"dropout of 0\.1 is active"):
        built.evaluate(states_of([(0, 0)]))


def test_attention_itself_refuses_dropout(open_model: Callable[..., ActorCritic], states_of: StatesOf):
    model = open_model(LlamaModel(LlamaConfig(**SMALL)), trunk_cache="never")
    model.trunk.layers[0].self_attn.attention_dropout = 0.1
    model.trunk.layers[0].self_attn.train()
    with pytest.raises(ValueError, match=r"attention dropout of 0\.1 is active"):
        model.evaluate(states_of([(0, 0)]))


# --- backbones that read in another way


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: GraniteModel(GraniteConfig(**SMALL, embedding_multiplier=12.0)), "token by token"),  # scales inputs
        (lambda: LlamaModel(LlamaConfig(**SMALL, is_causal=False)), "token by token"),
        (lambda: MambaModel(MambaConfig(vocab_size=1024, hidden_size=32, num_hidden_layers=2)), "MambaModel does not"),
        (lambda: MixtralModel(MixtralConfig(**SMALL, num_local_experts=2)), "mixtures of experts are not supported"),
        (lambda: GPTNeoModel(GPT_NEO), "GPTNeoModel "),  # local attention, and no attention interface
        (lambda: PhiModel(PhiConfig(**SMALL)), "PhiModel is not built as Llama"),  # has no rotary_emb and norm
        (lambda: Olmo2Model(Olmo2Config(**SMALL)), "Olmo2Model is not built as Llama"),  # norms behind attention
        (lambda: Gemma3TextModel(Gemma3TextConfig(**SMALL)), "Gemma3TextModel is not built as Llama"),  # two rotaries
    ],
    ids=["granite", "not causal", "mamba", "mixtral", "gpt_neo", "phi", "olmo2", "gemma3"],
)
def test_backbone_that_reads_in_another_way_is_refused(
    model: Callable[[], PreTrainedModel], reason: str, open_model: Callable[..., ActorCritic]
):
    with pytest.raises(ParameterError, match=reason):
        open_model(model(), trainable="layers")


@pytest.mark.parametrize("multiplier", [1.2, 3.0])
def test_a_small_difference_is_found_under_bfloat16_too(multiplier: float, open_model: Callable[..., ActorCritic]):
    with pytest.raises(ParameterError, match="token by token"):
        open_model(GraniteModel(GraniteConfig(**SMALL, embedding_multiplier=multiplier)), dtype="bfloat16")


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 2.0},
        {
            "rope_type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [2.0] * 4,
            "factor": 2.0,
            "original_max_position_embeddings": 1024,
        },
    ],
    ids=lambda rope: str(rope["rope_type"]),
)
def test_positions_that_depend_on_the_length_of_a_prompt_are_refused(
    rope: dict[str, object], open_model: Callable[..., ActorCritic]
):
    config = LlamaConfig(**SMALL, max_position_embeddings=2048, rope_parameters={"rope_theta": 10_000.0, **rope})
    with pytest.raises(ParameterError, match=f"rotary embedding {rope['rope_type']} are not supported"):
        open_model(LlamaModel(config))


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        (lambda: MistralModel(MistralConfig(**SMALL, num_key_value_heads=4, sliding_window=64)), 64),
        (
            lambda: Qwen2Model(
                Qwen2Config(
                    **SMALL, num_key_value_heads=4, use_sliding_window=True, sliding_window=60, max_window_layers=1
                )
            ),
            60,
        ),
        (lambda: LlamaModel(LlamaConfig(**SMALL, max_position_embeddings=100)), 100),
        (lambda: GPT2Model(GPT2Config(**SMALL, n_positions=100)), 100),
    ],
    ids=["sliding window", "sliding window in one layer", "positions", "learned positions"],
)
def test_prompt_longer_than_the_backbone_looks_back_is_refused(
    model: Callable[[], PreTrainedModel], limit: int, open_model: Callable[..., ActorCritic], states_of: StatesOf
):
    built = open_model(model())
    built.evaluate(states_of([(0, 0)]))
    with pytest.raises(DataError, match=rf"the limit is {limit} \(policy\.max_tokens, or what the backbone can look"):
        built.evaluate(states_of([(0, 0), (4, 0)]))


def test_model_that_cannot_read_the_prompt_it_is_checked_on_is_refused(open_model: Callable[..., ActorCritic]):
    with pytest.raises(ParameterError, match=r"a prompt of \d+ tokens, but reads 4 at most \(its n_positions\)"):
        open_model(GPT2Model(GPT2Config(**SMALL, n_positions=4)))


def test_fewer_tokens_than_the_prompt_that_a_model_is_checked_on_are_no_fault_of_the_model(
    open_model: Callable[..., ActorCritic], states_of: StatesOf
):
    built = open_model(GPT2Model(GPT2Config(**SMALL, n_positions=256)), max_tokens=16)
    with pytest.raises(DataError, match=r"the limit is 16 \(policy\.max_tokens, or"):
        built.evaluate(states_of([(0, 0)]))


def test_one_prompt_that_is_too_long_is_found_among_others_before_any_is_read(
    open_model: Callable[..., ActorCritic], states_of: StatesOf
):
    built = open_model(GPT2Model(GPT2Config(**SMALL, n_positions=100)))
    states = states_of([(0, 0), (1, 1), (4, 0)])
    built.check_lengths(states.prefix[:2], states.account[:1])
    with pytest.raises(DataError, match=r"a prompt has 180 tokens, the limit is 100 .* lower features\.digest_chars"):
        built.check_lengths(iter(states.prefix), states.account[:1])
    assert built.tokens_read == 0


def test_the_account_text_of_most_tokens_counts_not_the_longest(
    open_model: Callable[..., ActorCritic], states_of: StatesOf
):
    built, prefix, letters = open_model(GPT2Model(GPT2Config(**SMALL))), states_of([(0, 0)]).prefix[0], " sell hold buy"
    few, many = letters * 3, "\u00e7\u00df\u0142\u0416" * 4  # no word that the tokenizer has learned
    tokens = [len(built.tokenise(prefix, text).suffix) for text in (few, many)]
    assert len(few) > len(many)
    assert tokens[0] < tokens[1]
    total = len(built.tokenise(prefix, many).prefix) + tokens[1]
    for limit, refused in ((total, False), (total - 1, True)):
        built.max_tokens = limit
        with pytest.raises(DataError, match=f"a prompt has {total} tokens") if refused else nullcontext():
            built.check_lengths([prefix], [few, many])


@pytest.mark.parametrize("positions", ["long_flat", "long_short"])
def test_long_texts_of_the_papers_view_have_more_tokens_than_those_of_accounts_that_trade(
    positions: Positions, tiny_backbone: Path, small_states: dict[str, pl.DataFrame]
):
    tokenizer, _ = load_tokenizer(tiny_backbone)
    span = (date(2023, 7, 3), date(2023, 9, 29))
    env = EnvConfig(account_view="paper", positions=positions)
    trading = TradingVectorEnv(cut_window(small_states, span, "next_open", positions=positions), env, 20)
    trading.action_space.seed(0)
    texts = set(trading.states().account)
    for _ in range(60):
        trading.step(trading.action_space.sample())
        texts |= set(trading.states().account)
    longest = max(len(tokenizer.encode(text).ids) for text in long_paper_texts(env.initial_cash))
    met = max(len(tokenizer.encode(text).ids) for text in texts)
    assert met <= longest < 1.1 * met


def test_cache_of_another_split_or_number_format_is_refused(llama_backbone: Path):
    other = open_trunk_cache(llama_backbone, PolicyConfig(frozen_layers=1), CPU)
    for config in (PolicyConfig(frozen_layers=2), PolicyConfig(frozen_layers=1, dtype="bfloat16")):
        with pytest.raises(ValueError, match="the trunk cache is of another policy"):
            build_actor_critic(llama_backbone, config, 0, CPU, other)


# --- attention that was changed behind our back


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_that_was_changed_later_is_refused(attention: str, llama_backbone: Path, states_of: StatesOf):
    """Eager attention would add our boolean masks to scores; both would know no prefixes."""
    model = build_actor_critic(llama_backbone, PolicyConfig(frozen_layers=1), 0, CPU)
    states = states_of([(0, 0)])
    expected = model.evaluate(states).values
    ours = model.trunk.base.config._attn_implementation
    model.trunk.base.set_attn_implementation(attention)
    for act in (lambda: model.evaluate(states), lambda: model.check_backbone("float32")):
        with pytest.raises(ValueError, match=f"attention was set to {attention}"):
            act()
    model.trunk.base.set_attn_implementation(ours)
    assert torch.equal(model.evaluate(states).values, expected)


def test_check_at_load_finds_masks_that_are_not_obeyed(llama_backbone: Path, monkeypatch: pytest.MonkeyPatch):
    """What eager attention does with a boolean mask: it is added to the scores, as 0 and 1."""
    from flag_kedro.policy import attention

    attend = attention._attend

    def add_mask(module, query, key, value, mask, scaling):
        return attend(module, query, key, value, None if mask is None else mask.to(query.dtype), scaling)

    monkeypatch.setattr(attention, "_attend", add_mask)
    for config in (PolicyConfig(frozen_layers=1), PolicyConfig(frozen_layers=2, dtype="bfloat16")):
        with pytest.raises(ParameterError, match="does not read prompts token by token"):
            build_actor_critic(llama_backbone, replace(config, trunk_cache="never"), 0, CPU)
