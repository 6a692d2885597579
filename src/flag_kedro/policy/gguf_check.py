"""Which GGUF files can be a backbone; the others are refused by name, before anything slow begins."""

from collections.abc import Iterator
from pathlib import Path

from flag_kedro.errors import ParameterError
from flag_kedro.policy.gguf_header import GgufHeader, read_gguf_header

NORMS = ("attn_norm.weight", "ffn_norm.weight")
MAPS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
LAYER_TENSORS = {
    "llama": (*NORMS, *(f"{name}.weight" for name in MAPS)),
    "qwen2": (*NORMS, *(f"{name}.weight" for name in MAPS), "attn_q.bias", "attn_k.bias", "attn_v.bias"),
    "qwen3": (*NORMS, *(f"{name}.weight" for name in MAPS), "attn_q_norm.weight", "attn_k_norm.weight"),
}
"""Tensors of each layer by architecture. Others would be left out without a word when transformers reads the file: the
scaling of rotary positions (rope_freqs), biases, experts."""
EMBEDDINGS, FINAL_NORM, HEAD = "token_embd.weight", "output_norm.weight", "output.weight"
"""A file without a head has that of its embeddings."""
NUMBERS = (
    "block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
    "attention.layer_norm_rms_epsilon",
)  # fmt: skip
KINDS = (
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K",
    "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0", "MXFP4", "IQ1_S", "IQ1_M",
    "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS",
)  # fmt: skip
"""Number formats that the package gguf turns into float32."""
BYTE_LEVEL = "gpt2"
"""How GGUF calls byte-level BPE, whatever the model."""
PRE_TOKENIZERS = ("smollm", "gpt-2", "qwen2", "llama-bpe")
"""How texts are cut before merges; `gguf_tokenizer` builds each."""
TOKENS, MERGES, TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type"
WAY_OUT = "convert it to a folder in Hugging Face's layout elsewhere, or use another model"


def check_gguf(path: Path) -> GgufHeader:
    """The header of a file that can be a backbone.

    Raises:
        ParameterError: when it is damaged or cut short, or its architecture, tensors or tokenizer are not those that
            are read here; each by name.
    """
    header = read_gguf_header(path)
    if problem := _problem(header):
        raise ParameterError(f"policy.backbone: {path} {problem}; {WAY_OUT}")
    return header


def _problem(header: GgufHeader) -> str | None:
    """What is wrong with a sound file, None where nothing is."""
    architecture = header.architecture
    if architecture not in LAYER_TENSORS:
        return f"is of the architecture {architecture}; {', '.join(LAYER_TENSORS)} are read"
    for name in NUMBERS:
        value = header.metadata.get(f"{architecture}.{name}")
        if not isinstance(value, int | float):
            return f"does not say its {architecture}.{name}"
        if not value > 0:
            return f"says that its {architecture}.{name} is {value}"
    scaling = header.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none":
        return f"scales its rotary positions ({scaling}), which is not read"
    return _wrong_rotation(header) or _wrong_tensors(header) or _wrong_tokenizer(header)


def _wrong_rotation(header: GgufHeader) -> str | None:
    """Positions that turn a part of each head only would be read as if they turned all of it."""
    architecture = header.architecture
    width, heads = (
        header.number(f"{architecture}.{name}") or 0 for name in ("embedding_length", "attention.head_count")
    )
    head_size = header.number(f"{architecture}.attention.key_length") or width // max(heads, 1)
    turned = header.number(f"{architecture}.rope.dimension_count")
    if turned is not None and turned != head_size:
        return f"turns {turned} of the {head_size} entries of a head by position, which is not read"
    return None


def _wrong_tensors(header: GgufHeader) -> str | None:
    num_layers = header.number(f"{header.architecture}.block_count") or 0
    expected = set()
    for name in _tensor_names(header.architecture, num_layers):
        if name not in header.tensors:  # at the first: a damaged file may say that it has billions of layers
            return f"lacks the tensor {name}"
        expected.add(name)
    if unknown := sorted(header.tensors.keys() - expected - {HEAD}):
        return f"has {len(unknown)} tensors that {header.architecture} does not have here, first {unknown[0]}"
    for name, tensor in header.tensors.items():
        if 0 in tensor.shape:
            return f"has an empty tensor {name}"
        if tensor.kind not in KINDS:
            return f"has {name} in the number format {tensor.kind}, which is not read"
    return None


def _tensor_names(architecture: str, num_layers: int) -> Iterator[str]:
    yield from (EMBEDDINGS, FINAL_NORM)
    for layer in range(num_layers):
        yield from (f"blk.{layer}.{name}" for name in LAYER_TENSORS[architecture])


def _wrong_tokenizer(header: GgufHeader) -> str | None:
    kind, pre = (header.metadata.get(f"tokenizer.ggml.{name}") for name in ("model", "pre"))
    if kind is None:
        return "has no tokenizer"
    if kind != BYTE_LEVEL:
        return f"has a tokenizer of the kind {kind}; {BYTE_LEVEL} (byte-level BPE) is read"
    if pre not in PRE_TOKENIZERS:
        return f"cuts texts as {pre} before merging; {', '.join(PRE_TOKENIZERS)} are read"
    tokens, num_rows = header.texts(TOKENS), header.tensors[EMBEDDINGS].shape[0]
    if len(set(tokens)) != num_rows:
        return f"has {len(set(tokens))} distinct tokens for {num_rows} rows of embeddings"
    if not header.texts(MERGES):
        return f"has no {MERGES}"
    known = set(tokens)
    for merge in header.texts(MERGES):
        first, _, second = merge.partition(" ")
        if not {first, second, first + second} <= known:
            return f"merges {merge!r}, which are no tokens of its own"
    types = header.metadata.get(TOKEN_TYPES)
    if isinstance(types, list) and len(types) != len(tokens):
        return f"has {len(types)} types for {len(tokens)} tokens"
    for name in ("bos", "eos"):
        index = header.number(f"tokenizer.ggml.{name}_token_id")
        if index is not None and not 0 <= index < len(tokens):
            return f"says that its {name} is token {index} of {len(tokens)}"
    return None
