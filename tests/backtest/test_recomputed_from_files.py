"""Every number of a backtest, computed a second time from the saved files by plain loops that share no code with it.

`plain_files` reads, `plain_account` trades, `plain_scorer` scores, `plain_inference` and
`plain_sensitivity` test. What random draws decide
(intervals, p-values of a bootstrap, its block length) is not computed again, but held against what follows from it.
"""

import ast
import gc
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import plain_files
import polars as pl
import pytest
from plain_account import decided, replay
from plain_files import Saved, read_saved
from plain_inference import recompute_inference
from plain_scorer import recompute_account, recompute_investorbench
from plain_sensitivity import recompute_sensitivity
from saved_backtests import Setting, make_market, save_backtest

from flag_kedro.data.simulated import SimulatedMarket

TOLERANCE = 1e-12
"""Relative, and absolute for what may be near 0."""
COUNTS = {"num_trades", "num_prices", "num_days"}
DRAWN = {"ci95", "p_value", "verdict"}
"""What random draws decide, or say of what they decided."""
SHORTS = {"positions": "long_short", "borrow_bps_year": 300.0, "cash_rate": 0.04}
CAPPED = {"max_participation": 0.0003}
SETTINGS = {
    "long or flat at the next open": Setting(),
    "stocks alone, in the published convention": Setting(symbols=("ALDR", "BRIX"), convention="investorbench"),
    "both sides, interest and fees": Setting(SHORTS),
    "both sides at the same close": Setting(SHORTS | {"fill": "same_close"}),
    "the next close at a tenth of each trade": Setting(
        {"fill": "next_close", "cost_bps": 900.0, "slippage_bps": 100.0}
    ),
    "both sides at the next close for nothing": Setting(
        {"fill": "next_close", "positions": "long_short", "cost_bps": 0.0, "slippage_bps": 0.0, "borrow_bps_year": 0.0}
    ),
    "orders in parts, and interest": Setting(CAPPED | {"cash_rate": 0.04}),
    "orders in parts at the next close": Setting(CAPPED | {"fill": "next_close"}),
    "both sides in parts": Setting(SHORTS | CAPPED),
    "both sides in parts at the same close": Setting(SHORTS | CAPPED | {"fill": "same_close"}),
}
RUN = "a finished run"


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return make_market()


