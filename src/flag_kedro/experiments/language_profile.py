"""What a language certificate is run with, unless something else is asked for."""

from dataclasses import replace
from typing import TYPE_CHECKING

from flag_kedro.names import SMOLLM2, TINY

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.certificate_run import CertificateSettings

SYMBOLS = ("ALDR", "BRIX", "CORV", "DUNE")
"""Of each market; reading all twelve takes three times as long."""
NUM_LAYERS, FROZEN_LAYERS = 20, 19
"""Of SmolLM2's thirty: two thirds of the depth read wordings best (docs/experiments.md), and with one layer that learns
an update costs next to nothing."""


def language_profile(settings: "CertificateSettings") -> "CertificateSettings":
    """The settings of a language certificate: paraphrases, and SmolLM2 where the backbone is `tiny`.

    Another backbone keeps its own `policy` parameters.

    Args:
        settings: the run's parameters.
    """
    given = settings.simulated
    simulated = replace(
        given,
        language=given.language or "paraphrases",
        drift=0.0 if given.drift is None else given.drift,
        regime_sessions=0 if given.regime_sessions is None else given.regime_sessions,
    )
    policy, runtime, symbols = settings.policy, settings.runtime, settings.symbols
    if policy.backbone == TINY:
        policy = replace(
            policy,
            backbone=SMOLLM2,
            num_layers=NUM_LAYERS,
            frozen_layers=FROZEN_LAYERS,
            dtype="bfloat16",
            trunk_cache="ram",
        )
        runtime, symbols = replace(runtime, threads=max(2, runtime.threads)), SYMBOLS
    return replace(settings, simulated=simulated, policy=policy, runtime=runtime, symbols=symbols)
