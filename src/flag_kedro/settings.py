"""Kedro's project settings."""

import logging
import os
import warnings

from omegaconf.resolvers import oc

from flag_kedro.hooks.check_inputs import CheckInputs
from flag_kedro.hooks.check_parameters import CheckParameters
from flag_kedro.hooks.data_folder import LockDataFolder
from flag_kedro.hooks.finished import RemoveFinished
from flag_kedro.hooks.mirror import MirrorToStore
from flag_kedro.hooks.print_summary import PrintSummary
from flag_kedro.hooks.profile import NoteProfile
from flag_kedro.hooks.rebuilt import RebuildDatasets
from flag_kedro.hooks.run_names import NameRun
from flag_kedro.hooks.run_tags import TagRun
from flag_kedro.hooks.runner import OneThread
from flag_kedro.hooks.signals import StopOnSignals
from flag_kedro.hooks.tracking import KeepUnsent, LogArtifacts, OpenStore
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

# CPU, memory, disk and network of every run, sampled each ten seconds (system/* in MLflow).
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)  # a lost store is told by `tracking.link`

# A policy that is logged as a model is copied once more: no bar of its own, no remark on its example.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)

# A tracking server that does not answer costs a run seconds, not minutes (`tracking.link`).
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "6")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

# What must come first (`tryfirst`) is called from the last one here to the first: how errors are shown, parameters,
# the lock, the object store, inputs, MLflow's store, signals. What must come last (`trylast`) in this order: what
# MLflow missed is sent, and all is given back, before the summary is printed.
HOOKS = (
    KeepUnsent(),
    StopOnSignals(),
    OpenStore(),
    OneThread(),
    CheckInputs(),
    MirrorToStore(),
    LockDataFolder(),
    CheckParameters(),
    ShowUserErrors(),
    NoteProfile(),
    ShowTypedParameters(),
    NameRun(),
    TagRun(),
    LogArtifacts(),
    RemoveFinished(),
    RebuildDatasets(),
    PrintSummary(),
)

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
    "custom_resolvers": {
        "oc.env": oc.env,
    },
}
