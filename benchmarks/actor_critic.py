"""What a day of one symbol costs the language model: the plain loop against the fast actor-critic, saving by saving.

A day is one rollout forward without gradients and some epochs of forward and backward over N accounts, of which
D texts are distinct. Everything reads the same token ids with the same random weights in one run. The plain loop
is written with transformers alone (actor_critic_plain.py); the others are this project's ActorCritic with
each saving switched on in turn, the trunk's cache empty when the day begins, and last with the cache filled, as it
is on every visit of a day but the first. `speedup` is of that last one, `speedup_cold` has the trunk's reading in it.

    python benchmarks/actor_critic.py --geometry smollm2-135m --prefix 384 --suffix 24 --accounts 16 --distinct 4 --json
    python benchmarks/actor_critic.py --geometry smollm2-135m --sweep --variants plain,full > sweep.json
"""

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from actor_critic_backbone import GEOMETRIES, write_random_backbone
from actor_critic_day import Day, Evaluator, drawn_days, simulated_days
from actor_critic_meters import Gradients
from actor_critic_variants import KNOWN, VARIANTS, Setting, draw_model, measure_variant
from rich.console import Console
from rich.table import Table

from flag_kedro.policy.trainable import trainable_state

DTYPES = ("float32", "bfloat16")
SWEEP = {"accounts": (4, 16, 64), "prefix": (128, 384, 1024), "epochs": (1, 4, 8)}
Row = dict[str, Any]


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure all variants on the backbone in `folder`."""
    setting = make_setting(arguments, folder)
    load_before = os.getloadavg()[0]
    rows: list[Row] = []
    references: dict[str, Gradients] = {}
    for dtype in arguments.dtypes:
        for name in arguments.variants:
            row, gradients = measure_variant(name, dtype, setting, references)
            rows.append(row)
            if name == "plain":
                references[dtype] = gradients
    add_ratios(rows)
    load = {"cores": os.cpu_count(), "load_before": load_before, "load_after": os.getloadavg()[0]}
    return {**describe(arguments, setting), **load, **summarise(rows), "rows": rows}


def make_setting(arguments: argparse.Namespace, folder: Path) -> Setting:
    """What all variants share."""
    device = torch.device(arguments.device)
    policy: dict[str, Any] = {
        "frozen_layers": arguments.frozen,
        "trainable": arguments.trainable,
        "max_tokens": max(16, arguments.prefix + arguments.suffix),
    }
    if arguments.batch_tokens is not None:
        policy["batch_tokens"] = arguments.batch_tokens
    model = draw_model(folder, policy, arguments.seed)
    return Setting(
        folder=folder,
        device=device,
        days=[day.to(device) for day in make_days(arguments, model)],
        epochs=arguments.epochs,
        policy=policy,
        weights=trainable_state(model),
        repeats=arguments.repeats,
        plain_repeats=arguments.plain_repeats,
        plain_rows=arguments.plain_rows,
        seed=arguments.seed,
    )


def make_days(arguments: argparse.Namespace, model: Evaluator) -> list[Day]:
    """One drawn day, or several with account texts from a simulated rollout."""
    geometry, accounts, seed = GEOMETRIES[arguments.geometry], arguments.accounts, arguments.seed
    lengths = arguments.prefix, arguments.suffix
    if arguments.accounts_from_rollout:
        return simulated_days(*lengths, accounts, arguments.days, geometry, model, seed)
    return drawn_days(*lengths, accounts, min(arguments.distinct, accounts), geometry, model, seed)


def add_ratios(rows: Sequence[Row]) -> None:
    """Put what follows from several measurements into each row."""
    for row in rows:
        plain = seconds_of(rows, "plain", row["dtype"])
        row["speedup"] = None if plain is None else plain / row["seconds"]
        row["update_flops_per_second"] = row["update_flops"] / row["update_seconds"]
        row["update_flops_share"] = row["update_flops_per_second"] / row["matrix_flops_per_second"]


def find(rows: Sequence[Row], variant: str, dtype: str) -> Row:
    """The row of a variant, empty where it was not measured."""
    return next((row for row in rows if (row["variant"], row["dtype"]) == (variant, dtype)), {})


def seconds_of(rows: Sequence[Row], variant: str, dtype: str) -> float | None:
    """Seconds a day of a variant."""
    return find(rows, variant, dtype).get("seconds")


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """The figures that matter; None where a variant that they need was left out."""
    full, warm = ({dtype: find(rows, name, dtype) for dtype in DTYPES} for name in ("full", "warm"))
    known_rows, known_prefix = (find(rows, name, "bfloat16") for name in KNOWN)
    return {
        "speedup": warm["float32"].get("speedup"),
        "speedup_cold": full["float32"].get("speedup"),
        "speedup_bfloat16": warm["bfloat16"].get("speedup"),
        "speedup_bfloat16_cold": full["bfloat16"].get("speedup"),
        "known_prefix_speedup_bfloat16": known_prefix.get("speedup"),
        "known_prefix_to_known_rows_bfloat16": (
            known_rows["seconds"] / known_prefix["seconds"] if known_rows and known_prefix else None
        ),
        "relative_gradient_difference": warm["float32"].get("relative_gradient_difference"),
        "relative_gradient_difference_bfloat16": warm["bfloat16"].get("relative_gradient_difference"),
        "relative_gradient_difference_bfloat16_to_float32": warm["bfloat16"].get(
            "relative_gradient_difference_to_float32"
        ),
        "update_flops_share": {dtype: row["update_flops_share"] for dtype, row in warm.items() if row},
        "matrix_flops_per_second": {dtype: row["matrix_flops_per_second"] for dtype, row in warm.items() if row},
        "plain_rows": {row["dtype"]: row["rows"] for row in rows if row["variant"] == "plain"},
    }


def describe(arguments: argparse.Namespace, setting: Setting) -> dict[str, Any]:
    """What was measured, and on what."""
    num_distinct = [len(set(zip(day.states.prefix, day.states.account, strict=True))) for day in setting.days]
    cuda = setting.device.type == "cuda"
    return {
        "geometry": arguments.geometry,
        "num_layers": GEOMETRIES[arguments.geometry].num_hidden_layers,
        "frozen_layers": arguments.frozen,
        "trainable": arguments.trainable,
        "prefix": arguments.prefix,
        "suffix": arguments.suffix,
        "accounts": arguments.accounts,
        "accounts_from_rollout": arguments.accounts_from_rollout,
        "distinct": sum(num_distinct) / len(num_distinct),
        "days": len(setting.days),
        "epochs": arguments.epochs,
        "device": torch.cuda.get_device_name(setting.device) if cuda else "cpu",
        "threads": arguments.threads,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def sweep(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure at each of `SWEEP`'s values, the others as given."""
    given = {name: getattr(arguments, name) for name in SWEEP}
    points = [given | {name: value} for name, values in SWEEP.items() for value in values]
    distinct_points = [point for index, point in enumerate(points) if point not in points[:index]]
    return [measure(argparse.Namespace(**{**vars(arguments), **point}), folder) for point in distinct_points]


