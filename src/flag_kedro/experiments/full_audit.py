"""The full audit: is everything that a backtest rests on, its training included, the same when the future is missing?

The source's own tables are cut at a time, then validated, turned into states, and everything is fitted, trained and
decided anew. Tokenizer, weights and all decisions up to that time must be, to the byte, those of the whole source.
"""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from flag_kedro.backtest.audit import choose_cuts, compare_replays
from flag_kedro.backtest.audit_results import MAX_LISTED, AuditDifference
from flag_kedro.backtest.corruptions import delete_later
from flag_kedro.backtest.replay import Replay
from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.windows import Windows
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments import training
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.config import AUDITED_CODE
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.experiments.strategies import Strategies
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import ALL_SYMBOLS, POLICY, TEXT_LINEAR_PPO
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import hash_files
from flag_kedro.ppo.code_hash import code_hash
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import without_wall_times
from flag_kedro.ppo.runtime import RuntimeConfig

FIRST_CUT = 2
"""Sessions of the test window that the first cut leaves; what was fitted on more of it then comes out differently."""
VALIDATIONS = 5
"""Of each training, so that weights are chosen among several."""
FITTED = {
    "backbone": POLICY,
    "training_windows": POLICY,
    "policy": POLICY,
    "training_history": POLICY,
    "text_baseline": TEXT_LINEAR_PPO,
}
"""What is compared besides prompts, decisions and fills, and whose it is. Windows and history count, since a window
that ends too late may choose the same weights."""
OnStage = Callable[[str], None]
OnUpdate = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class FullAuditCheck:
    """The source cut at one time."""

    known_at: str
    """Close of a session of the test window, after which the source is cut, ISO 8601."""
    compared: dict[str, int]
    """Rows compared: `prompts`, `decisions`, `fills`; and `fitted`, the entries of `FITTED`."""
    num_differences: int
    differences: list[AuditDifference]
    """The first ten; `what` is one of the first three, or a name of `FITTED`."""


@dataclass(frozen=True, kw_only=True)
class FullAudit:
    """All checks, and of what they were made; `full_audit.json`."""

    passed: bool
    checks: list[FullAuditCheck]
    facts: dict[str, Any]
    """Of the job on the whole source: symbols, data hash, windows, environment, as a bundle's; and the `seed`."""
    code_hash: str
    """Of all code that it audits (`ppo.code_hash`)."""
    total_timesteps: int
    """Account-decisions of each training."""


@dataclass(frozen=True)
class Job:
    """All parameters of a run from the source to its backtest."""

    market: MarketConfig
    store: Path
    """Folder of the source's downloads."""
    features: FeaturesConfig
    env: EnvConfig
    policy: PolicyConfig
    ppo: PPOConfig
    runtime: RuntimeConfig
    seed: int

    def shortened(self, total_timesteps: int) -> "Job":
        """The same with a small budget, one process, and nothing kept on disk or gone on with."""
        ppo = replace(
            self.ppo, total_timesteps=min(total_timesteps, self.ppo.total_timesteps), resume="never",
            num_processes=1, num_machines=1, rendezvous=None, fsdp=False,
        )  # fmt: skip
        policy = replace(self.policy, trunk_cache="ram") if self.policy.trunk_cache == "disk" else self.policy
        return replace(self, ppo=ppo, policy=policy)


@dataclass(frozen=True)
class Outcome:
    """What a job comes to."""

    split: MarketSplit
    fitted: Mapping[str, str]
    """A hash for each name of `FITTED`."""
    replays: Mapping[str, Replay]

    @property
    def decided_at(self) -> pl.DataFrame:
        """`symbol`, `session`, `decided_at` of every decision of any strategy in the test window."""
        decided = pl.concat([replay.decisions.select("symbol", "session") for replay in self.replays.values()])
        states = pl.concat(table.select("symbol", "session", "decided_at") for table in self.split.states.values())
        return states.join(decided, on=["symbol", "session"], how="semi")


def audit_from_source(
    job: Job, times: int, now: datetime, on_stage: OnStage = lambda stage: None, on_update: OnUpdate = lambda: None
) -> FullAudit:
    """Do the job on the whole source and on the source cut at some times of the test window.

    Args:
        job: with the budget that each training shall have.
        times: how many cuts; the first leaves two sessions of the test window, the others are drawn as
            `backtest.audit.choose_cuts` draws them.
        now: time of the run (UTC).
        on_stage: told in words what was done, after the job on the whole source and on each cut.
        on_update: called after each update of each training.

    Raises:
        DataError, ParameterError: as the run itself would.
        TrainingError: when learning cannot go on.
    """
    whole = do_job(job, now, on_update=on_update)
    on_stage("trained and decided on the whole source")
    decided_at = whole.decided_at
    checks = []
    for cut in _cuts(decided_at, times, job.seed):
        known = do_job(job, now, cut, _windows_by(whole.split.windows, decided_at, cut), on_update)
        checks.append(_compare(whole, known, cut))
        on_stage(
            f"trained and decided on what was known at {cut:%Y-%m-%d %H:%M} UTC: {checks[-1].num_differences} differ"
        )
    return FullAudit(
        passed=not any(check.num_differences for check in checks),
        checks=checks,
        facts=whole.split.facts | {"seed": job.seed},
        code_hash=code_hash(AUDITED_CODE),
        total_timesteps=job.ppo.total_timesteps,
    )


