"""What a training takes by piece and by size of backbone: operations, bytes, hours and dollars from assumptions.

Operations are those of model_flops.py, bytes of activations and rows those that scale_measure.py measured.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actor_critic_backbone import GEOMETRIES, Geometry
from model_flops import (
    Reading,
    layer_weights,
    lora_weights,
    reading_of,
    top_backward,
    top_forward,
    total_weights,
    trunk_forward,
)

GB = 1e9
ADAM_BYTES = 16
"""Of each weight that learns: itself, its gradient and Adam's two moments in float32."""


@dataclass(frozen=True)
class Assumptions:
    """All that is not measured here; each is an option of scale.py."""

    symbols: int = 3000
    years: float = 20.0
    sessions_a_year: int = 252
    prefix_tokens: int = 230
    suffix_tokens: int = 4
    suffixes: int = 2
    train_share: float = 0.6
    validation_share: float = 0.2
    visits: int = 1
    accounts: int = 16
    epochs: int = 4
    validations: int = 10
    minibatch_size: int = 256
    batch_tokens: int = 16384
    lora_rank: int = 16
    peak_tflops: float = 989.0
    utilisation: tuple[float, float] = (0.40, 0.15)
    gpu_dollars: float = 2.5
    disk_dollars: float = 23.0
    cpu_dollars: float = 0.04
    articles: int = 15_000_000
    articles_per_second: float = 33_000.0
    article_cores: int = 2
    context_gb: float = 1.5
    header_bytes: int = 800

    @property
    def prompts(self) -> int:
        """Symbols times sessions."""
        return round(self.symbols * self.years * self.sessions_a_year)

    @property
    def prompt(self) -> Reading:
        """One prompt with its account texts."""
        return reading_of(self.prefix_tokens, [self.suffix_tokens] * self.suffixes)

    @property
    def minibatch_tokens(self) -> int:
        """Tokens whose activations are kept at once."""
        return self.minibatch_size // self.accounts * self.prompt.tokens


@dataclass(frozen=True)
class Piece:
    """One part of the bill."""

    name: str
    prompts: float
    flops: float
    stored_bytes: float = 0.0
    core_hours: float = 0.0

    def gpu_hours(self, given: Assumptions) -> tuple[float, float]:
        """At the higher and at the lower utilisation."""
        best, worst = (self.flops / (given.peak_tflops * 1e12 * share) / 3600 for share in given.utilisation)
        return best, worst

    def dollars(self, given: Assumptions) -> tuple[float, float]:
        """Of GPUs, of cores, and of a month of storage."""
        other = self.core_hours * given.cpu_dollars + self.stored_bytes / 1e12 * given.disk_dollars
        best, worst = (hours * given.gpu_dollars + other for hours in self.gpu_hours(given))
        return best, worst


def pieces(geometry: Geometry, given: Assumptions, *, checkpointing: bool = False) -> list[Piece]:
    """The bill of one training, from articles to the replay of the test window."""
    rank, layers = given.lora_rank, geometry.num_hidden_layers - geometry.frozen_layers
    read, prompts = given.prompt, given.prompts
    trunk = trunk_forward(geometry, geometry.frozen_layers, read)
    forward = top_forward(geometry, layers, rank, read)
    learn = forward + top_backward(geometry, layers, rank, read) + (forward if checkpointing else 0)
    train, validation = prompts * given.train_share, prompts * given.validation_share
    test = prompts - train - validation
    core_hours = given.articles / given.articles_per_second * given.article_cores / 3600
    return [
        Piece("articles to states", prompts, 0.0, core_hours=core_hours),
        Piece("prompts through the trunk, once", prompts, prompts * trunk, prompts * row_bytes(geometry, given)),
        Piece("rollouts", train * given.visits, train * given.visits * forward),
        Piece("updates", train * given.visits * given.epochs, train * given.visits * given.epochs * learn),
        Piece("validations", validation * given.validations, validation * given.validations * forward),
        Piece("replay of the test window", test, test * forward),
    ]


