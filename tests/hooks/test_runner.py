"""Nodes run in the thread that began the run."""

import threading

import pytest
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner

from flag_kedro.errors import ParameterError
from flag_kedro.hooks.runner import OneThread


@pytest.mark.parametrize("runner", [ParallelRunner, ThreadRunner])
def test_other_runners_are_refused_before_the_run_begins(runner: type):
    with pytest.raises(ParameterError, match="runs nodes in other threads or processes"):
        OneThread().before_pipeline_run(run_params={"runner": str(runner())})


def test_data_that_another_thread_loads_are_refused():
    hooks, raised = OneThread(), list[Exception]()
    hooks.before_pipeline_run(run_params={"runner": str(SequentialRunner(is_async=True))})
    hooks.before_dataset_loaded()

    def load() -> None:
        try:
            hooks.before_dataset_loaded()
        except ParameterError as error:
            raised.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    assert "another thread than the run's" in str(raised[0])
