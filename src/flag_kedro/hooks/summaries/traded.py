"""What `--pipelines=trade` prints at its end."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_traded(traded: dict[str, Any], data_dir: Path) -> None:
    """Print what was ordered, what was not and why, and what there is."""
    console = Console()
    if traded["real_money"]:
        console.print("[bold red]REAL MONEY[/bold red]", highlight=False)
    said = "" if traded["real_money"] else ": no real money"
    console.print(f"Ordered at {escape(traded['broker'])}{said}.", highlight=False)
    if traded["orders"]:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for column in ("symbol", "order", "is"):
            table.add_column(column, no_wrap=True)
        for column in ("shares", "price"):
            table.add_column(column, justify="right", no_wrap=True)
        for each in traded["orders"]:
            price = "-" if each["price"] is None else f"{each['price']:.2f}"
            table.add_row(each["symbol"], each["side"], each["status"], f"{each['shares']:g}", price)
        console.print(table)
        for each in (each for each in traded["orders"] if each["reason"]):
            console.print(f"{each['symbol']}: {escape(each['reason'])}", highlight=False, soft_wrap=True)
    else:
        console.print("No new order.", highlight=False)
    for symbol, reason in traded["refused"].items():
        console.print(f"No order on {symbol}: {reason}.", highlight=False, soft_wrap=True)
    if traded["num_late"]:
        console.print(
            f"{traded['num_late']} decision(s) came too late: their fill was made, or could have been.", highlight=False
        )
    held = ", ".join(f"{number:g} {symbol}" for symbol, number in traded["positions"].items()) or "no shares"
    console.print(f"The account has {traded['equity']:,.2f} at the newest closes, and {held}.", highlight=False)
    console.print(f"  all of it        {data_dir / '07_model_output' / 'traded.json'}", highlight=False)
