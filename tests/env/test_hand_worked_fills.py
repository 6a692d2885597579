"""Six sessions of each kind of fill, position and reward, worked by hand.

A cost of 25 %, 1,000 in cash, `long_flat`, `same_close`: the decision of a session fills at its own close.

    session  close  filled        cash  shares  equity   PnL  held over the return
       0       10   -             1000     0     1000      -    -
       1        8   buy at 10        0    80      640   -360    1   1000 / (10 x 1.25) = 80
       2        9   hold             0    80      720     80    1
       3       12   sell at 9      540     0      540   -180    0   80 x 9 x 0.75 = 540
       4       16   buy at 12        0    36      576     36    1   540 / (12 x 1.25) = 36
       5       20   hold             0    36      720    144    1

Sharpe ratios of these PnLs so far, mean / std (ddof 1), signed squares as fractions:

    -360, 80: mean -140, variance 96,800, squared -49/242
        -180: mean -460/3, variance (168,400 - 211,600/3) / 2 = 146,800/3, squared -529/1101
          36: mean -106, variance (169,696 - 44,944) / 3 = 41,584, squared -2809/10396
         144: mean -56, variance (190,432 - 15,680) / 4 = 43,688, squared -392/5461

Differential Sharpe ratios with eta = 1/2 of the returns R of the three fills, A and B before each return,
D = (B (R - A) - A (R^2 - B) / 2) / (B - A^2)^1.5 (the first two fills are worked in test_trading_vector_env):

    next_open   R      A        B         B - A^2    numerator
             -1/10     0        0         0          -                D = 0
               1/3    -1/20     1/200     1/400      329/72000        D = 329/72000 x 8000 = 329/9
              -1/4     17/120   209/3600  547/14400  -9959/432000
              -1/4    -13/240   217/3600  367/6400   -10147/864000
               2/3    -73/480   221/3600  1763/46080 274373/3456000
    next_close
              -1/5     0        0         0          -                D = 0
               1/8    -1/10     1/50      1/100      137/32000        D = 137/32
                 0     1/80     57/3200   113/6400   -57/512000
              -1/5     1/160    57/6400   227/25600  -3961/2048000
               1/4    -31/320   313/12800 1543/102400 84583/8192000
    same_close
              -9/25    0        0         0          -                D = 0
               1/8    -9/50     81/1250   81/2500    61353/4000000    D = 61353/4000000 x (50/9)^3
              -1/4    -11/400   3217/80000 6313/160000 -553013/64000000
               1/15   -111/800  8217/160000 20547/640000 5602501/768000000
               1/4    -173/4800 80353/2880000 122579/4608000 237888269/27648000000

`long_short` with nights of 365 days, 20 % interest on free cash (at most the equity) and 10 % for borrowed
shares, a cost of 25 %: sell, buy, hold, sell, hold, so that both reversals pay both sides.

    next_open
    day  open close  interest         fee             filled               traded  cash     shares  equity   held
     1    8   10     1000 x 0.2       0               sell 1200/(8x1.25)    960    1920     -120    720      -1
     2    8   12     720 x 0.2 = 144  1200 x .1 = 120 buy 744/10, cover 120 1555.2    0     74.4    892.8     1
     3    9   15     0                0               hold                    0       0     74.4    1116      1
     4   10    8     0                0               sell 744 x .75 / 12.5 1190.4  892.8   -44.64  535.68   -1
     5    6    5     535.68 x 0.2     357.12 x 0.1    hold                    0     964.224 -44.64  741.024  -1
         equity at fill 2: 1920 + 144 - 120 - 120 x 8 x 1.25 = 744; at fill 4: 744 x 0.75 = 558, 558 / 12.5 = 44.64

    next_close
    day  close   interest         fee         filled                        traded  cash    shares  equity  held
     1   10      1000 x 0.2       0           sell 1200 / (10 x 1.25)        960    1920    -96     960      0
     2    8      960 x 0.2 = 192  960 x 0.1   buy 1056 / 10, cover 96        1612.8    0    105.6   844.8   -1
     3   10      0                0           hold                             0       0    105.6   1056     1
     4    5      0                0           sell 105.6 x 5 x .75 / 6.25    844.8  633.6   -63.36  316.8    1
     5    4      316.8 x 0.2      316.8 x .1  hold                             0    665.28  -63.36  411.84  -1
         equity at fill 2: 1920 + 192 - 96 - 96 x 8 x 1.25 = 1056; at fill 4: 396, 396 / 6.25 = 63.36

    same_close (fills at the close before, then the night passes)
    day  fill close  filled                       traded  interest     fee        cash     shares  equity   held
     1    8    10    sell 1000 / (8 x 1.25)        800    800 x 0.2    800 x 0.1  1680     -100     680      -1
     2   10     8    buy 430 / 12.5, cover 100     1344   0            0             0     34.4     275.2     1
     3    8    10    hold                            0    0            0             0     34.4     344       1
     4   10     5    sell 344 x 0.75 / 12.5        550.4  206.4 x 0.2  206.4 x .1  433.44  -20.64   330.24   -1
     5    5     4    hold                            0    330.24 x 0.2 103.2 x .1  489.168 -20.64   406.608  -1
         cash after fill 1: 1000 + 800 - 200 = 1600, free 1600 - 800; equity at fill 2: 1680 - 100 x 10 x 1.25 = 430
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow

MakeWindow = Callable[..., TradingWindow]
MakeConfig = Callable[..., EnvConfig]

OPENS, CLOSES = [7, 8, 10, 12, 16, 20], [10, 9, 12, 11, 15, 25]
MARKS = [10, 8, 9, 12, 16, 20]
LONG_FLAT = [BUY, HOLD, SELL, BUY, HOLD]
LONG_SHORT = [SELL, BUY, HOLD, SELL, HOLD]


@dataclass(frozen=True)
class Example:
    """A table of the above, one value a step."""

    fill: str
    opens: list[int]
    closes: list[int]
    cash: list[float]
    shares: list[float]
    equity: list[float]
    held: list[int]
    traded: list[float]


SAME_CLOSE = Example(
    fill="same_close",
    opens=MARKS,
    closes=MARKS,
    cash=[0, 0, 540, 0, 0],
    shares=[80, 80, 0, 36, 36],
    equity=[640, 720, 540, 576, 720],
    held=[1, 1, 0, 1, 1],
    traded=[800, 0, 720, 432, 0],
)
SHORTS = [
    Example(
        fill="next_open",
        opens=[7, 8, 8, 9, 10, 6],
        closes=[10, 10, 12, 15, 8, 5],
        cash=[1920, 0, 0, 892.8, 964.224],
        shares=[-120, 74.4, 74.4, -44.64, -44.64],
        equity=[720, 892.8, 1116, 535.68, 741.024],
        held=[-1, 1, 1, -1, -1],
        traded=[960, 1555.2, 0, 1190.4, 0],
    ),
    Example(
        fill="next_close",
        opens=[1] * 6,
        closes=[8, 10, 8, 10, 5, 4],
        cash=[1920, 0, 0, 633.6, 665.28],
        shares=[-96, 105.6, 105.6, -63.36, -63.36],
        equity=[960, 844.8, 1056, 316.8, 411.84],
        held=[0, -1, 1, 1, -1],
        traded=[960, 1612.8, 0, 844.8, 0],
    ),
    Example(
        fill="same_close",
        opens=[1] * 6,
        closes=[8, 10, 8, 10, 5, 4],
        cash=[1680, 0, 0, 433.44, 489.168],
        shares=[-100, 34.4, 34.4, -20.64, -20.64],
        equity=[680, 275.2, 344, 330.24, 406.608],
        held=[-1, 1, 1, -1, -1],
        traded=[800, 1344, 0, 550.4, 0],
    ),
]
RATIOS_SAME_CLOSE = ["0", "-49/242", "-529/1101", "-2809/10396", "-392/5461"]
DIFFERENTIAL = {
    "next_open": [
        ("329/72000", "1/400"),
        ("-9959/432000", "547/14400"),
        ("-10147/864000", "367/6400"),
        ("274373/3456000", "1763/46080"),
    ],
    "next_close": [
        ("137/32000", "1/100"),
        ("-57/512000", "113/6400"),
        ("-3961/2048000", "227/25600"),
        ("84583/8192000", "1543/102400"),
    ],
    "same_close": [
        ("61353/4000000", "81/2500"),
        ("-553013/64000000", "6313/160000"),
        ("5602501/768000000", "20547/640000"),
        ("237888269/27648000000", "122579/4608000"),
    ],
}


def _signed_root(square: str) -> float:
    return math.copysign(math.sqrt(abs(Fraction(square))), Fraction(square))


def _play(env: TradingVectorEnv, actions: list[int]) -> list[dict[str, Any]]:
    """What every step of one account gave; `cash` and `shares` of the last are those of the restarted account."""
    env.reset()
    steps = []
    for action in actions:
        observed, rewards, terminated, truncated, info = env.step(np.array([action]))
        steps.append(
            {
                "reward": float(rewards[0]),
                "terminated": bool(terminated[0]),
                "truncated": bool(truncated[0]),
                "equity": float(info["equity"][0]),
                "held": int(info["position"][0]),
                "traded": float(info["traded_value"][0]),
                "exposure": float(info["exposure"][0]),
                "cash": float(env.accounts.cash[0]),
                "shares": float(env.accounts.shares[0]),
                "position": int(observed["position"][0]),
                "mask": observed["action_mask"][0].tolist(),
            }
        )
    return steps


def _column(steps: list[dict[str, Any]], name: str) -> list[Any]:
    return [step[name] for step in steps]


def _check(env: TradingVectorEnv, actions: list[int], example: Example) -> None:
    steps = _play(env, actions)
    for name in ("equity", "held", "traded"):
        assert _column(steps, name) == pytest.approx(getattr(example, name), rel=1e-13), name
    for name in ("cash", "shares"):
        assert _column(steps, name)[:-1] == pytest.approx(getattr(example, name)[:-1], rel=1e-13), name
    log_returns = [math.log(after / before) for before, after in pairwise([1_000.0, *example.equity])]
    assert _column(steps, "reward") == pytest.approx(log_returns, rel=1e-12)
    assert _column(steps, "truncated") == [False] * 4 + [True]
    assert not any(_column(steps, "terminated"))


def test_same_close_fills_at_the_close_of_its_decision(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("same_close", A=MARKS), make_config(fill="same_close"))
    _check(env, LONG_FLAT, SAME_CLOSE)


@pytest.mark.parametrize("example", SHORTS, ids=lambda example: example.fill)
def test_reversals_both_ways_pay_both_sides_and_nights_pay_fee_and_interest(
    example: Example, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    window = make_window(example.fill, positions="long_short", nights=[365] * 5, A=(example.opens, example.closes))
    config = make_config(positions="long_short", cash_rate=0.2, borrow_bps_year=1_000.0)
    _check(TradingVectorEnv(window, config), LONG_SHORT, example)


def test_sharpe_increments_under_same_close(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("same_close", A=MARKS), make_config(reward="sharpe_increment"))
    ratios = [_signed_root(square) for square in RATIOS_SAME_CLOSE]
    expected = [after - before for before, after in pairwise([0.0, *ratios])]
    assert _column(_play(env, LONG_FLAT), "reward") == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("fill", list(DIFFERENTIAL))
def test_differential_sharpe_ratios_of_each_fill(fill: str, make_window: MakeWindow, make_config: MakeConfig) -> None:
    window = make_window(fill, A=(OPENS, CLOSES) if fill == "next_open" else MARKS)
    env = TradingVectorEnv(window, make_config(reward="differential_sharpe", differential_sharpe_eta=0.5))
    expected = [float(Fraction(top)) / float(Fraction(variance)) ** 1.5 for top, variance in DIFFERENTIAL[fill]]
    assert _column(_play(env, LONG_FLAT), "reward") == pytest.approx([0.0, *expected], rel=1e-11)
    assert _column(_play(env, LONG_FLAT), "reward") == pytest.approx([0.0, *expected], rel=1e-11)  # moments forgotten


def test_reversal_counts_sessions_and_gains_from_its_own_fill(make_window: MakeWindow, make_config: MakeConfig) -> None:
    window = make_window("next_close", positions="long_short", A=[10, 10, 8, 10, 4, 5])
    env = TradingVectorEnv(window, make_config(positions="long_short"))
    seen = [env.step(np.array([action]))[0] for action in [SELL, HOLD, BUY, SELL]]
    assert [int(observed["sessions_held"][0]) for observed in seen] == [1, 2, 1, 1]
    # short since 10: 8 is 20 % better; bought at 10; short since 4, which is 25 % worse at 5
    assert [float(observed["unrealised_return"][0]) for observed in seen] == pytest.approx([0, 0.2, 0, 0], abs=1e-15)
    *_, info = env.step(np.array([HOLD]))
    assert info["final_obs"][0]["unrealised_return"] == -0.25
    assert info["final_states"].account[0] == " short two days loss. Decision:"


def test_interest_on_flat_cash_compounds_by_calendar_days(make_window: MakeWindow, make_config: MakeConfig) -> None:
    # 21 % a year over 182.5 days twice and over 365 days: x 1.1 each half year, x 1.21
    window = make_window("next_open", nights=[73, 292, 365], A=[10, 10, 10, 10])
    steps = _play(TradingVectorEnv(window, make_config(cash_rate=0.21)), [HOLD] * 3)
    assert _column(steps, "equity") == pytest.approx([1_000 * 1.21**0.2, 1_210, 1_464.1], rel=1e-13)


def test_long_position_pays_no_fee_and_earns_no_interest(make_window: MakeWindow, make_config: MakeConfig) -> None:
    window = make_window("same_close", positions="long_short", nights=[365] * 2, A=[10, 10, 10])
    config = make_config(positions="long_short", cash_rate=0.2, borrow_bps_year=1_000.0)
    assert _column(_play(TradingVectorEnv(window, config), [BUY, HOLD]), "equity") == [800.0, 800.0]


# A cap of half a session's volume. The account's tables, cost 25 %, next_open:
#
#    open close volume  filled                                  traded  cash  shares  equity  held
#      8   10    160    buy: 100 wanted, 80 allowed               640    200    80     1000     1   1000 - 800
#     12   11    100    sell: 80 wanted, 50 allowed               600    650    30      980     1   200 + 450
#     10   10      -    hold: sell the rest, no volume no limit   300    875     0      875     1   650 + 225
#      8   10      0    buy: nothing can be had                     0    875     0      875     0
#     10   12    200    hold: buy 70 after all, 100 allowed       700      0    70      840     1


def test_what_a_cap_leaves_of_an_order_is_tried_again_until_the_opposite_is_asked_for(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    opens, closes, volumes = [7, 8, 12, 10, 8, 10], [10, 10, 11, 10, 10, 12], [1, 160, 100, None, 0, 200]
    env = TradingVectorEnv(make_window("next_open", A=(opens, closes, volumes)), make_config(max_participation=0.5))
    steps = _play(env, [BUY, SELL, HOLD, BUY, HOLD])
    assert _column(steps, "traded") == [640, 600, 300, 0, 700]
    assert _column(steps, "equity") == [1000, 980, 875, 875, 840]
    assert _column(steps, "cash")[:-1] == [200, 650, 875, 875]
    assert _column(steps, "shares")[:-1] == [80, 30, 0, 0]
    assert _column(steps, "held") == [1, 1, 1, 0, 1]
    assert _column(steps, "mask") == [[1, 1, 0], [0, 1, 1], [0, 1, 1], [1, 1, 0], [0, 1, 1]]


#    open close volume  filled                                  traded  cash  shares  equity  exposure
#      8   10    160    buy: 100 wanted, 80 allowed               640    200    80     1000     0.8
#     10   10     16    hold: 200 / 12.5 = 16 wanted, 8 allowed    80    100    88      980     880 / 980
#     20   10    100    hold: 100 / 25 = 4 wanted                  80      0    92      920     1
#     10   10    100    hold: the order is done                     0      0    92      920     1


def test_purchase_goes_on_with_the_rest_of_the_cash_and_exposure_is_the_share_of_equity(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    opens, closes, volumes = [7, 8, 10, 20, 10, 10], [10, 10, 10, 10, 10, 10], [1, 160, 16, 100, 100, 100]
    env = TradingVectorEnv(make_window("next_open", A=(opens, closes, volumes)), make_config(max_participation=0.5))
    steps = _play(env, [BUY, HOLD, HOLD, HOLD])
    assert _column(steps, "traded") == [640, 80, 80, 0]
    assert _column(steps, "cash") == [200, 100, 0, 0]
    assert _column(steps, "shares") == [80, 88, 92, 92]
    assert _column(steps, "equity") == [1000, 980, 920, 920]
    assert _column(steps, "exposure") == [0.8, 880 / 980, 1, 1]


#    long_short, sold in parts: what is owed grows until it is all the equity, 25 % cost of what is added
#     open close volume  filled                                              traded  cash  shares  equity
#       10   10     20    sell: 1000 / 12.5 = 80 wanted, 10 allowed            100   1075   -10      975
#       10    8    400    hold: (975 + 0.25 x 100) / 12.5 = 80 in all          700   1600   -80      960


def test_short_sale_goes_on_until_it_is_worth_the_equity(make_window: MakeWindow, make_config: MakeConfig) -> None:
    window = make_window("next_open", positions="long_short", A=([7, 10, 10, 8], [10, 10, 8, 8], [1, 20, 400, 9]))
    env = TradingVectorEnv(window, make_config(positions="long_short", max_participation=0.5, borrow_bps_year=0.0))
    steps = _play(env, [SELL, HOLD])
    assert _column(steps, "traded") == [100, 700]
    assert _column(steps, "cash") == [1075, 1600]
    assert _column(steps, "shares") == [-10, -80]
    assert _column(steps, "equity") == [975, 960]


#    long_short
#      8   10      -    buy: 100                                  800      0   100     1000     1
#     10   10    120    sell: 60 of 160                           600    450    40      850     1   600 - 150
#     10   10    120    hold: 60 of 40 + 750 / 12.5 = 100         600    900   -20      700    -1
#      8    5      0    buy: nothing                                0    900   -20      800    -1
#      8   10     80    hold: 40 of 20 + 700 / 10 = 90            320    500    20      700     1   900 - 320 - 80


def test_cap_makes_a_reversal_take_several_sessions(make_window: MakeWindow, make_config: MakeConfig) -> None:
    opens, closes, volumes = [7, 8, 10, 10, 8, 8], [10, 10, 10, 10, 5, 10], [1, None, 120, 120, 0, 80]
    window = make_window("next_open", positions="long_short", A=(opens, closes, volumes))
    env = TradingVectorEnv(window, make_config(positions="long_short", max_participation=0.5, borrow_bps_year=0.0))
    steps = _play(env, [BUY, SELL, HOLD, BUY, HOLD])
    assert _column(steps, "traded") == [800, 600, 600, 0, 320]
    assert _column(steps, "equity") == [1000, 850, 700, 800, 700]
    assert _column(steps, "cash")[:-1] == [0, 450, 900, 900]
    assert _column(steps, "shares")[:-1] == [100, 40, -20, -20]
    assert _column(steps, "held") == [1, 1, -1, -1, 1]
    assert _column(steps, "position")[:-1] == [1, 1, -1, -1]
    assert _column(steps, "mask")[:-1] == [[1, 1, 0], [0, 1, 1], [0, 1, 1], [1, 1, 0]]


def test_cap_under_same_close_is_of_the_session_of_the_close(make_window: MakeWindow, make_config: MakeConfig) -> None:
    # the purchase decided in session 0 fills at its close of 10, in its volume of 40: 20 shares
    window = make_window("same_close", A=([10, 10, 10], [10, 10, 10], [40, 100, 100]))
    steps = _play(TradingVectorEnv(window, make_config(max_participation=0.5)), [BUY, HOLD])
    assert steps[0]["shares"] == 20.0
    assert steps[0]["cash"] == 750.0  # 1,000 - 200 x 1.25


def test_rounding_of_a_capped_purchase_never_makes_debts(make_window: MakeWindow) -> None:
    # the volume allows a trillionth less than all cash would buy, at prices that binary floats cannot hold
    for price in np.linspace(0.37, 99.3, 200).tolist():
        volume = 1_000.0 / (price * 1.0123) * (1 - 1e-16)
        window = make_window("next_close", A=([price] * 3, [price] * 3, [volume] * 3))
        env = TradingVectorEnv(
            window, EnvConfig(cost_bps=123.0, slippage_bps=0.0, initial_cash=1_000.0, max_participation=1.0)
        )
        env.step(np.array([BUY]))
        assert env.accounts.cash[0] >= 0.0
