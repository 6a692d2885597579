"""Nodes of the certify pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from pydantic import TypeAdapter

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import ParameterError
from flag_kedro.experiments.certificate import Certificate, CertificateRun
from flag_kedro.experiments.certificate import certify as judge
from flag_kedro.experiments.certificate_plot import plot_certificate
from flag_kedro.experiments.config import CertifyConfig
from flag_kedro.experiments.language_profile import language_profile
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.pipelines.certify.language import issue_language_certificate
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.source import find_backbone
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import log_metrics, set_tags

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.certificate_run import CertificateSettings
    from flag_kedro.experiments.finished import FinishedRows

logger = logging.getLogger(__name__)


def issue_certificate(
    certify: CertifyConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    policy: PolicyConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    certificate_rows: Path,
) -> dict[str, Any]:
    """Train on every seed's market and on its twin without a signal, and judge both against the rule."""
    from flag_kedro.experiments.certificate_run import CertificateSettings

    if certify.language:
        profile = language_profile(CertificateSettings(certify.symbols, simulated, features, env, policy, ppo, runtime))
        _refuse_other_gains(profile.simulated, env)
        return issue_language_certificate(profile, certify.seeds, certificate_rows)
    simulated = _of_certificate(simulated, certify)
    if simulated.rule().signal == 0.0:
        raise ParameterError("simulated.signal is 0: there is nothing to learn, so nothing to certify; set it above 0")
    _refuse_other_gains(simulated, env)
    budget = replace(
        ppo, total_timesteps=certify.total_timesteps, patience=certify.patience, num_processes=1, num_machines=1,
        rendezvous=None, fsdp=False,
    )  # fmt: skip
    policy = replace(policy, trunk_cache="ram") if policy.trunk_cache == "disk" else policy
    shown = replace(features, digest_sessions=certify.digest_sessions)
    settings = CertificateSettings(certify.symbols, simulated, shown, env, policy, budget, replace(runtime, threads=1))
    finished = _open_rows(settings, certificate_rows)
    rows = []
    with progress_bar("trainings", 2 * len(certify.seeds)) as advance:
        for row in _runs(settings, certify.seeds, finished, partial(advance, 0)):
            rows.append(row)
            advance()
            _report(row)
    certificate = judge(rows)
    summary = {"oracle_share_median": certificate.oracle_share_median, "clean_twins": certificate.clean_twins}
    defined = {f"certify/{name}": value for name, value in summary.items() if value is not None}
    log_metrics(defined | {"certify/passed": float(certificate.passed)}, 0, int(time.time() * 1000))
    set_tags({"certificate": "passed" if certificate.passed else "failed"})
    return asdict(replace(certificate, key=finished.key))


def _open_rows(settings: "CertificateSettings", folder: Path) -> "FinishedRows":
    """Where rows of the certificate wait, those of an interrupted one included."""
    from flag_kedro.experiments.finished import FinishedRows, experiment_key

    simulated = TypeAdapter(SimulatedConfig).dump_python(settings.simulated, mode="json")
    facts = {"certificate": "market", "symbols": settings.symbols, "simulated": simulated}
    facts |= {"backbone": asdict(find_backbone(settings.policy).origin)}
    facts |= {"features": asdict(settings.features), "env": settings.env.facts()}
    key = experiment_key(facts, settings.policy, settings.ppo, settings.runtime)
    return FinishedRows(folder, key, resume=settings.ppo.resume == "auto")


def _runs(
    settings: "CertificateSettings", seeds: tuple[int, ...], finished: "FinishedRows", on_wait: Callable[[], None]
) -> Iterator[CertificateRun]:
    """The run of every seed's market and of its twin, known or new, as it is there; each on one thread."""
    from flag_kedro.experiments.certificate_run import run_certificate_market
    from flag_kedro.experiments.fan_out import Task, fan_out
    from flag_kedro.experiments.same_backbone import fetching

    tasks = []
    for planted in (True, False):
        for seed in seeds:
            name = f"{'market' if planted else 'twin'}-{seed}"
            if (known := finished.get(name)) is not None:
                yield CertificateRun(**known)
                continue
            work = partial(run_certificate_market, settings, seed, planted=planted)
            tasks.append(Task(name, fetching(settings.policy, settings.runtime, work)))
    with closing(fan_out(tasks, settings.runtime, on_wait)) as results:
        for index, run in results:
            yield CertificateRun(**finished.put(tasks[index].name, asdict(run)))


def _report(row: CertificateRun) -> None:
    logger.info("seed %d %s", row.seed, _said(row))
    if row.informative:
        kind = "certify/share" if row.planted else "certify/twin_log_return"
        value = row.share if row.planted else row.log_return
        assert value is not None
        log_metrics({kind: value}, row.seed, int(time.time() * 1000))


def _of_certificate(simulated: SimulatedConfig, certify: CertifyConfig) -> SimulatedConfig:
    """The certificate's markets: of its own preset, without drift unless one was given."""
    drift = 0.0 if simulated.drift is None else simulated.drift
    regimes = 0 if simulated.regime_sessions is None else simulated.regime_sessions
    return replace(simulated, market=certify.market, drift=drift, regime_sessions=regimes)


def _refuse_other_gains(simulated: SimulatedConfig, env: EnvConfig) -> None:
    """Refuse what pays without reading: the oracle, by which a policy is measured, leaves it out.

    Raises:
        ParameterError: naming the parameters.
    """
    wrong = {
        "simulated.drift": (simulated.rule().drift, 0.0),
        "env.cash_rate": (env.cash_rate, 0.0),
        "env.positions": (env.positions, "long_flat"),
    }
    lines = [f"{name} is {value}, must be {needed}" for name, (value, needed) in wrong.items() if value != needed]
    if lines:
        raise ParameterError(f"a certificate measures what headlines earn a long or flat account: {'; '.join(lines)}")


def draw_certificate(certificate: dict[str, Any]) -> go.Figure:
    """Learning curves and shares of all seeds, or who reads."""
    if certificate.get("kind") == "language":
        from flag_kedro.experiments.language_certificate import LanguageCertificate
        from flag_kedro.experiments.language_plot import plot_language_certificate

        return plot_language_certificate(LanguageCertificate.from_json(certificate))
    return plot_certificate(Certificate.from_json(certificate))


def keep_language_certificate(certificate: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    """The last certificate that was one of language: what each reader took on every seed and level, then all of it."""
    if certificate.get("kind") != "language":
        return {} if earlier is None else earlier
    readers = certificate["readers"]
    shares = {
        each["reader"]: {"median": each["median_share"], "per_seed": list(each["shares"].values())} for each in readers
    }
    levels = {each["reader"]: each["by_level"] for each in readers}
    return {"passed": certificate["passed"], "shares": shares, "levels": levels, **certificate}


def _said(row: CertificateRun) -> str:
    if not row.informative:
        oracle, held = row.oracle_t, row.buy_and_hold_share
        return (
            f"says nothing and is left out: the oracle's t is {oracle:.1f}, buy and hold takes {held:.2f} of its return"
        )
    if row.planted:
        return f"takes {row.share:.2f} of the oracle's log return of {row.oracle_log_return:.2f}"
    where = "its path never changes" if row.shift_percentile is None else f"percentile {row.shift_percentile:.2f}"
    return f"without a signal earns {row.log_return:+.2f}; among shifts of its path: {where}"
