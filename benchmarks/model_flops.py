"""Floating-point operations that prompts need of a Llama whose upper layers learn, and weights it has, by formula.

What must be computed is counted, not what is: no padding, causal attention as half a square, no layer twice. A product
of two matrices is 2 operations for each pair of elements; in the backward pass a map costs one product for its inputs
and, where it learns, one for its weights, and attention's two products cost four.

Shape legend: P = tokens of a prefix, S = tokens of a suffix behind it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actor_critic_backbone import Geometry

OUTPUTS = 4
"""Of policy and value head together."""


@dataclass(frozen=True)
class Reading:
    """Prompts that are read, prefixes once each."""

    tokens: int = 0
    pairs: int = 0
    """Of a token and one that it attends to."""
    prompts: int = 0
    """Suffixes, whose last tokens are read out."""
    last_pairs: int = 0
    """Pairs of last tokens alone."""

    def __add__(self, other: "Reading") -> "Reading":
        return Reading(
            self.tokens + other.tokens,
            self.pairs + other.pairs,
            self.prompts + other.prompts,
            self.last_pairs + other.last_pairs,
        )


def reading_of(prefix: int, suffixes: Sequence[int], *, prefix_is_known: bool = False) -> Reading:
    """A prefix of P tokens and suffixes of S tokens behind it; where it is known only they are read."""
    own = 0 if prefix_is_known else prefix
    return Reading(
        tokens=own + sum(suffixes),
        pairs=own * (own + 1) // 2 + sum(size * prefix + size * (size + 1) // 2 for size in suffixes),
        prompts=len(suffixes),
        last_pairs=sum(prefix + size for size in suffixes),
    )


def total(readings: Iterable[Reading]) -> Reading:
    """All readings together."""
    return sum(readings, Reading())


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one layer's maps, or of their low-rank updates."""

    query_output: int
    keys_values: int
    mlp: int

    @property
    def all(self) -> int:
        """Weights of all maps."""
        return self.query_output + self.keys_values + self.mlp


def layer_weights(geometry: Geometry) -> LayerWeights:
    """Weights of the maps of one layer."""
    hidden, wide, narrow = geometry.hidden_size, geometry.intermediate_size, keys_size(geometry)
    return LayerWeights(2 * hidden * hidden, 2 * hidden * narrow, 3 * hidden * wide)


def lora_weights(geometry: Geometry, rank: int) -> LayerWeights:
    """Weights of the low-rank updates of one layer."""
    hidden, wide, narrow = geometry.hidden_size, geometry.intermediate_size, keys_size(geometry)
    return LayerWeights(2 * rank * 2 * hidden, 2 * rank * (hidden + narrow), 3 * rank * (hidden + wide))


def keys_size(geometry: Geometry) -> int:
    """Elements of a token's keys in one layer."""
    return geometry.hidden_size // geometry.num_attention_heads * geometry.num_key_value_heads


def total_weights(geometry: Geometry) -> int:
    """Weights of the whole backbone: embeddings, layers with their two norms, the final norm."""
    layers = geometry.num_hidden_layers * (layer_weights(geometry).all + 2 * geometry.hidden_size)
    return geometry.vocab_size * geometry.hidden_size + layers + geometry.hidden_size


def trunk_forward(geometry: Geometry, frozen_layers: int, read: Reading) -> int:
    """Operations of the frozen layers."""
    return frozen_layers * (2 * layer_weights(geometry).all * read.tokens + 4 * geometry.hidden_size * read.pairs)


def top_forward(geometry: Geometry, layers: int, rank: int, read: Reading) -> int:
    """Operations of the layers that learn and the heads; in the last layer all but last tokens give keys and values.

    Args:
        geometry: of the backbone.
        layers: that learn.
        rank: of their LoRA updates; 0 where they learn whole.
        read: the prompts.
    """
    base, lora, hidden = layer_weights(geometry), lora_weights(geometry, rank), geometry.hidden_size
    whole = 2 * (base.all + lora.all) * read.tokens + 4 * hidden * read.pairs
    keys_values = base.keys_values + lora.keys_values
    last = 2 * keys_values * read.tokens + 2 * (base.all + lora.all - keys_values) * read.prompts
    return (layers - 1) * whole + last + 4 * hidden * read.last_pairs + 2 * OUTPUTS * hidden * read.prompts


def top_backward(geometry: Geometry, layers: int, rank: int, read: Reading) -> int:
    """Operations of their backward pass; see `top_forward`.

    The trunk's outputs need no gradients, so with LoRA the first layer's maps give none to their inputs; where layers
    learn whole, the norm before them does, and they do.
    """
    base, lora, hidden = layer_weights(geometry), lora_weights(geometry, rank), geometry.hidden_size
    of_base = 2 if rank else 4  # products for inputs, and for weights that learn
    whole = (of_base * base.all + 4 * lora.all) * read.tokens + 8 * hidden * read.pairs
    keys_values = of_base * base.keys_values + 4 * lora.keys_values
    others = of_base * (base.query_output + base.mlp) + 4 * (lora.query_output + lora.mlp)
    last = keys_values * read.tokens + others * read.prompts + 8 * hidden * read.last_pairs
    queried = read.tokens if layers > 1 else read.prompts
    inputs = 2 * (base.keys_values + 2 * rank * hidden) * read.tokens + 2 * (hidden**2 + rank * hidden) * queried
    inputs = inputs if rank else 0
    return (layers - 1) * whole + last + 4 * OUTPUTS * hidden * read.prompts - inputs
