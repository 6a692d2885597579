"""Windows of a market as datasets of MLflow: what a run learned from, chose its weights on and was judged by."""

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from flag_kedro.env.split import MarketSplit
from flag_kedro.features.market_state import MARKET_STATE
from flag_kedro.tracking.log import active_run

if TYPE_CHECKING:  # takes long to import
    from mlflow.entities import DatasetInput

CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}
"""Windows, and what MLflow calls what they are for."""
DIGEST_LENGTH = 16
SHOWN_SYMBOLS = 5


def log_windows(split: MarketSplit, *windows: str) -> None:
    """Note windows of a split as inputs of the active run; those that it does not have are left out.

    Args:
        split: whose windows are meant.
        windows: names among `CONTEXTS`.
    """
    from mlflow.tracking import MlflowClient

    run = active_run()
    if run is not None:
        found = [window_input(split, name) for name in windows if getattr(split.windows, name) is not None]
        MlflowClient().log_inputs(run.info.run_id, found)


def window_input(split: MarketSplit, window: str) -> "DatasetInput":
    """One window: its market, symbols and dates as a name, the hash of the data as digest, schema and size.

    MLflow knows a dataset by name and digest, so the hash of all data serves every window.
    """
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types.schema import ColSpec, Schema

    first, last = getattr(split.windows, window)
    symbols = list(split.states)
    more = f" and {len(symbols) - SHOWN_SYMBOLS} more" if len(symbols) > SHOWN_SYMBOLS else ""
    sessions = getattr(split, window).num_sessions
    schema = Schema([ColSpec(_kind(kind), name) for name, kind in MARKET_STATE.items()])
    source = CodeDatasetSource({"market": split.market})
    dataset = Dataset(
        name=f"{split.market}: {' '.join(symbols[:SHOWN_SYMBOLS])}{more}, {first} to {last}",
        digest=split.data_hash[:DIGEST_LENGTH],
        source_type=source._get_source_type(),
        source=source.to_json(),
        schema=json.dumps({"mlflow_colspec": schema.to_dict()}),
        profile=json.dumps({"num_rows": int(sessions.sum()), "num_symbols": len(symbols)}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", CONTEXTS[window])])


def _kind(kind: Any) -> str:
    """MLflow's name of a column's type."""
    return {pl.String: "string", pl.Float64: "double"}.get(kind, "datetime")
