"""A GGUF file as an ordinary folder in Hugging Face's layout: its weights dequantised, in float32."""

import logging
import time
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from flag_kedro.errors import ParameterError
from flag_kedro.policy.backbone_cache import made_once
from flag_kedro.policy.backbone_check import check_parts
from flag_kedro.policy.gguf_check import WAY_OUT, check_gguf
from flag_kedro.policy.gguf_header import GgufHeader
from flag_kedro.policy.gguf_tokenizer import build_gguf_tokenizer
from flag_kedro.policy.manifest import hash_file
from flag_kedro.policy.origin import BackboneOrigin, write_origin
from flag_kedro.policy.smollm2 import install_hint

logger = logging.getLogger(__name__)

LAYOUT = 1
"""Raise it when the same file becomes another folder."""
OF_THE_FILE = ("quantization_config", "_name_or_path", "_model_name_or_path")
"""What transformers notes in a config that it read from GGUF; with it, a model cannot be saved."""


def convert_gguf(path: Path, origin: BackboneOrigin) -> Path:
    """The folder that a GGUF file becomes, kept for later runs.

    Args:
        path: of the file.
        origin: what to note in the folder; the hash that it names must be the file's.

    Raises:
        ParameterError: when the file has another hash, or is one that is not read here.
    """
    sha256 = origin.sha256 or hash_file(path)

    def make(folder: Path) -> None:
        if hash_file(path) != sha256:
            raise ParameterError(f"policy.backbone: {path} is damaged: its sha256 is not {sha256}; {install_hint()}")
        _write_folder(path, check_gguf(path), folder)
        write_origin(replace(origin, sha256=sha256), folder)

    return made_once(f"{path.stem}-{sha256[:16]}-{LAYOUT}", make)


def _write_folder(path: Path, header: GgufHeader, folder: Path) -> None:
    """Fill an empty folder with configuration, tokenizer and weights."""
    logger.info("reading %s once; later runs find its weights", path.name)
    started = time.perf_counter()
    head_dim = header.number(f"{header.architecture}.attention.key_length")
    unread = {} if head_dim is None else {"head_dim": head_dim}  # transformers takes Qwen3's to be 128
    try:
        tokenizer = build_gguf_tokenizer(header)
        read = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            **unread,
        )
        model = _unquantised(read, header)
        check_parts(model, tokenizer.backend_tokenizer, path.name)
    except ParameterError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ParameterError(f"policy.backbone: transformers cannot read {path} ({reason}); {WAY_OUT}") from error
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder, max_shard_size="100GB")
    logger.info("read %s in %.0f s", path.name, time.perf_counter() - started)


def _unquantised(read: PreTrainedModel, header: GgufHeader) -> PreTrainedModel:
    """The same model without what keeps transformers from saving it.

    The ids of special tokens are the file's: a configuration has defaults of its own where it says nothing.
    """
    config = read.config
    if config.model_type != header.architecture:
        raise ValueError(f"it is taken for {config.model_type}, not {header.architecture}")
    for name in OF_THE_FILE:
        config.__dict__.pop(name, None)
    for name in ("bos", "eos"):
        setattr(config, f"{name}_token_id", header.number(f"tokenizer.ggml.{name}_token_id"))
    model: PreTrainedModel = type(read)(config)
    model.load_state_dict(read.state_dict(), strict=True)
    model.tie_weights()
    return model
