"""Weights, tokenizer and configuration that do not belong together, refused when a backbone is taken over."""

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from flag_kedro.errors import ParameterError

WAY_OUT = "copy the whole model again, all files from one place"


def check_parts(model: PreTrainedModel, tokenizer: Tokenizer, name: str) -> None:
    """Refuse a model whose weights are no numbers, or whose embeddings lack tokens.

    Args:
        model: as its files have it.
        tokenizer: likewise.
        name: what the user called it.

    Raises:
        ParameterError: naming the tensor, or the tokens.
    """
    for tensor, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            wrong = int((~torch.isfinite(weight)).sum())
            raise ParameterError(
                f"policy.backbone: {wrong:,} of the {weight.numel():,} weights {tensor} of {name} are NaN or infinite; "
                f"{WAY_OUT}"
            )
    rows = model.get_input_embeddings().weight.shape[0]
    ids = tokenizer.get_vocab(with_added_tokens=True)
    beyond = sorted(token for token, number in ids.items() if number >= rows)
    if beyond:
        raise ParameterError(
            f"policy.backbone: {len(beyond):,} tokens of {name} have no embedding, such as {beyond[0]!r}: tokens "
            f"go up to {max(ids.values())}, the weights have {rows:,} rows; {WAY_OUT}"
        )
    begin = getattr(model.config, "bos_token_id", None)
    if begin is not None and begin >= rows:
        raise ParameterError(
            f"policy.backbone: config.json of {name} begins texts with token {begin}, the weights have {rows:,} rows; "
            f"{WAY_OUT}"
        )
