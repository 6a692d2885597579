"""A trained policy as a model of MLflow, whose code this file is ("models from code").

A row has `market_text` and `news_text` as a market state says them, and `account_text` in the words of the policy's
account view (`flat`). The answer is what `--pipelines=decide` says of the same prompt.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

from flag_kedro.env.account import ACTION_NAMES
from flag_kedro.env.prompt import account_texts, write_prefix
from flag_kedro.env.states import States
from flag_kedro.policy.bundle import read_description
from flag_kedro.serving.policy import load_policy

COLUMNS = ("market_text", "news_text", "account_text")
ANSWERS = ("action", *(f"prob_{name}" for name in ACTION_NAMES), "value")
SHOWN = 5
LEGAL = {"flat": (False, True, True), "long": (True, True, False), "short": (False, True, True)}
"""Sell, hold and buy, by the first word of an account; a flat one may be sold where shorts are allowed."""


class ServedPolicy(PythonModel):
    """Rows of texts to actions."""

    def load_context(self, context: Any) -> None:
        """Open the policy, every file verified."""
        folder = Path(context.artifacts["policy"])
        backbone = context.artifacts.get("backbone") or (context.model_config or {}).get("backbone")
        self.policy = load_policy(folder, backbone)
        env = read_description(folder)["env"]
        self.positions = env["positions"]
        texts = account_texts(env["account_view"], self.positions)
        self.accounts = {} if texts is None else {text.strip().removesuffix(". Decision:"): text for text in texts}

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """`ANSWERS` for each row.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, naming column, row and what was expected.
        """
        rows = self._checked(model_input)
        prefixes = [write_prefix(market, news, self.positions) for market, news, _ in rows]
        masks = np.array([self._mask(account) for _, _, account in rows])
        decisions = self.policy.decide(States(prefixes, [self.accounts[account] for *_, account in rows], masks))
        assert decisions.probabilities is not None
        assert decisions.values is not None
        odds = {f"prob_{name}": decisions.probabilities[:, at].astype(float) for at, name in enumerate(ACTION_NAMES)}
        actions = [ACTION_NAMES[action] for action in decisions.actions]
        return pd.DataFrame({"action": actions, **odds, "value": decisions.values.astype(float)})

    def _mask(self, account: str) -> tuple[bool, bool, bool]:
        word = account.split()[0]
        may_short = self.positions == "long_short"
        return (True, True, True) if word == "flat" and may_short else LEGAL[word]

    def _checked(self, given: Any) -> list[tuple[str, str, str]]:
        if not isinstance(given, pd.DataFrame):
            raise _refused(f"the input is a {type(given).__name__}; it must be rows with {', '.join(COLUMNS)}")
        if missing := [name for name in COLUMNS if name not in given.columns]:
            raise _refused(f"the input lacks the column {', '.join(missing)}; it must have {', '.join(COLUMNS)}")
        if given.empty:
            raise _refused("the input has no row")
        rows = list(given[list(COLUMNS)].itertuples(index=False, name=None))
        for number, row in enumerate(rows):
            for name, value in zip(COLUMNS, row, strict=True):
                if not isinstance(value, str) or not value.strip():
                    raise _refused(f"row {number}: {name} is {value!r}; it must be a text")
            if row[2] not in self.accounts:
                known = ", ".join(list(self.accounts)[:SHOWN]) or "none: its view of accounts has no closed vocabulary"
                raise _refused(f"row {number}: account_text is {row[2]!r}; this policy knows {known}")
        return rows


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


set_model(ServedPolicy())