def show(report: Mapping[str, Any]) -> None:
    """Print a table, a row for each variant."""
    title = "{geometry}, {frozen_layers} of {num_layers} layers frozen, {accounts} accounts, {distinct:g} distinct, "
    title += "prefix {prefix}, suffix {suffix}, {epochs} epochs, {device}, {threads} threads"
    table = Table(title=title.format(**report))
    table.add_column("variant")
    heads = (
        "s a day",
        "speed-up",
        "rollout s",
        "update s",
        "trunk tokens",
        "top tokens",
        "computed",
        "GFLOP",
        "of peak",
        "MB",
    )
    for head in (*heads, "gradient difference"):
        table.add_column(head, justify="right")
    for row in report["rows"]:
        table.add_row(f"{row['variant']} {row['dtype']}", *cells(row), end_section=row["variant"] == VARIANTS[-1])
    console = Console(width=160)
    console.print(table)
    for dtype, rate in report["matrix_flops_per_second"].items():
        console.print(f"matrix product in {dtype}: {rate / 1e9:.0f} GFLOP/s beside the last variant")
    console.print("load {load_before:.2f} before, {load_after:.2f} after, {cores} cores".format(**report))


def cells(row: Row) -> list[str]:
    """A row's figures as text."""
    texts = [
        ("{:.3f}", row["seconds"]),
        ("{:.1f}", row["speedup"]),
        ("{:.3f}", row["rollout_seconds"]),
        ("{:.3f}", row["update_seconds"]),
        ("{:,.0f}", row["trunk_tokens"]),
        ("{:,.0f}", row["top_tokens"]),
        ("{:,.0f}", row["top_tokens_computed"]),
        ("{:,.1f}", row["flops"] / 1e9),
        ("{:.2f}", row["update_flops_share"]),
        ("{:,.0f}", row["peak_memory_mb"]),
        ("{:.1e}", row["relative_gradient_difference"]),
    ]
    return ["-" if value is None else pattern.format(value) for pattern, value in texts]


def parse() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", choices=GEOMETRIES, default="tiny")
    parser.add_argument("--prefix", type=int, default=384, help="tokens that a day's accounts share")
    parser.add_argument("--suffix", type=int, default=24, help="tokens of an account's text")
    parser.add_argument("--accounts", type=int, default=16)
    parser.add_argument("--distinct", type=int, default=4, help="distinct account texts")
    parser.add_argument("--accounts-from-rollout", action="store_true", help="texts as random simulated accounts have")
    parser.add_argument("--days", type=int, default=8, help="with --accounts-from-rollout")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--frozen", type=int, help="layers of the trunk")
    parser.add_argument("--trainable", choices=["layers", "lora"], default="layers")
    parser.add_argument("--variants", type=names_of(VARIANTS), help=f"some of {','.join(VARIANTS)}; default all")
    parser.add_argument("--dtypes", type=names_of(DTYPES), default=DTYPES, help=",".join(DTYPES))
    parser.add_argument("--repeats", type=int, default=3, help="timed days, the median counts")
    parser.add_argument("--plain-repeats", type=int, default=1, help="of plain and none, which are slow")
    parser.add_argument(
        "--plain-rows", type=int, help="accounts in a batch of the plain loop; default the faster of 4 and 16"
    )
    parser.add_argument("--batch-tokens", type=int, help="policy.batch_tokens")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep", action="store_true", help=f"a JSON list over {SWEEP}; default variant full")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.variants = arguments.variants or (("full",) if arguments.sweep else VARIANTS)
    if arguments.frozen is None:
        arguments.frozen = GEOMETRIES[arguments.geometry].frozen_layers
    return arguments


def names_of(choices: Sequence[str]) -> Any:
    """A type for argparse: names separated by commas, put into the order of `choices`."""

    def names(text: str) -> tuple[str, ...]:
        given = text.split(",")
        if unknown := set(given) - set(choices):
            raise argparse.ArgumentTypeError(f"{min(unknown)} is none of {', '.join(choices)}")
        return tuple(name for name in choices if name in given)

    return names


def main() -> None:
    """Measure and print."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_backbone(GEOMETRIES[arguments.geometry], arguments.seed, folder)
        if arguments.sweep:
            print(json.dumps(sweep(arguments, folder)))
            return
        report = measure(arguments, folder)
    if arguments.json:
        print(json.dumps(report))
    else:
        show(report)


if __name__ == "__main__":
    main()
