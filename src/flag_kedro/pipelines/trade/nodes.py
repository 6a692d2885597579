"""The node of the trade pipeline."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from flag_kedro.env.split import MarketSplit
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.serving.alpaca import PAPER, AlpacaBroker
from flag_kedro.serving.config import TradeConfig
from flag_kedro.serving.ledger import read
from flag_kedro.serving.orders import Broker
from flag_kedro.serving.simulated_broker import SimulatedBroker
from flag_kedro.serving.trade import trade

STOP = "STOP"
"""A file in the data folder that stops all trading while it is there."""


def order_decisions(
    ledger: Path, orders: Path, simulated_orders: Path, split: MarketSplit, policy: Path, trade_config: TradeConfig
) -> dict[str, Any]:
    """Order what the newest decisions of the policy on disk ask for."""
    from flag_kedro.policy.bundle import check_facts, read_description

    check_facts(read_description(policy), {"symbols": list(split.states), "env": split.env.facts()})
    own_hash = folder_hash(policy)
    lines = [line for line in read(ledger) if line["policy"] == own_hash]
    broker: Broker
    if trade_config.broker == "alpaca":
        broker = AlpacaBroker(trade_config.url or PAPER)
    else:
        broker = SimulatedBroker(simulated_orders, split.states, split.env, trade_config.money)
    prices = {symbol: float(table["mark_price"][-1]) for symbol, table in split.states.items()}
    stop = ledger.parent.parent / STOP
    return asdict(trade(lines, broker, trade_config, split.env, prices, orders, stop)) | {"market": split.market}
