"""What a training prints at its end."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flag_kedro.hooks.command import FollowUp


def print_trained(data_dir: Path) -> None:
    """Say where the policy is and what to do with it."""
    console = Console()
    console.print(f"[bold]Trained.[/bold] The policy is in {data_dir / '06_models' / 'policy'}.")
    console.print(f"  judge it         {escape(FollowUp.command('backtest'))}", highlight=False, soft_wrap=True)
    console.print("  learning curves  make ui         (kedro mlflow ui)")
