"""What `--pipelines=promote` prints at its end."""

from pathlib import Path
from typing import Any

from rich.console import Console


def print_promotion(found: dict[str, Any], data_dir: Path) -> None:
    """Print whether the policy is the champion now, and why."""
    console = Console()
    first, last = found["window"]
    if found["already"]:
        console.print(f"The policy is the champion already: version {found['version']}.", highlight=False)
    else:
        alias = "champion" if found["promoted"] else "challenger"
        console.print(
            f"The policy is version {found['version']} of flag_kedro, and its [bold]{alias}[/bold]: {found['reason']}.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"On the validation window, {first} to {last}, its log return is {found['log_return']:+.3f}",
        end="",
        highlight=False,
    )
    if found["difference"] is None:
        console.print(".", highlight=False)
    else:
        low, high = found["interval"]
        console.print(
            f", the champion's {found['champion_log_return']:+.3f}; the difference {found['difference']:+.3f} "
            f"[{low:+.3f}, {high:+.3f}].",
            highlight=False,
            markup=False,
        )
    console.print(
        "  serve it         mlflow models serve -m models:/flag_kedro@champion --host 127.0.0.1 --env-manager local"
    )
    console.print(f"  all of it        {data_dir / '08_reporting' / 'promotion.json'}", highlight=False)
