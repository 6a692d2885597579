"""What a language certificate is run with, unless something else is asked for."""

from dataclasses import replace
from typing import TYPE_CHECKING

from flag_kedro.data.headlines import COMPANIES
from flag_kedro.names import SMOLLM2, TINY

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.certificate_run import CertificateSettings

SYMBOLS = ("ALDR", "BRIX", "CORV", "DUNE")
"""Of each market, unless `certify.symbols` names others; reading all twelve takes three times as long."""
NUM_LAYERS, FROZEN_LAYERS = 20, 19
"""Of SmolLM2's thirty: two thirds of the depth read wordings best (docs/experiments.md), and with one layer that learns
an update costs next to nothing."""
NUM_ENVS, NUM_STEPS, MINIBATCH_SIZE, UPDATE_EPOCHS = 16, 128, 256, 4
TOTAL_TIMESTEPS, VALIDATION_INTERVAL = 65_536, 2
LEARNING_RATE, HEAD_LEARNING_RATE, ENT_COEF = 1e-4, 1e-3, 0.1
"""Chosen on the validation windows of two markets that no certificate uses (docs/experiments.md)."""


def language_profile(settings: "CertificateSettings") -> "CertificateSettings":
    """The settings of a language certificate: its own preset of the market, and SmolLM2 where the backbone is `tiny`.

    Other parameters of the market keep what was given, and another backbone the run's own `policy` and `ppo`.

    Args:
        settings: the run's parameters.
    """
    settings = replace(settings, simulated=replace(settings.simulated, market="language"))
    if settings.policy.backbone != TINY:
        return settings
    policy = replace(
        settings.policy,
        backbone=SMOLLM2,
        num_layers=NUM_LAYERS,
        frozen_layers=FROZEN_LAYERS,
        readout="lines",
        dtype="bfloat16",
        trunk_cache="ram",
    )
    ppo = replace(
        settings.ppo,
        num_envs=NUM_ENVS,
        num_steps=NUM_STEPS,
        minibatch_size=MINIBATCH_SIZE,
        total_timesteps=TOTAL_TIMESTEPS,
        update_epochs=UPDATE_EPOCHS,
        learning_rate=LEARNING_RATE,
        head_learning_rate=HEAD_LEARNING_RATE,
        ent_coef=ENT_COEF,
        validation_interval=VALIDATION_INTERVAL,
    )
    env = replace(settings.env, account_view="position")
    symbols = SYMBOLS if settings.symbols == tuple(COMPANIES) else settings.symbols
    return replace(settings, env=env, policy=policy, ppo=ppo, symbols=symbols)