def row_bytes(geometry: Geometry, given: Assumptions) -> int:
    """A prompt's file in the trunk cache: hidden states in bfloat16, and a header."""
    return given.prompt.tokens * geometry.hidden_size * 2 + given.header_bytes


@dataclass(frozen=True)
class Memory:
    """GB on each GPU."""

    weights: float
    loading: float
    """While a backbone is opened, in float32, before it is lowered; without FSDP on the GPU itself."""
    learning: float
    kept: float
    recomputed: float
    rest: float

    def total(self, *, checkpointing: bool) -> float:
        """Of a training that runs."""
        return self.weights + self.learning + self.rest + (self.recomputed if checkpointing else self.kept)


def memory(geometry: Geometry, measured: Mapping[str, Any], given: Assumptions, processes: int = 1) -> Memory:
    """What a training takes of each of so many GPUs; above one the trunk's layers are shared (FSDP).

    Args:
        geometry: of the backbone.
        measured: its row of scale_measure.py.
        given: sizes of minibatches and batches.
        processes: a GPU each, which also share a minibatch's prompts.
    """
    layers = geometry.num_hidden_layers - geometry.frozen_layers
    trunk = geometry.frozen_layers * layer_weights(geometry).all
    whole = total_weights(geometry) - trunk
    one_gathered = layer_weights(geometry).all if processes > 1 else 0
    tokens = given.minibatch_tokens / processes
    kept, last = (measured[f"kept_bytes_a_token_{name}"] for name in ("and_layer", "in_the_last"))
    again, again_last = (measured[f"recomputed_bytes_a_token_{name}"] for name in ("and_layer", "in_the_last"))
    recomputed = tokens * ((layers - 1) * again + again_last) + min(tokens, given.batch_tokens) * kept
    learning = layers * lora_weights(geometry, given.lora_rank).all * ADAM_BYTES
    return Memory(
        weights=2 * (whole + trunk / processes + one_gathered) / GB,
        loading=4 * total_weights(geometry) / GB if processes == 1 else 0.0,
        learning=learning / GB,
        kept=tokens * ((layers - 1) * kept + last) / GB,
        recomputed=recomputed / GB,
        rest=given.context_gb,
    )


@dataclass(frozen=True)
class Exchange:
    """What one process sends, and how often."""

    axis: str
    what: str
    sent_bytes: float
    per: str
    compute_seconds: float
    """Of what is done between two exchanges, at the higher utilisation."""


def exchanges(geometry: Geometry, given: Assumptions, processes: int) -> Iterator[Exchange]:
    """What processes send each other along each axis, sums and gathers by rings."""
    rate = given.peak_tflops * 1e12 * given.utilisation[0]
    layers, rank = geometry.num_hidden_layers - geometry.frozen_layers, given.lora_rank
    share = (processes - 1) / processes
    trunk = trunk_forward(geometry, geometry.frozen_layers, given.prompt)
    forward = top_forward(geometry, layers, rank, given.prompt)
    learn = forward + top_backward(geometry, layers, rank, given.prompt)
    yield Exchange("symbols", "a row to the store", row_bytes(geometry, given), "prompt encoded", trunk / rate)
    states = given.symbols * given.accounts
    answers = 2 * share * states * 4 * 4
    step = given.symbols / processes * forward / rate
    yield Exchange("environments", "answers of all accounts", answers, "step of a rollout", step)
    gradients = 2 * share * layers * lora_weights(geometry, rank).all * 4
    prompts = given.minibatch_size / given.accounts / processes
    yield Exchange("prompts of a minibatch", "gradients", gradients, "optimizer step", prompts * learn / rate)
    layer = share * layer_weights(geometry).all * 2
    batch = given.batch_tokens / given.prompt.tokens * trunk / geometry.frozen_layers / rate
    yield Exchange("weights (FSDP)", "a layer, gathered", layer, "layer and batch of the trunk", batch)


def known_geometries(measured: Mapping[str, Any]) -> dict[str, Geometry]:
    """Geometries that were measured, by name."""
    return {name: GEOMETRIES[name] for name in measured["geometries"]}
