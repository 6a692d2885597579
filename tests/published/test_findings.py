"""What the audit finds, with prices at hand and without."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flag_kedro.data.investorbench import read_available
from flag_kedro.published.findings import KINDS, audit_as_json, find_all
from flag_kedro.published.page import render_page
from flag_kedro.published.results import CONVENTIONS, FLAG, HOLD, PublishedRow
from flag_kedro.published.rows import reproduce_rows
from flag_kedro.published.table import AuditedRow, audit_symbol, audit_table

QWEN = "Qwen-2.5-Instruct-7B"


@pytest.fixture(scope="session")
def unaided() -> dict[str, Any]:
    """The audit of printed numbers alone."""
    return audit_as_json(audit_table({}), {}, {})


@pytest.fixture(scope="session")
def audited(investorbench: Path) -> dict[str, Any]:
    """The audit with the prices of MSFT, JNJ and BTC."""
    prices, absent = read_available(investorbench, tuple(CONVENTIONS))
    assert absent == ("UVV", "HON", "TSLA")
    rebuilt = {symbol: row.as_dict() for symbol, row in reproduce_rows(prices).items()}
    return audit_as_json(audit_table(prices), rebuilt, {})


def of(audit: dict[str, Any], kind: str, symbol: str | None = None, model: str | None = None) -> list[dict[str, Any]]:
    return [
        finding
        for finding in audit["findings"]
        if finding["kind"] == kind and symbol in (None, finding["symbol"]) and model in (None, finding["model"])
    ]


def row_of(audit: dict[str, Any], model: str, symbol: str) -> dict[str, Any]:
    (row,) = [row for row in audit["rows"] if (row["row"]["model"], row["row"]["symbol"]) == (model, symbol)]
    return row


def test_findings_that_need_prices_are_made_only_with_them(unaided: dict[str, Any], audited: dict[str, Any]):
    needing = {"recomputed_differs", "buy_and_hold", "long_flat"}
    assert {finding["kind"] for finding in unaided["findings"]} == KINDS.keys() - needing
    assert {finding["kind"] for finding in audited["findings"]} == KINDS.keys()
    symbols = {finding["symbol"] for finding in audited["findings"] if finding["kind"] in needing}
    assert symbols == {"MSFT", "JNJ", "BTC"}


def test_flag_rows_imply_five_lengths_and_one_that_is_none(unaided: dict[str, Any]):
    integers = {one["symbol"]: one["numbers"]["implied"]["integers"] for one in of(unaided, "flag_days")}
    assert integers == {"MSFT": [148], "JNJ": [148], "UVV": [119], "HON": [149], "TSLA": [], "BTC": [214]}


def test_sentence_says_what_the_implied_days_count(unaided: dict[str, Any]):
    sentences = {one["symbol"]: one["sentence"] for one in of(unaided, "flag_days")}
    assert "148 is the number of returns with the last day dropped" in sentences["MSFT"]
    assert "149 is the number of returns of the full window" in sentences["HON"]
    assert "only 119 is whole there, and the window has 150 prices" in sentences["UVV"]
    assert "no whole number there" in sentences["TSLA"]


def test_agents_rows_count_the_prices_of_the_full_window(unaided: dict[str, Any]):
    days = [row["window_days"]["252"] for row in unaided["rows"] if row["row"]["model"] not in (HOLD, FLAG)]
    assert (
        sum(150 in numbers or 215 in numbers for numbers in days) == len(days) - len(of(unaided, "implied_days")) == 64
    )


def test_no_row_is_explained_by_365_days_in_the_mean(unaided: dict[str, Any]):
    assert not any(row["window_days"]["365"] for row in unaided["rows"])


def test_uvv_row_is_impossible_by_the_printed_buy_and_hold_row_alone(unaided: dict[str, Any]):
    (finding,) = of(unaided, "impossible_volatility", "UVV")
    assert finding["model"] == FLAG
    assert finding["numbers"]["ceiling_252"] == pytest.approx(0.296, abs=5e-4)
    assert "67.758" in finding["sentence"]


def test_hon_row_is_the_series_of_gpt_4_on_another_basis(unaided: dict[str, Any]):
    (finding,) = of(unaided, "same_series")
    assert finding["symbol"] == "HON"
    assert finding["numbers"]["models"] == ["GPT-4", FLAG]


def test_ranks_as_printed_and_on_a_common_basis(unaided: dict[str, Any]):
    ranks = {one["symbol"]: one["numbers"] for one in of(unaided, "ranks") if one["symbol"]}
    by_return = {symbol: numbers["cumulative_return"] for symbol, numbers in ranks.items()}
    assert by_return == {"MSFT": 3, "JNJ": 1, "UVV": 2, "HON": 4, "TSLA": 1, "BTC": 1}  # HON: tied with GPT-4
    by_sharpe = {symbol: (one["sharpe_printed"], one["sharpe_common"]) for symbol, one in ranks.items()}
    assert by_sharpe == {"MSFT": (1, 4), "JNJ": (1, 1), "UVV": (11, 11), "HON": (2, 4), "TSLA": (1, 3), "BTC": (1, 1)}
    (overall,) = [one for one in of(unaided, "ranks") if one["symbol"] is None]
    assert overall["numbers"]["first"]["sharpe_common"] == ["JNJ", "BTC"]


def test_tesla_row_asks_for_the_other_root_if_buy_and_hold_has_it(unaided: dict[str, Any]):
    (basis,) = of(unaided, "volatility_basis", "TSLA")
    assert FLAG in basis["numbers"]["models"]
    assert HOLD not in basis["numbers"]["models"]  # the ceiling is read off that row
    assert "if that is on sqrt(365)" in basis["sentence"]
    (finding,) = of(unaided, "ranks", "TSLA")
    assert finding["numbers"]["sharpe_other"] == 1
    assert "as the highest possible volatility asks" in finding["sentence"]


@pytest.mark.parametrize(("symbol", "count"), [("MSFT", 8), ("JNJ", 10), ("BTC", 11)])
def test_most_rows_are_possible_only_with_the_root_of_365(audited: dict[str, Any], symbol: str, count: int):
    (finding,) = of(audited, "volatility_basis", symbol)
    assert len(finding["numbers"]["models"]) == count
    assert "GPT-4" in finding["numbers"]["models"]
    assert FLAG not in finding["numbers"]["models"]


def test_ceilings_read_off_printed_rows_are_those_of_the_prices(unaided: dict[str, Any], audited: dict[str, Any]):
    for symbol in ("MSFT", "JNJ", "BTC"):
        printed, exact = (row_of(audit, HOLD, symbol)["ceiling"] for audit in (unaided, audited))
        assert (printed["from_prices"], exact["from_prices"]) == (False, True)
        assert printed["days"]["252"] == pytest.approx(exact["days"]["252"], rel=0.003)


def test_qwen_on_jnj_is_impossible_on_both_bases(audited: dict[str, Any]):
    (finding,) = of(audited, "impossible_volatility", "JNJ")
    assert finding["model"] == QWEN
    assert finding["numbers"]["ceiling_365"] == pytest.approx(0.211, abs=5e-4)


def test_gpt_4_on_msft_is_buy_and_hold_over_the_full_window(audited: dict[str, Any]):
    (finding,) = of(audited, "buy_and_hold")
    assert (finding["symbol"], finding["model"]) == ("MSFT", "GPT-4")
    assert finding["numbers"] == {
        "window": "full window",
        "days_volatility": 365,
        "metrics": ["cumulative_return", "sharpe_ratio", "annual_volatility", "max_drawdown"],
    }


@pytest.mark.parametrize(
    ("symbol", "needed", "at_most", "returns"),
    [("MSFT", "+4.8", "+1.6", 148), ("JNJ", "+19.8", "+1.5", 148), ("BTC", "+23.7", "+9.7", 214)],
)
def test_flat_days_cannot_have_made_the_flag_rows(
    audited: dict[str, Any], symbol: str, needed: str, at_most: str, returns: int
):
    (finding,) = of(audited, "long_flat", symbol)
    assert finding["numbers"]["ruled_out"]
    assert f"need {needed} points" in finding["sentence"]
    assert f"room for at most {at_most} ({returns} returns)" in finding["sentence"]


def test_other_root_would_leave_room_for_flat_days(audited: dict[str, Any]):
    for finding in of(audited, "long_flat"):
        assert all(cases["365"]["possible"] for cases in finding["numbers"]["cases"].values())


def test_return_of_bitcoin_is_reported_not_hidden(audited: dict[str, Any]):
    (finding,) = of(audited, "recomputed_differs")
    assert finding["sentence"] == "BTC: the CR of Buy & Hold recomputes to 21.82163 where 21.821 is printed."


def hold_and(model: str, **scores: float) -> list[PublishedRow]:
    """A market whose Buy & Hold row has a ceiling of about 25 % with sqrt(252), and another row."""
    hold = {"cumulative_return": 0.15, "sharpe_ratio": 1.0, "annual_volatility": 0.25, "max_drawdown": 0.1}
    return [
        PublishedRow(model=HOLD, symbol="MSFT", **hold),
        PublishedRow(model=model, symbol="MSFT", **(hold | scores)),
    ]


@pytest.mark.parametrize(
    ("volatility", "verdict"), [(0.24, "possible"), (0.28, "needs sqrt(365)"), (0.31, "impossible")]
)
def test_volatility_is_compared_with_both_ceilings(volatility: float, verdict: str):
    rows: list[AuditedRow] = audit_symbol(hold_and("GPT-4", annual_volatility=volatility), None)
    assert [row.volatility for row in rows] == ["possible", verdict]


def test_ceiling_of_prices_is_that_of_the_window_which_allows_more():
    """A last day without any move only lowers the mean square, so the window without it allows more."""
    returns = np.append(np.tile([0.01, -0.012], 74), 0.0)
    closes = np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    (hold, _) = audit_symbol(hold_and("GPT-4"), closes)
    assert hold.ceiling.days[252] == pytest.approx(np.sqrt(74 * (0.01**2 + 0.012**2) / 147 * 252))


def test_sound_rows_give_no_finding_but_flag_traders_own():
    """150 days and a possible volatility: nothing to say about GPT-4's row."""
    sharpe = round(0.1 / (150 / 252) / 0.2, 3)
    rows = hold_and("GPT-4", cumulative_return=0.1, annual_volatility=0.2, sharpe_ratio=sharpe)
    assert [one for one in find_all(tuple(audit_symbol(rows, None)), {}) if one.model == "GPT-4"] == []


def test_page_needs_nothing_else_and_shows_every_finding(unaided: dict[str, Any]):
    page = render_page({"rows": {}, "skipped": {"UVV": "no uvv.json"}}, unaided)
    assert not re.search(r"(src|href|url)\s*[=(]|@import|https?:", page)
    assert page.count("<li>") == len(unaided["findings"]) + 1
    assert "67.758" in page
    assert "UVV: no uvv.json" in page
    assert page.count("<tr") == 6 * 16


def test_page_escapes_what_it_shows(unaided: dict[str, Any]):
    page = render_page({"rows": {}, "skipped": {"UVV": "<script>alert(1)</script>"}}, unaided)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
