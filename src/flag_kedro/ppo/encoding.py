"""Reading prompts ahead of training: the trunk's hidden states of each, kept in a folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.portfolio import holding_texts
from flag_kedro.env.prompt import account_texts
from flag_kedro.errors import ParameterError
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.ppo.device import prepare_torch
from flag_kedro.ppo.runtime import RuntimeConfig


def start_encoding(
    backbone: Path,
    prefixes: Sequence[str],
    env: EnvConfig,
    policy: PolicyConfig,
    runtime: RuntimeConfig,
    trunk_cache: Path,
) -> Iterator[int]:
    """Fill the folder of the trunk cache with a row for each of `prefixes`, yielding how many are done.

    Raises:
        ParameterError: when account texts have no closed vocabulary, or CUDA is asked for and there is none.
    """
    device = prepare_torch(runtime)
    model = build_actor_critic(backbone, policy, 0, device, open_trunk_cache(backbone, policy, device, trunk_cache))
    model.complete_rows(closed_account_texts(env))
    return model.encode(list(dict.fromkeys(prefixes)))


def texts_read_with_prompts(
    env: EnvConfig, policy: PolicyConfig, portfolio: PortfolioConfig | None = None
) -> list[str]:
    """Account texts behind which each prompt is read as soon as it is read at all, so that none is new later.

    All where rows are kept on disk, and where they are few: with the view `position`, and of a portfolio; none else.

    Raises:
        ParameterError: when rows are kept on disk and account texts are endless.
    """
    texts = None if portfolio is None else holding_texts(env.positions)
    if policy.trunk_cache == "disk":
        return texts or closed_account_texts(env)
    few = policy.trunk_cache == "ram" and policy.packing and (texts is not None or env.account_view == "position")
    return texts or closed_account_texts(env) if few else []


def closed_account_texts(env: EnvConfig) -> list[str]:
    """All texts that accounts can have.

    Raises:
        ParameterError: when they are endless.
    """
    texts = account_texts(env.account_view, env.positions)
    if texts is None:
        raise ParameterError(
            f"policy.trunk_cache=disk keeps every prompt with all account texts, but with env.account_view="
            f"{env.account_view} they are endless; set env.account_view to compact, or policy.trunk_cache to ram"
        )
    return texts
