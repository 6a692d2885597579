"""What a run prints at its end, by what it made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kedro.framework.hooks import hook_impl

from flag_kedro.errors import VerdictError
from flag_kedro.hooks.command import FollowUp
from flag_kedro.hooks.data_folder import data_folder
from flag_kedro.hooks.summaries.audit import print_full_audit
from flag_kedro.hooks.summaries.backtest import print_backtest, print_next
from flag_kedro.hooks.summaries.certificate import print_certificate
from flag_kedro.hooks.summaries.data import print_data, print_made, print_streamed
from flag_kedro.hooks.summaries.decision import print_decision, print_forward_test
from flag_kedro.hooks.summaries.diagnostics import print_contamination, print_robustness
from flag_kedro.hooks.summaries.events import print_events
from flag_kedro.hooks.summaries.experiments import print_seeds, print_sweep, print_walk_forward
from flag_kedro.hooks.summaries.portfolio import print_portfolio
from flag_kedro.hooks.summaries.promotion import print_promotion
from flag_kedro.hooks.summaries.published import print_reproduced
from flag_kedro.hooks.summaries.tasks import print_tasks
from flag_kedro.hooks.summaries.traded import print_traded
from flag_kedro.hooks.summaries.training import print_trained

Printer = Callable[..., None]


class Summary(NamedTuple):
    """A printer, which takes the contents of `reads` and the data folder."""

    printer: Printer
    reads: tuple[str, ...]


SUMMARIES: dict[tuple[str, ...], Summary] = {
    ("backtest_metrics", "backtest_inference", "causality_audit"): Summary(
        print_backtest, ("backtest_metrics", "backtest_inference", "causality_audit", "data_report")
    ),
    ("full_audit",): Summary(print_full_audit, ("full_audit",)),
    ("certificate",): Summary(print_certificate, ("certificate",)),
    ("walk_forward_results",): Summary(print_walk_forward, ("walk_forward_results",)),
    ("sweep_results",): Summary(print_sweep, ("sweep_results",)),
    ("contamination",): Summary(print_contamination, ("contamination",)),
    ("robustness",): Summary(print_robustness, ("robustness",)),
    ("portfolio_results", "portfolio_audit"): Summary(print_portfolio, ("portfolio_results", "portfolio_audit")),
    ("event_study",): Summary(print_events, ("event_study",)),
    ("task_evaluation",): Summary(print_tasks, ("task_evaluation",)),
    ("decision",): Summary(print_decision, ("decision",)),
    ("promotion",): Summary(print_promotion, ("promotion",)),
    ("traded",): Summary(print_traded, ("traded",)),
    ("forward_test",): Summary(print_forward_test, ("forward_test",)),
    ("policy",): Summary(print_trained, ()),
    ("published_rows", "published_audit"): Summary(print_reproduced, ("published_rows", "published_audit")),
    ("stream_report", "streamed_states"): Summary(print_streamed, ("stream_report", "streamed_states")),
    ("data_report",): Summary(print_data, ("data_report",)),
}
"""Summaries by the datasets that a run must have made for it; the first one that applies is printed."""

APPENDED: dict[tuple[str, ...], Summary] = {
    ("seed_results",): Summary(print_seeds, ("seed_results",)),
    ("backtest_metrics", "backtest_inference", "causality_audit"): Summary(print_next, ()),
}
"""Summaries that follow whichever was printed, all that apply, in this order."""


class PrintSummary:
    """Prints what came out and where to look next."""

    def __init__(self) -> None:
        self._shown_folder = Path("data")

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Note how a user would write the data folder."""
        self._shown_folder = data_folder(context).shown

    @hook_impl(trylast=True)
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Print once the run is over.

        Raises:
            VerdictError: when a certificate failed; it is saved and printed by then, and the command fails, too.
        """
        FollowUp.run_params = run_params
        made = pipeline.all_outputs()
        summaries = summaries_of(made)
        for printer, reads in summaries:
            printer(*(catalog[name].load() for name in reads), self._shown_folder)
        if not summaries and pipeline.outputs():
            print_made(sorted(pipeline.outputs()), self._shown_folder)
        if "certificate" in made and not catalog["certificate"].load()["passed"]:
            raise VerdictError(f"the certificate failed; {self._shown_folder / '08_reporting' / 'certificate.json'}")


def summaries_of(made: set[str]) -> list[Summary]:
    """The summaries of a run that made these datasets."""
    applying = [
        [summary for needs, summary in table.items() if made.issuperset(needs)] for table in (SUMMARIES, APPENDED)
    ]
    return applying[0][:1] + applying[1]
