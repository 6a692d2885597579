"""The tokenizer that a GGUF file describes.

Built from its vocabulary and merges, because transformers' own conversion leaves out that smollm reads every digit
alone: blanks before digits would become other tokens than those the model learned from.
"""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from flag_kedro.policy.gguf_check import MERGES, TOKEN_TYPES, TOKENS
from flag_kedro.policy.gguf_header import GgufHeader

CONTROL, USER_DEFINED = 3, 4
"""Types of tokens that are never cut: those no text can spell, and those found in texts."""
_LETTERS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN2_PIECES = _ENDINGS + _LETTERS + r"|\p{N}" + _REST
LLAMA3_PIECES = _ENDINGS + _LETTERS + r"|\p{N}{1,3}" + _REST


def build_gguf_tokenizer(header: GgufHeader) -> PreTrainedTokenizerFast:
    """The tokenizer of a file that `gguf_check.check_gguf` let pass."""
    pre, tokens = header.metadata["tokenizer.ggml.pre"], header.texts(TOKENS)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [(first, second) for first, _, second in (merge.partition(" ") for merge in header.texts(MERGES))]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = _pre_tokenizer(str(pre))
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    types = header.metadata.get(TOKEN_TYPES)
    if isinstance(types, list):
        tokenizer.add_special_tokens(_added(tokens, types, CONTROL, special=True))
        tokenizer.add_tokens(_added(tokens, types, USER_DEFINED, special=False))
    named = {f"{name}_token": header.number(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    special = {name: tokens[index] for name, index in named.items() if index is not None}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _pre_tokenizer(pre: str) -> pre_tokenizers.PreTokenizer:
    if pre == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    if pre == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces = pre_tokenizers.Split(Regex(QWEN2_PIECES if pre == "qwen2" else LLAMA3_PIECES), "isolated")
    return pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _added(tokens: Sequence[str], types: Sequence[object], wanted: int, *, special: bool) -> list[AddedToken]:
    chosen = [token for token, kind in zip(tokens, types, strict=True) if kind == wanted]
    return [AddedToken(token, normalized=False, special=special) for token in chosen]
