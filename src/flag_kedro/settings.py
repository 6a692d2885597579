"""Kedro's project settings."""

import logging
import os
import warnings
from pathlib import Path

from omegaconf.resolvers import oc

from flag_kedro.hooks.check_parameters import CheckParameters
from flag_kedro.hooks.data_folder import LockDataFolder
from flag_kedro.hooks.finished import RemoveFinished
from flag_kedro.hooks.print_summary import PrintSummary
from flag_kedro.hooks.rebuilt import RebuildDatasets
from flag_kedro.hooks.run_tags import TagRun
from flag_kedro.hooks.signals import StopOnSignals
from flag_kedro.hooks.typed_parameters import ShowTypedParameters
from flag_kedro.hooks.user_errors import ShowUserErrors

# Nothing is reported to anybody unless the user asks for it (MLflow wants the word true).
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# Remarks of libraries about each other, which a user can do nothing about. One comes while plugins are imported,
# before this file is read: conf/logging.yml keeps warnings quiet until here.
warnings.filterwarnings("ignore", message="register_new_resolver")
warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
logging.getLogger("py.warnings").setLevel(logging.WARNING)
# MLflow overrides warning filters for this one, so its log record is dropped instead.
logging.getLogger("py.warnings").addFilter(lambda record: "Add type hints to the `predict`" not in record.getMessage())

TRACKING = os.environ.get("MLFLOW_TRACKING_URI", "")
ROOT = Path(__file__).resolve().parents[2]

# What must come first (`tryfirst`) is called from the last one here to the first: how errors are shown, parameters, the
# lock, signals. What must come last (`trylast`) in this order: all are given back before the summary is printed.
HOOKS = (
    StopOnSignals(),
    LockDataFolder(),
    CheckParameters(),
    ShowUserErrors(),
    ShowTypedParameters(),
    TagRun(),
    RemoveFinished(),
    RebuildDatasets(),
    PrintSummary(),
)

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": {
        "oc.env": oc.env,
        "project_sqlite": lambda name: f"sqlite:///{ROOT / name}",
        # A tracking server chooses where artifacts go; only the local store needs to be told.
        "local_artifacts": lambda name: None if TRACKING.startswith(("http", "databricks")) else name,
    },
}
