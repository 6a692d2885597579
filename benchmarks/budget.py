"""The paper's training budget on real text, piece by piece: seconds an update, memory, and what all updates would take.

Trains with conf/paper (Table 3: 13,860 steps, one account, 40 steps a rollout, 8 parts a step, KL to the initial
policy) on InvestorBench's warm-up window. The first updates read prompts that the trunk's cache does not have
yet; all later ones are alike, so the budget is the first ones and so many of the others. With `--all` it is
trained to its end, which shows how good that sum is.

For a GPU there is arithmetic only: operations of a later update by a rate, and kernels by the time of a launch.

    python benchmarks/budget.py --data DIR --backbone tiny --all
    python benchmarks/budget.py --data DIR --backbone DIR --updates 4
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import yaml
from actor_critic_meters import count_flops, forget_peak
from real_text import peak_gb, prepare_backbone
from torch.utils._python_dispatch import TorchDispatchMode

from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.env.prompt import tokenizer_texts
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.window import TradingWindow
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.hooks.parameters import Settings, check_parameters
from flag_kedro.names import TINY
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.ppo.training import start_training
from flag_kedro.ppo.training_spec import TrainingSpec

Row = dict[str, Any]
CONF = Path(__file__).resolve().parents[1] / "conf"
CPU = torch.device("cpu")


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts calls of torch's operators, each of which is a kernel or a few on a GPU."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one call and do it."""
        self.count += 1
        return function(*args, **(kwargs or {}))


def paper_profile(arguments: argparse.Namespace) -> Settings:
    """conf/paper over conf/base, with the data and backbone of the command line."""
    merged = yaml.safe_load((CONF / "base" / "parameters.yml").read_text())
    for group, own in yaml.safe_load((CONF / "paper" / "parameters.yml").read_text()).items():
        merged[group] = merged[group] | own
    merged["data"] |= {"path": arguments.data, "symbols": [arguments.symbol]}
    merged["policy"] |= {"backbone": str(arguments.backbone)}
    if arguments.backbone == TINY:
        merged["policy"] |= {"frozen_layers": 1}
    if arguments.batch_tokens is not None:
        merged["policy"] |= {"batch_tokens": arguments.batch_tokens}
    merged["runtime"] |= {"device": "cpu", "threads": arguments.threads}
    return check_parameters(merged)


def warm_up(settings: Settings) -> TradingWindow:
    """The training window."""
    config = MarketConfig(settings.data, settings.news, settings.simulated, settings.files, settings.yahoo)
    market = load_market(config, Path(), datetime.now(UTC))
    names = {symbol: list(aliases) for symbol, aliases in market.names.items()}
    tables = MarketTables(market.prices, market.news, names, market.universe, settings.features)
    return MarketSplit.of(tables.build_states(), settings.data, settings.env).train


def backbone_folder(settings: Settings, window: TradingWindow, scratch: Path) -> Path:
    """The tiny backbone, built as a run builds it, or the folder that was named."""
    if settings.policy.backbone == TINY:
        write_backbone(settings.policy, tokenizer_texts(window.prefixes, settings.env.positions), 0, scratch)
        return scratch
    return prepare_backbone(Path(settings.policy.backbone), scratch)


def measure(arguments: argparse.Namespace, scratch: Path) -> Row:
    """Train some updates, or all, and say what each kind takes."""
    settings = paper_profile(arguments)
    window = warm_up(settings)
    scratch.mkdir()
    backbone = backbone_folder(settings, window, scratch)
    policy = replace(settings.policy, backbone=str(backbone) if arguments.backbone != TINY else TINY)
    total = settings.ppo.num_updates(1)
    begun, start = time.perf_counter(), forget_peak(CPU)
    spec = TrainingSpec(backbone, None, window, None, settings.env, policy, settings.ppo, settings.runtime, 0)
    _, updates = start_training(spec)
    ready = time.perf_counter() - begun
    kept, begun = [], time.perf_counter()
    for row in updates:
        kept.append(row)
        if len(kept) == arguments.updates and not arguments.all:
            break
    trained, peak = time.perf_counter() - begun, peak_gb(start)
    first, later = kept[: arguments.cold], kept[arguments.cold : arguments.updates]
    seconds = {name: mean(row[f"ppo/{name}_seconds"] for row in later) for name in ("rollout", "update")}
    cold = sum(row["ppo/rollout_seconds"] + row["ppo/update_seconds"] for row in first)
    projected = ready + cold + (total - len(first)) * sum(seconds.values())
    report: Row = {
        "sessions": int(window.num_sessions[0]),
        "updates": total,
        "steps": total * settings.ppo.num_steps,
        "start_seconds": ready,
        "first_updates_seconds": cold,
        "rollout_seconds": seconds["rollout"],
        "update_seconds": seconds["update"],
        "peak_memory_gb": peak,
        "projected_minutes": projected / 60,
    }
    if arguments.all:
        return report | {"measured_minutes": (ready + trained) / 60}
    launches = Launches()  # type: ignore[no-untyped-call]
    with launches:
        next(updates)
    operations = count_flops(lambda: next(updates))
    gpu = max(operations / (arguments.gpu_tflops * 1e12), launches.count * arguments.gpu_launch_us / 1e6)
    return report | {
        "gflop_an_update": operations / 1e9,
        "operator_calls_an_update": launches.count,
        "gpu_minutes_by_arithmetic": total * gpu / 60,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of InvestorBench's files")
    parser.add_argument("--symbol", default="MSFT")
    parser.add_argument("--backbone", default=TINY, help="tiny, or a folder with tokenizer.json and config.json")
    parser.add_argument("--updates", type=int, default=4, help="that are measured")
    parser.add_argument("--cold", type=int, default=2, help="of them that meet prompts for the first time")
    parser.add_argument("--all", action="store_true", help="train the whole budget")
    parser.add_argument("--batch-tokens", type=int, help="instead of the profile's policy.batch_tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu-tflops", type=float, default=20.0, help="rate assumed of a GPU in float32")
    parser.add_argument("--gpu-launch-us", type=float, default=10.0, help="time assumed of an operator's call there")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report = {"backbone": Path(arguments.backbone).name} | measure(arguments, Path(scratch) / "backbone")
    if arguments.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:28}{value:,.3f}" if isinstance(value, float) else f"{name:28}{value}")


if __name__ == "__main__":
    main()