def do_job(
    job: Job,
    now: datetime,
    until: datetime | None = None,
    windows: Windows | None = None,
    on_update: OnUpdate = lambda: None,
) -> Outcome:
    """Read the source, build states, fit the tokenizer, train, and replay the test window.

    Args:
        job: parameters.
        now: time of the run (UTC).
        until: leave out of the source what became known later; None reads all.
        windows: instead of the job's own; None resolves those.
        on_update: called after each update.
    """
    market = load_market(job.market, job.store, now, until)
    names = {symbol: list(aliases) for symbol, aliases in market.names.items()}
    tables = MarketTables(market.prices, market.news, names, market.universe, job.features)
    if until is not None:  # leaves out symbols that have no state yet
        tables = delete_later(tables, until, np.random.default_rng(job.seed))
    split = MarketSplit.of(tables.build_states(), job.market.data, job.env, num_warming=job.features.num_warming)
    split = replace(split, given=windows)
    interval = max(1, job.ppo.num_updates(len(split.train.symbols)) // VALIDATIONS)
    ppo = replace(job.ppo, validation_interval=interval)
    settings = RunSettings(split.env, job.policy, ppo, job.runtime, split.calendars)
    with tempfile.TemporaryDirectory() as folder:
        backbone = Path(folder)
        write_backbone(job.policy, training.tokenizer_prompts(split), job.seed, backbone)
        spec = training.training_spec(split, backbone, None, settings, job.seed)
        model, history = training.run_training(spec, on_update=lambda row: on_update())
        words, updates = training.text_baseline_training(split, settings, job.seed)
        with closing(updates):
            for _ in updates:
                on_update()
        fitted = {
            "backbone": sha256(repr(hash_files(backbone)).encode()).hexdigest(),
            "training_windows": sha256(repr((_content(spec.window), _content(spec.validation))).encode()).hexdigest(),
            "policy": weights_hash(model),
            "training_history": sha256(repr([without_wall_times(row) for row in history]).encode()).hexdigest(),
            "text_baseline": weights_hash(words),
        }
        policies = {POLICY: CachedPolicy(model.decide, model.read_ahead), TEXT_LINEAR_PPO: CachedPolicy(words.decide)}
        openers = {name: (lambda policy=policy: policy) for name, policy in policies.items()}
        replays = Strategies(openers, None, split, job.seed).play(tables.prices, split.states)
    return Outcome(split, fitted, replays)


def weights_hash(model: torch.nn.Module) -> str:
    """sha256 over all weights of a model, by name."""
    digest = sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _content(window: TradingWindow | None) -> list[str]:
    """All that a window holds, as text or hashes."""
    if window is None:
        return []
    values = (getattr(window, field.name) for field in fields(window))
    return [sha256(v.tobytes()).hexdigest() if isinstance(v, np.ndarray) else repr(v) for v in values]


def _cuts(decided_at: pl.DataFrame, times: int, seed: int) -> list[datetime]:
    """When every symbol has decided twice; and as many later times as are missing."""
    second = (
        decided_at.group_by("symbol").agg(pl.col("decided_at").sort().slice(0, FIRST_CUT).last())["decided_at"].max()
    )
    assert isinstance(second, datetime)
    later = decided_at.filter(pl.col("decided_at") >= second)
    return [second, *(choose_cuts(later, times - 1, seed) if times > 1 else [])]


def _windows_by(windows: Windows, decided_at: pl.DataFrame, cut: datetime) -> Windows:
    """The windows of the whole source, of which the last ends with the cut."""
    last = decided_at.filter(pl.col("decided_at") <= cut)["session"].max()
    assert isinstance(last, date)
    return replace(windows, test=(windows.test[0], last))


def _compare(whole: Outcome, known: Outcome, cut: datetime) -> FullAuditCheck:
    """What differs between the job on the whole source and on what was known of it."""
    decided_at = pl.concat([whole.decided_at, known.decided_at]).filter(pl.col("decided_at") <= cut)
    sessions = decided_at.select("symbol", "session").unique()
    compared, differences = compare_replays(whole.replays, known.replays, sessions)
    fitted = [
        AuditDifference(what=name, strategy=strategy, symbol=ALL_SYMBOLS, session=cut.date().isoformat())
        for name, strategy in FITTED.items()
        if whole.fitted[name] != known.fitted[name]
    ]
    return FullAuditCheck(
        known_at=cut.isoformat(),
        compared=compared | {"fitted": len(whole.fitted)},
        num_differences=len(fitted) + len(differences),
        differences=[*fitted, *differences][:MAX_LISTED],
    )
