"""`policy.dtype: auto`: the faster format is taken, by enough to be worth it, and said."""

import logging

import pytest
import torch

from flag_kedro.policy import precision
from flag_kedro.policy.precision import faster_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"), [(2.0, 1.0, "bfloat16"), (1.1, 1.0, "float32"), (1.0, 3.0, "float32")]
)
def test_the_faster_format_is_taken_and_said(
    float32: float, bfloat16: float, chosen: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    seconds = {torch.float32: float32, torch.bfloat16: bfloat16}
    monkeypatch.setattr(precision, "_fastest_product", lambda dtype, device: seconds[dtype])
    caplog.set_level(logging.INFO)
    assert faster_dtype(CPU, 1) == chosen
    assert f"{float32 / bfloat16:.2f} times as fast as float32 here, so it is {chosen}" in caplog.text


def test_a_measurement_takes_no_time_and_leaves_the_threads_alone():
    before = torch.get_num_threads()
    assert faster_dtype(CPU, 1) in ("float32", "bfloat16")
    assert torch.get_num_threads() == before
