"""The node of the promote pipeline. torch and MLflow are imported inside, so that listing pipelines stays quick."""

from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.data.windows import Windows
from flag_kedro.env.split import MarketSplit
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.registry import CHALLENGER, CHAMPION, fetch, find, point, register, tag_version


def promote_policy(
    split: MarketSplit, backbone: Path, policy: Path, backtest: BacktestConfig, runtime: RuntimeConfig, seed: int
) -> dict[str, Any]:
    """Register the policy on disk, and make it champion where it beats the one there is on the validation window.

    Raises:
        MadeOtherwiseError: when either was trained on other symbols, windows or costs than are read now.
    """
    from flag_kedro.policy.bundle import check_facts, load_policy, read_description
    from flag_kedro.ppo.device import prepare_torch
    from flag_kedro.serving.promote import compare

    description = read_description(policy)
    facts = {"symbols": list(split.states), "env": split.env.facts(), "windows": description["windows"]}
    check_facts(description, facts)
    trained = replace(split, given=Windows.from_text(description["windows"]))
    device = prepare_torch(runtime)
    challenger = load_policy(policy, backbone, device)
    own_hash, current = folder_hash(policy), find(CHAMPION)
    with TemporaryDirectory() as folder:
        champion = None
        if current is not None and current.policy_hash != own_hash:
            earlier = fetch(CHAMPION, Path(folder))
            check_facts(read_description(earlier), facts, location=f"models:/flag_kedro@{CHAMPION}")
            champion = load_policy(earlier, backbone, device)
        found = compare(challenger, champion, trained, backtest.bootstrap_draws, seed)
    if current is not None and current.policy_hash == own_hash:
        return {
            "version": current.version,
            "market": split.market,
            "policy": own_hash,
            "already": True,
            **asdict(found),
        }
    registered = register(policy, own_hash, backbone, {"log_return": found.log_return})
    tag_version(registered, {"market": split.market, "validation": found.reason})
    point(CHALLENGER, registered)
    if found.promoted:
        point(CHAMPION, registered)
    return {
        "version": registered.version,
        "market": split.market,
        "policy": own_hash,
        "already": False,
        **asdict(found),
    }
