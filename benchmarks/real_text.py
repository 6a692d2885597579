"""One PPO update over InvestorBench's warm-up window with a real tokenizer: seconds and memory, cold and warm.

The backbone is a folder with a tokenizer and a config.json; random weights of that geometry are drawn if it has none,
since time does not depend on them. Cold: the trunk's cache is empty. Warm: rows are read from the folder that
the node `encode_trunk` fills (here timed as well).

    python benchmarks/real_text.py --data DIR --symbol MSFT --backbone DIR --accounts 16 --json
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from actor_critic_meters import forget_peak, peak_above
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.windows import resolve_windows
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.encoding import start_encoding
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training import start_training
from flag_kedro.ppo.training_spec import TrainingSpec

Row = dict[str, Any]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Job:
    """What is trained, but for where the trunk's rows are."""

    backbone: Path
    window: TradingWindow
    env: EnvConfig
    ppo: PPOConfig
    runtime: RuntimeConfig
    frozen: int
    dtype: str
    max_tokens: int

    def policy(self, trunk_cache: str) -> PolicyConfig:
        """The policy's parameters."""
        return PolicyConfig(
            backbone=str(self.backbone), frozen_layers=self.frozen, trainable="layers", dtype=self.dtype,  # type: ignore[arg-type]
            trunk_cache=trunk_cache, max_tokens=self.max_tokens,  # type: ignore[arg-type]
        )  # fmt: skip


def one_update(name: str, job: Job, trunk_cache: str, folder: Path) -> Row:
    """Train one update and say what it took."""
    policy = job.policy(trunk_cache)
    start = forget_peak(CPU)
    spec = TrainingSpec(job.backbone, folder, job.window, None, job.env, policy, job.ppo, job.runtime, 0)
    _, updates = start_training(spec)
    metrics = next(updates)
    return {
        "run": name,
        "rollout_seconds": metrics["ppo/rollout_seconds"],
        "update_seconds": metrics["ppo/update_seconds"],
        "peak_memory_gb": peak_gb(start),
    }


def peak_gb(start: int | None) -> float | None:
    """Largest resident size since `forget_peak` gave `start`, in GB; None where the system does not tell."""
    above = peak_above(start, CPU)
    return None if start is None or above is None else start / 1e9 + above / 1e3


def encode(job: Job, folder: Path) -> Row:
    """Fill the trunk cache's folder, with all account texts behind every prefix."""
    prefixes = [text for texts in job.window.prefixes for text in texts]
    started, start = time.perf_counter(), forget_peak(CPU)
    list(start_encoding(job.backbone, prefixes, job.env, job.policy("disk"), job.runtime, folder))
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    return {
        "run": "encode",
        "seconds": time.perf_counter() - started,
        "rows": len(set(prefixes)),
        "megabytes": size / 1e6,
        "peak_memory_gb": peak_gb(start),
    }


def load_window(arguments: argparse.Namespace) -> tuple[TradingWindow, pl.DataFrame]:
    """The warm-up window of a symbol, and its news."""
    data = DataConfig(source="investorbench", path=arguments.data, symbols=(arguments.symbol,))
    market = load_market(MarketConfig(data, NewsConfig(), SimulatedConfig()), Path(), datetime.now(UTC))
    sizes = {"digest_chars": arguments.digest_chars, "article_chars": arguments.article_chars}
    features = FeaturesConfig(digest_sessions=1, **sizes)
    states, _ = build_market_states(market.prices, market.news, names=market.names, **asdict(features))
    first, last = resolve_windows(data, states).train
    [days] = [table["session"] for table in states.values()]
    last = days.filter(days.is_between(first, last)).head(arguments.sessions or len(days))[-1]
    return cut_window(states, (first, last), "next_close"), market.news


def count_tokens(window: TradingWindow, news: pl.DataFrame, tokenizer: Tokenizer) -> Row:
    """Tokens of news a day as they arrive, and of prompts after the digest."""
    texts = news.with_columns(text=pl.coalesce("body", "headline"))  # a body begins with its headline
    days = texts.group_by(pl.col("published_at").dt.date()).agg(pl.col("text").str.join("\n"))["text"]
    raw = [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in days]
    prompts = [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in window.prefixes[0]]
    return {
        "news_tokens_a_day": {"median": float(np.median(raw)), "largest": max(raw)},
        "prefix_tokens": {"median": float(np.median(prompts)), "largest": max(prompts)},
    }


def prepare_backbone(source: Path, folder: Path) -> Path:
    """The source itself, or a copy with random weights where it has none."""
    if any(source.glob("*.safetensors")):
        return source
    for file in source.glob("*.json"):
        shutil.copyfile(file, folder / file.name)
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


def measure(arguments: argparse.Namespace, scratch: Path) -> Row:
    """All runs, one after the other."""
    (scratch / "backbone").mkdir()
    backbone = prepare_backbone(arguments.backbone, scratch / "backbone")
    window, news = load_window(arguments)
    steps = int(window.num_sessions[0]) - 1
    ppo = PPOConfig(
        total_timesteps=steps * arguments.accounts, num_envs=arguments.accounts, num_steps=steps, kl_coef=0.0,
        update_epochs=arguments.epochs, minibatch_size=8 * arguments.accounts,
        gradient_accumulation_steps=arguments.accumulation, learning_rate=5e-4, gamma=0.95, gae_lambda=0.98,
        clip_vloss=True, ent_coef=0.05, stagger_starts=False, reward_scale=1.0, validation_interval=10,
    )  # fmt: skip
    runtime = RuntimeConfig(device=arguments.device, threads=arguments.threads)
    env = EnvConfig(fill="next_close")
    job = Job(backbone, window, env, ppo, runtime, arguments.frozen, arguments.dtype, arguments.max_tokens)
    cold = one_update("cold", job, "ram", scratch / "none")
    encoded = encode(job, scratch / "rows")
    warm = one_update("warm", job, "disk", scratch / "rows")
    tokens = count_tokens(window, news, Tokenizer.from_file(str(backbone / "tokenizer.json")))
    return {"sessions": steps + 1, **tokens, "runs": [cold, encoded, warm]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of InvestorBench's files")
    parser.add_argument("--symbol", default="MSFT")
    parser.add_argument("--backbone", type=Path, required=True, help="folder with tokenizer.json and config.json")
    parser.add_argument("--frozen", type=int, default=24)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--accounts", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--accumulation", type=int, default=8)
    parser.add_argument("--sessions", type=int, help="of the window's beginning; default all")
    parser.add_argument("--digest-chars", type=int, default=600)
    parser.add_argument("--article-chars", type=int, default=240)
    parser.add_argument("--max-tokens", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report = {name: value for name, value in vars(arguments).items() if name not in ("json", "data", "backbone")}
        report |= measure(arguments, Path(scratch))
    if arguments.json:
        print(json.dumps(report))
        return
    for name in ("news_tokens_a_day", "prefix_tokens"):
        print(name, "median {median:.0f}, largest {largest}".format(**report[name]))
    for row in report["runs"]:
        print(
            "  ".join(f"{name} {round(value, 2) if isinstance(value, float) else value}" for name, value in row.items())
        )


if __name__ == "__main__":
    main()
