"""Standard errors under autocorrelation: by hand, against arch's kernels, against the truth of an autoregression."""

import math

import numpy as np
import pytest
from arch.covariance.kernel import Bartlett
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from flag_kedro.backtest.standard_errors import hac_error
from flag_kedro.data.streams import stream


def _autoregressions(coefficient: float, num: int, num_series: int) -> np.ndarray:
    """x_t = coefficient x_{t-1} + e, [num_series, num], long after its start."""
    shocks = stream(0, "autoregression", num).normal(size=(num_series, 200 + num))
    return np.asarray(lfilter([1.0], [1.0, -coefficient], shocks)[:, 200:])


def test_error_of_a_short_series_is_as_worked_by_hand() -> None:
    # n = 4: floor(4 x 0.04^(2/9)) = 1 lag of weight 1/2; 1, 1, -1, -1: variance sum 4, first products 1 - 1 + 1 = 1,
    # so (4 + 2 x 1/2 x 1) / 4 = 5/4 over 4 sessions
    assert hac_error(np.array([1.0, 1.0, -1.0, -1.0])) == pytest.approx(math.sqrt(5 / 4 / 4))


@given(seed=st.integers(0, 2**32 - 1), num=st.integers(20, 120))
def test_error_agrees_with_the_kernel_of_another_library_on_residuals(seed: int, num: int) -> None:
    series = np.cumsum(np.random.default_rng(seed).normal(size=(2, num)), axis=1)[0] % 3.0
    centred = series - series.mean()
    [coefficient], *_ = np.linalg.lstsq(centred[:-1, None], centred[1:], rcond=None)
    residuals = centred[1:] - coefficient * centred[:-1]
    lags = math.floor(4 * ((num - 1) / 100) ** (2 / 9))
    kernel = Bartlett(residuals, bandwidth=lags, center=False, force_int=True)
    expected = math.sqrt(float(np.squeeze(kernel.cov.long_run)) / num) / (1.0 - coefficient)
    assert hac_error(series) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("num", "tolerance"), [(150, 0.1), (20_000, 0.03)])
def test_error_of_an_autoregression_is_near_its_long_run_error(num: int, tolerance: float) -> None:
    """Coefficient 0.3: 1 / 0.7^2 = 2.04 a session; lags of 150 sessions alone see four fifths of it."""
    errors = hac_error(_autoregressions(0.3, num, max(4, 40_000 // num)))
    assert num * float(np.mean(errors**2)) == pytest.approx(1.0 / 0.7**2, rel=tolerance)


def test_error_of_a_series_that_grows_to_its_end_is_finite_and_positive() -> None:
    assert 0.0 < float(hac_error(np.cumsum(np.arange(40.0)))) < math.inf


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num", [1, 2, 19, 20, 40])
def test_series_without_variation_has_no_error(num: int) -> None:
    assert hac_error(np.full((3, num), 0.5)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("num", [19, 20, 60])
def test_rows_are_measured_as_alone(num: int) -> None:
    rows = stream(0, "rows").normal(size=(2, 3, num))
    alone = [[float(hac_error(row)) for row in part] for part in rows]
    assert hac_error(rows) == pytest.approx(np.array(alone), rel=1e-12)