@pytest.fixture(scope="module")
def folder_of(
    market: SimulatedMarket, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Makes the data folder of a setting, once."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name == RUN:
            return Path(request.getfixturevalue("finished_run"))
        if name not in made:
            made[name] = tmp_path_factory.mktemp("saved")
            gc.freeze()  # statsmodels collects garbage at every correction, which takes seconds after other tests
            save_backtest(made[name], SETTINGS[name], market)
            gc.unfreeze()
        return made[name]

    return of


@pytest.fixture(scope="module", params=[*SETTINGS, RUN])
def folder(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Path:
    return folder_of(request.param)


@pytest.fixture(scope="module")
def saved(folder: Path) -> Saved:
    return read_saved(folder)


@pytest.fixture(scope="module")
def plain_run(folder_of: Callable[[str], Path]) -> Saved:
    """A setting in which something happens to every metric: both sides in parts, with ruined accounts."""
    return read_saved(folder_of("both sides in parts"))


def differences(plain: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where two trees of dictionaries, lists and values differ, or have not the same keys.

    Numbers are equal within `TOLERANCE`; keys of `DRAWN` and intervals `METRIC_ci95` may be in `found` alone.
    """
    if isinstance(plain, dict):
        drawn = {key for key in found if key in DRAWN or key.endswith("_ci95")}
        lone = (found.keys() - drawn - plain.keys()) | (plain.keys() - found.keys())
        yield from (f"{where}/{key}: in one of both only" for key in sorted(lone))
        for key in plain.keys() & found.keys():
            yield from differences(plain[key], found[key], f"{where}/{key}")
    elif isinstance(plain, list):
        for i, (own, other) in enumerate(zip(plain, found, strict=True)):
            yield from differences(own, other, f"{where}/{i}")
    elif isinstance(plain, float) and isinstance(found, float):
        if not math.isclose(plain, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{where}: {plain!r} from the files, {found!r} saved"
    elif plain != found or type(plain) is not type(found):
        yield f"{where}: {plain!r} from the files, {found!r} saved"


def score_differences(saved: Saved) -> list[str]:
    """Between the saved scores in both conventions and those of plain loops over the saved tables."""
    account = recompute_account(saved)
    pooled = account.pop("all")
    return [
        *differences(account, saved.results("account"), "account"),
        *differences(pooled, saved.metrics["pooled"], "pooled"),
        *differences(recompute_investorbench(saved), saved.results("investorbench"), "investorbench"),
    ]


def equity_differences(saved: Saved) -> list[str]:
    """Between the saved equity table and what prices and decisions make of the initial cash."""
    found: list[str] = []
    for (symbol, name), marks in saved.equity.items():
        days, decisions = saved.market[symbol], saved.decisions[symbol, name]
        own = replay(days, saved.terms, saved.initial_cash, decided(decisions))
        plain, other = ([asdict(mark) for mark in path] for path in (own, marks))
        found += differences(plain, other, f"{symbol}/{name}") if len(plain) == len(other) else [f"{symbol}/{name}"]
    return found


def test_plain_loops_share_no_code_with_the_project() -> None:
    allowed = {
        "collections",
        "dataclasses",
        "datetime",
        "json",
        "itertools",
        "math",
        "pathlib",
        "polars",
        "statistics",
        "typing",
    }
    for name in ("files", "account", "scorer", "inference", "sensitivity"):
        tree = ast.parse((Path(plain_files.__file__).parent / f"plain_{name}.py").read_text())
        modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        modules += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        foreign = {module.split(".")[0] for module in modules} - allowed
        assert {module for module in foreign if not module.startswith("plain_")} == set()


def test_market_states_hold_the_adjusted_prices(folder: Path, saved: Saved) -> None:
    for symbol, days in saved.market.items():
        states = pl.read_parquet(folder / plain_files.STATES / f"{symbol}.parquet")
        of_session = {row["session"]: row for row in states.iter_rows(named=True)}
        for day in days:
            row = of_session[day.session]
            numbers = [row["open_price"], row["mark_price"], row["volume"]]
            assert list(differences([day.open, day.close, day.volume], numbers, f"{symbol}/{day.session}")) == []
            assert row["decided_at"] == day.closes_at


def test_equity_table_follows_from_prices_and_decisions(saved: Saved) -> None:
    assert equity_differences(saved) == []


def test_every_score_follows_from_the_saved_tables_in_both_conventions(saved: Saved) -> None:
    assert score_differences(saved) == []


def test_shares_of_the_optimal_policy_follow_from_the_equity_table(folder: Path, saved: Saved) -> None:
    yardstick = saved.metrics["yardstick"]
    if yardstick is None:
        return
    equity = pl.read_parquet(folder / plain_files.EQUITY)
    for strategy, share in yardstick["shares"].items():
        returns = [row["log_return"] or 0.0 for row in equity.iter_rows(named=True) if row["strategy"] == strategy]
        assert share * yardstick["expected_log_return"] == pytest.approx(math.fsum(returns), rel=1e-12, abs=1e-12)


def test_metrics_file_holds_nothing_but_market_conventions_scores_yardstick_and_models_asked(saved: Saved) -> None:
    assert saved.metrics.keys() == {
        *("market", "convention", "results", "pooled", "yardstick", "language_models", "other_convention")
    }
    assert saved.metrics["other_convention"].keys() == {"convention", "results"}


def test_intervals_go_with_their_scores(saved: Saved) -> None:
    """Those that rest on a mean lie symmetrically about it, that of the total return is theirs compounded."""
    for rows in (*saved.results("account").values(), *saved.results("investorbench").values(), saved.metrics["pooled"]):
        for scores in rows.values():
            measured = {name for name in scores if not name.endswith("_ci95")}
            assert scores.keys() - measured == {f"{name}_ci95" for name in measured - COUNTS}
            intervals = {name: scores[f"{name}_ci95"] for name in measured - COUNTS}
            defined = {name: interval for name, interval in intervals.items() if interval is not None}
            assert all(low <= high for low, high in defined.values())
            if scores["total_return"] == -1.0:
                assert defined == {}
            for name in {"cumulative_return", "sharpe_ratio"} & defined.keys():
                assert sum(defined[name]) / 2 == pytest.approx(scores[name], rel=1e-9, abs=1e-12)
            if "total_return" in defined:
                compounded = [math.expm1(end) for end in defined["cumulative_return"]]
                assert defined["total_return"] == pytest.approx(compounded, rel=1e-12, abs=1e-15)


def test_tests_without_draws_follow_from_the_saved_tables(saved: Saved) -> None:
    found = {name: saved.inference[name] for name in ("pooled", "symbols")}
    assert list(differences(recompute_inference(saved), found)) == []


def test_costs_delay_and_size_follow_from_the_saved_tables(saved: Saved) -> None:
    assert list(differences(recompute_sensitivity(saved), saved.sensitivity)) == []


# The settings reach what they are meant to, and a fault does not get past


def test_settings_reach_ruin_orders_in_parts_and_closed_exchanges(plain_run: Saved) -> None:
    marks = [mark for path in plain_run.equity.values() for mark in path]
    assert min(mark.log_return for mark in marks if mark.log_return is not None) < math.log(1.001e-4)
    assert sum(0.0 < mark.exposure < 0.9 for mark in marks) > 50
    weekends = {mark.session for mark in marks if mark.session.weekday() >= 5}
    assert len(weekends) > 20
    lengths = {symbol: len(days) for symbol, days in plain_run.market.items()}
    assert len(set(lengths.values())) == 3


RATIOS = ("sharpe_ratio", "sortino_ratio", "calmar_ratio", "win_rate", "exposure", "turnover")
METRICS = ("cumulative_return", "total_return", "annual_volatility", "max_drawdown", *RATIOS, *sorted(COUNTS))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("part", ["account", "pooled", "investorbench"])
def test_fault_in_one_saved_score_is_found(part: str, metric: str, plain_run: Saved) -> None:
    wrong = replace(plain_run, metrics=deepcopy(plain_run.metrics))
    rows = wrong.metrics["pooled"] if part == "pooled" else wrong.results(part)["BRIX"]
    row = rows["momentum"]
    assert row[metric]
    row[metric] = row[metric] + 1 if metric in COUNTS else row[metric] * (1 + 1e-9)
    (found,) = score_differences(wrong)
    assert found.startswith(f"{part}/" if part == "pooled" else f"{part}/BRIX/")
    assert f"momentum/{metric}:" in found


def test_metric_without_a_plain_twin_is_found(plain_run: Saved) -> None:
    wrong = replace(plain_run, metrics=deepcopy(plain_run.metrics))
    wrong.results("account")["BRIX"]["momentum"]["omega_ratio"] = 1.0
    assert score_differences(wrong) == ["account/BRIX/momentum/omega_ratio: in one of both only"]


COLUMNS = {"equity": 1 + 1e-9, "log_return": 1 + 1e-6, "traded_value": 1 + 1e-9, "exposure": 1 + 1e-9}


@pytest.mark.parametrize("column", COLUMNS)
def test_fault_in_one_row_of_equity_is_found(
    column: str, folder_of: Callable[[str], Path], plain_run: Saved, tmp_path: Path
) -> None:
    source = folder_of("both sides in parts")
    table = pl.read_parquet(source / plain_files.EQUITY).with_row_index()
    of_path = (pl.col("symbol") == "BRIX") & (pl.col("strategy") == "flag_trader") & (pl.col("traded_value") > 0.0)
    row = table.filter(of_path)["index"][2]
    changed = pl.when(pl.col("index") == row).then(pl.col(column) * COLUMNS[column]).otherwise(column)
    table.with_columns(changed.alias(column)).drop("index").write_parquet(tmp_path / "equity.parquet")
    wrong = replace(plain_run, equity=plain_files.read_equity(tmp_path / "equity.parquet"))
    (found,) = equity_differences(wrong)
    assert found.startswith("BRIX/flag_trader/")
    scored = {"equity", "traded_value", "exposure"}  # log returns are taken from the equity
    assert bool(score_differences(wrong)) == (column in scored)


@pytest.mark.parametrize("term", ["cost", "cash_rate", "borrow_rate", "max_participation"])
def test_run_with_other_terms_than_it_says_is_found(term: str, plain_run: Saved) -> None:
    terms = replace(plain_run.terms, **{term: getattr(plain_run.terms, term) * (1 + 1e-6)})
    assert equity_differences(replace(plain_run, terms=terms))
