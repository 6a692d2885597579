"""Nodes of the training pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flag_kedro.datasets.folders import WritesFolder
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.features.history import describe_history
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.pipelines.training.progress import follow_training
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.history import best_validation, wall_times, without_wall_times
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.inputs import log_windows
from flag_kedro.tracking.interrupts import stop_if_asked
from flag_kedro.tracking.log import run_id, set_tags, store_may_fail

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backbone:
    """A backbone still to be written."""

    config: PolicyConfig
    texts: list[str]
    seed: int

    def write(self, folder: Path) -> None:
        """Build or fetch it into `folder`."""
        from flag_kedro.policy.backbone import write_backbone

        set_tags({"backbone_origin": str(write_backbone(self.config, self.texts, self.seed, folder))})


def prepare_backbone(split: MarketSplit, policy: PolicyConfig, seed: int) -> WritesFolder:
    """Build or fetch the backbone; the tiny tokenizer learns from prompts of the training window alone."""
    from flag_kedro.experiments.training import tokenizer_prompts

    return Backbone(policy, tokenizer_prompts(split), seed)


@dataclass(frozen=True)
class TrunkRows:
    """What the trunk says of some prompts, still to be written."""

    backbone: Path
    prefixes: list[str]
    by_symbol: dict[str, list[str]]
    """The same, each symbol's."""
    env: EnvConfig
    policy: PolicyConfig
    runtime: RuntimeConfig

    def write(self, folder: Path) -> None:
        """Add the rows that `folder` lacks."""
        if self.runtime.engine == "ray":
            self._write_on_ray(folder)
            return
        from flag_kedro.ppo.encoding import start_encoding

        with progress_bar("reading prompts", len(self.prefixes)) as advance:
            rows = start_encoding(self.backbone, self.prefixes, self.env, self.policy, self.runtime, folder)
            before = None
            for done in rows:
                if before is None:
                    logger.info("%d of %d prompts are in %s already", done, len(self.prefixes), folder)
                advance(done - (before or 0))
                before = done

    def _write_on_ray(self, folder: Path) -> None:
        """The same rows, the prompts of several symbols at once."""
        from flag_kedro.experiments.encoding_tasks import EncodingFolders, encode_symbols

        folders = EncodingFolders(self.backbone, folder)
        total, before = sum(map(len, self.by_symbol.values())), 0
        with progress_bar("reading prompts", total) as advance:
            symbols = encode_symbols(folders, self.by_symbol, self.env, self.policy, self.runtime, partial(advance, 0))
            with closing(symbols):
                for rows, known in symbols:
                    before += known
                    advance(rows)
        logger.info("%d of %d prompts were in %s already", before, total, folder)


@dataclass(frozen=True)
class NoRows:
    """Nothing to write ahead of training."""

    def write(self, folder: Path) -> None:
        """Leave `folder` as it is."""


def encode_trunk(split: MarketSplit, backbone: Path, policy: PolicyConfig, runtime: RuntimeConfig) -> WritesFolder:
    """Read every prompt of all windows once with all account texts, where `policy.trunk_cache` is `disk`."""
    if policy.trunk_cache != "disk":
        logger.info("policy.trunk_cache is %s: no prompt is read ahead", policy.trunk_cache)
        return NoRows()
    windows = [window for window in (split.train, split.validation, split.test) if window is not None]
    prefixes = dict.fromkeys(text for window in windows for texts in window.prefixes for text in texts)
    by_symbol: dict[str, dict[str, None]] = {}
    for window in windows:
        for symbol, texts in zip(window.symbols, window.prefixes, strict=True):
            by_symbol.setdefault(symbol, {}).update(dict.fromkeys(texts))
    listed = {symbol: list(texts) for symbol, texts in by_symbol.items()}
    return TrunkRows(backbone, list(prefixes), listed, split.env, policy, runtime)


def train_policy(
    split: MarketSplit,
    backbone: Path,
    trunk_cache: Path,
    checkpoints: Path,
    settings: RunSettings,
    seed: int,
) -> tuple[WritesFolder, list[dict[str, float]], list[dict[str, float]]]:
    """Train on the training window, or go on where the same training was stopped.

    Returns:
        The bundle, and one row per update twice: its wall times, and its other metrics, which the same training
        always repeats.
    """
    from flag_kedro.experiments.training import run_training, training_spec
    from flag_kedro.policy.bundle import TrainedPolicy
    from flag_kedro.ppo.checkpoint_key import open_checkpoints

    facts = split.facts | {"seed": seed}
    set_tags({"data_hash": split.data_hash})
    log_windows(split, "train", "validation")
    if split.validation is None:
        logger.warning(
            "no validation window: the last weights are kept (set data.windows.validation to choose the best)"
        )
    policy, ppo, runtime = settings.policy, settings.ppo, settings.runtime
    saved = open_checkpoints(checkpoints, facts, backbone, policy, ppo, runtime, run_id())
    try:
        spec = training_spec(split, backbone, trunk_cache, settings, seed)
        with follow_training(ppo.num_updates(len(split.train.symbols))) as on_update:
            model, history = run_training(spec, checkpoints=saved, on_update=on_update)
    finally:
        saved.close()
        if saved.resumed_from is not None:
            set_tags({"resumed_from": saved.resumed_from})
    told = {"history": describe_history(split.states, split.windows)}
    bundle = TrainedPolicy(model, backbone, facts | told | {"ppo": ppo.learning(), "market": split.market})
    return bundle, [wall_times(row) for row in history], [without_wall_times(row) for row in history]


def log_policy_model(policy: Path, backbone: Path, training_history: list[dict[str, float]]) -> None:
    """Log the policy that was kept as a model of MLflow's run, which `promote` can register."""
    from flag_kedro.tracking.registry import log_policy

    if run_id() is None:
        return
    best = best_validation(training_history)
    with store_may_fail("the policy is not among MLflow's models; kedro run --pipelines=promote adds it"):
        log_policy(policy, folder_hash(policy), backbone, {} if best is None else {"summed_log_return": best})


def train_text_baseline(split: MarketSplit, policy: Path, settings: RunSettings, seed: int) -> WritesFolder:
    """Train the bag-of-words policy as `policy` was trained: same data, windows, budget and seed."""
    from flag_kedro.experiments.training import text_baseline_training
    from flag_kedro.policy.bag_of_words import TrainedBagOfWords
    from flag_kedro.policy.bundle import check_facts, read_description

    facts = split.facts | {"seed": seed}
    check_facts(read_description(policy), facts)
    model, updates = text_baseline_training(split, settings, seed)
    for _ in updates:  # its curves are not logged: they would mix with the language model's
        stop_if_asked()
    return TrainedBagOfWords(model, facts)
