"""The page: what is on it, that it needs nothing else, that strangers' texts stay texts."""

import copy
import json
import re
from datetime import date
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest
from plotly.offline import get_plotlyjs

from flag_kedro.backtest.report import largest_decisions, write_report
from flag_kedro.backtest.report_figures import share_sessions
from flag_kedro.backtest.trades import list_trades
from flag_kedro.errors import DataError
from flag_kedro.experiments.influence import INFLUENCE

SixSessions = tuple[pl.DataFrame, pl.DataFrame, dict[str, pl.DataFrame]]
VERDICT = "flag_trader's Sharpe ratio cannot be told from buy & hold's: 9,000 sessions would be needed."
POOLED = "flag_trader is not proven ahead: level with cash."
RIVALS = "flag_trader is not distinguishable from text_ridge (p = 0.4)."
HOSTILE = "- <script>alert(1)</script> soars\n- </script><img src=x onerror=alert(2)>"
SCORES = {
    "cumulative_return": 0.1234,
    "cumulative_return_ci95": [-0.05, 0.3],
    "total_return": 0.13,
    "num_prices": 6,
    "num_days": 5,
    "sharpe_ratio": 1.5,
    "sharpe_ratio_ci95": [-0.5, 3.5],
    "sortino_ratio": None,
    "sortino_ratio_ci95": None,
}
COMPARISON = {
    "sharpe_difference": {"value": 0.4, "ci95": [-1.0, 1.8], "p_value": 0.6},
    "win_rate_difference": {"value": None, "ci95": None, "p_value": None},
    "cash_difference": {"value": 1.5, "ci95": [-0.5, 3.5], "p_value": 0.2},
    "shift_percentile": None,
    "shift_p_value": None,
    "probabilistic_sharpe_ratio": 0.9,
    "deflated_sharpe_ratio": None,
    "num_trials": 3,
    "sessions_needed": None,
    "collapse": {
        "actions": {"sell": 0.2, "hold": 0.5, "buy": 0.3},
        "agreement_long": 0.6,
        "agreement_flat": 0.1,
        "agreement_short": 0.3,
        "action_entropy": 1.03,
        "policy_entropy": None,
        "collapsed_to": None,
    },
    "proven_ahead": False,
    "verdict": VERDICT,
    "rivals": {"differences": {}, "verdict": RIVALS},
}
SPREAD = {"median": 0.11, "interquartile_mean": 0.12, "min": -0.2, "max": 0.4, "std": 0.13, "num": 5}


@pytest.fixture(scope="module")
def ordinary(six_sessions: SixSessions, account_convention: dict[str, Any]) -> dict[str, Any]:
    """What `write_report` is given."""
    decisions, equity, states = six_sessions
    results = {symbol: {"flag_trader": SCORES, "buy_and_hold": SCORES} for symbol in states}
    other = {"convention": {**account_convention, "name": "investorbench"}, "results": results}
    robust = {"cost_curve": [0.3, 0.1], "lagged": {"cumulative_return": 0.07, "sharpe_ratio": None}, "capacity": 5e6}
    return {
        "decisions": decisions,
        "equity": equity,
        "market_states": states,
        "influence": pl.DataFrame(
            [
                ("A", date(2024, 1, 3), "sell", "first", 0.9, 0.88),
                ("A", date(2024, 1, 3), "sell", "second", 0.9, 0.25),
                ("B", date(2024, 1, 3), "sell", "of another", 0.9, 0.1),
            ],
            schema=INFLUENCE,
            orient="row",
        ),
        "backtest_metrics": {
            "market": "files",
            "convention": account_convention,
            "results": results,
            "pooled": {"flag_trader": SCORES, "buy_and_hold": SCORES},
            "other_convention": other,
        },
        "inference": {
            "draws": 2000,
            "confidence": 0.95,
            "seed": 0,
            "block_length": dict.fromkeys(states, 2.5),
            "size_notes": {symbol: f"A nominal 5 % on {symbol}." for symbol in ("all", *states)},
            "pooled": {"flag_trader": COMPARISON | {"verdict": POOLED}},
            "symbols": {symbol: {"flag_trader": {**COMPARISON}} for symbol in states},
        },
        "sensitivity": {
            "cost_bps": [0, 50],
            "participation": 0.01,
            "symbols": {s: {"flag_trader": {**robust}, "buy_and_hold": {**robust}} for s in states},
        },
        "audit": {
            "passed": True,
            "checks": [
                {
                    "decided_at": "2024-01-03T21:00:00+00:00",
                    "corruption": corruption,
                    "compared": {"prompts": 6, "decisions": 12, "fills": 2},
                    "num_differences": 0,
                    "differences": [],
                }
                for corruption in ("deleted", "reversed and dealt anew")
            ],
            "levels": {"compared": 9, "num_differences": 0, "differences": []},
            "fills": {"compared": 8, "num_fills": 3, "num_differences": 0, "differences": []},
            "full_audit": "not run",
        },
        "facts": {"seed": 7, "trained on": ["2023-01-01", "2023-12-31"]},
        "hashes": {"data": "9f3c"},
    }


@pytest.fixture
def inputs(ordinary: dict[str, Any]) -> dict[str, Any]:
    """A copy of `ordinary` to change."""
    return copy.deepcopy(ordinary)


@pytest.fixture(scope="module")
def page(ordinary: dict[str, Any]) -> str:
    """The page of `ordinary`."""
    return write_report(**ordinary)


class Texts(HTMLParser):
    """Visible text of a page, table rows as lists of cells, ids, and the JSON inside."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.json: dict[str, Any] = {}
        self.addresses: list[str | None] = []
        self._script: dict[str, str | None] | None = None
        self._in_cell = False
        self.feed(page.replace(get_plotlyjs(), ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self._script = dict(attrs) if tag in ("script", "style") else None
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._script = None
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            if self._script.get("type") == "application/json":
                self.json[str(self._script["id"])] = json.loads(data)
            return
        self.words.append(data)
        if self._in_cell:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data}".strip()

    def row(self, *cells: str) -> list[str]:
        """The only row that starts with `cells`."""
        [only] = [row for row in self.rows if row[: len(cells)] == list(cells)]
        return only


def rows_of(page: str, first: str) -> list[list[str]]:
    return [row for row in Texts(page).rows if row and row[0] == first]


def test_every_symbol_strategy_and_verdict_is_on_the_page(page: str) -> None:
    texts = Texts(page)
    words = "\n".join(texts.words)
    assert words.count(VERDICT) == 4  # below the answer, and in each symbol's section
    for expected in ("A", "B", "flag_trader", "buy_and_hold", "9f3c", "2023-01-01 to 2023-12-31"):
        assert expected in texts.words
    assert set(texts.json) == {"plot-template", "overview", "figures-0", "figures-1"}


def test_summary_has_percent_with_intervals_and_a_dash_for_none(page: str) -> None:
    answer, together, of_a, _of_b, tests, statistics, robustness, collapse = rows_of(page, "flag_trader")[:8]
    assert answer[1:] == ["13.00", "1.50 [-0.50, 3.50]", "0.600", "0.200", "-", "no"]
    assert together[1:5] == of_a[1:5] == ["12.34 [-5.00, 30.00]", "13.00", "1.50 [-0.50, 3.50]", "-"]
    over_cash = "1.50 [-0.50, 3.50] p 0.200"
    assert tests[1:] == statistics[1:]
    assert statistics[1:] == ["0.40 [-1.00, 1.80] p 0.600", over_cash, "-", "-", "-", "0.900", "-", "3", "-"]
    assert robustness[1:] == ["12.34", "7.00", "1.50", "-", "5,000,000"]
    assert collapse[1:] == ["-", "20.00", "50.00", "30.00", "60.00", "10.00", "30.00", "1.030", "-"]


def test_the_answer_is_that_of_all_symbols_and_comes_first(page: str) -> None:
    words = " ".join("".join(Texts(page).words).split())
    assert f"All 2 symbols in one account {POOLED} {RIVALS}" in words
    assert words.index(POOLED) < words.index("Causality audit") < words.index("Summary Every strategy")
    assert words.index(POOLED) < words.index(VERDICT) < words.index("9f3c")


def test_first_table_has_every_strategy_the_best_first_and_the_ruined_last(inputs: dict[str, Any]) -> None:
    pooled, compared = inputs["backtest_metrics"]["pooled"], inputs["inference"]["pooled"]
    pooled["flat"] = SCORES | {"total_return": None}
    pooled["momentum"] = SCORES | {"total_return": 0.2}
    for results in inputs["backtest_metrics"]["results"].values():
        results |= {"flat": SCORES, "momentum": SCORES}
    below = {"value": -0.1, "ci95": None, "p_value": 0.97}
    compared["momentum"] = COMPARISON | {"sharpe_difference": below, "shift_p_value": 0.0005, "proven_ahead": True}
    rows = [row for row in Texts(write_report(**inputs)).rows if row[-1:] in (["yes"], ["no"], [""])]
    assert [row[0] for row in rows[:4]] == ["momentum", "flag_trader", "buy_and_hold", "flat"]
    assert rows[0][3:] == ["below", "0.200", "0.0005", "yes"]
    assert rows[2][3:] == ["", "", "", ""]


def test_only_a_simulated_market_has_the_banner_and_it_comes_before_all_numbers(inputs: dict[str, Any]) -> None:
    assert "SIMULATED" not in " ".join(Texts(write_report(**inputs)).words)
    inputs["backtest_metrics"]["market"] = "SIMULATED, preset easy"
    words = " ".join("".join(Texts(write_report(**inputs, strength="It is strong.")).words).split())
    assert "nothing about real markets. It is strong." in words
    assert words.index("SIMULATED market.") < words.index(POOLED)


def test_every_number_of_a_card_has_the_label_that_its_column_has(page: str) -> None:
    """On a phone the heads of the columns are hidden."""
    for table in re.findall(r'<table class="cards">.*?</table>', page, re.DOTALL):
        heads = re.findall(r"<th[^>]*>(.*?)</th>", table.partition("</thead>")[0])
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table.partition("</thead>")[2]):
            if "rowgroup" not in row:
                assert re.findall(r'data-label="([^"]*)"', row) == heads[1:]


def test_what_a_nominal_level_is_worth_stands_beside_the_tests_of_each_table(page: str) -> None:
    words = " ".join(Texts(page).words)
    assert words.count("A nominal 5 % on all.") == 2  # below the answer and above the table
    assert words.count("A nominal 5 % on A.") == words.count("A nominal 5 % on B.") == 1


def test_symbol_without_volume_has_no_capacity(inputs: dict[str, Any]) -> None:
    inputs["sensitivity"]["symbols"]["B"]["flag_trader"]["capacity"] = None
    capacities = [row[-1] for row in rows_of(write_report(**inputs), "flag_trader") if row[1:3] == ["12.34", "7.00"]]
    assert capacities == ["5,000,000", "-"]


def test_audit_says_what_was_compared(page: str) -> None:
    words = " ".join("".join(Texts(page).words).split())
    assert "Causality audit passed" in words
    assert "2 checks, 12 prompts, 24 decisions, 4 fills. 9 texts" in words
    assert "the equity of 3 fills was rebuilt from the prices table. 0 differences." in words


@pytest.mark.parametrize(
    ("state", "words"),
    [("passed", "Full audit: passed."), ("failed", "Full audit: FAILED."), ("not run", "Full audit: not run.")],
)
def test_report_says_which_of_the_two_audits_passed(inputs: dict[str, Any], state: str, words: str) -> None:
    inputs["audit"]["full_audit"] = state
    assert words in " ".join("".join(Texts(write_report(**inputs)).words).split())


def test_fill_that_is_not_explained_is_named(inputs: dict[str, Any]) -> None:
    difference = {"what": "ledger", "strategy": "flag_trader", "symbol": "A", "session": "2024-01-02"}
    inputs["audit"] |= {"passed": False}
    inputs["audit"]["fills"] |= {"num_differences": 1, "differences": [difference]}
    words = " ".join("".join(Texts(write_report(**inputs)).words).split())
    assert "1 difference." in words
    assert "ledger of flag_trader, A 2024-01-02" in words


def test_failed_audit_names_the_differences(inputs: dict[str, Any]) -> None:
    difference = {"what": "prompt", "strategy": "flag_trader", "symbol": "A", "session": "2024-01-02"}
    inputs["audit"]["passed"] = False
    inputs["audit"]["checks"][0] |= {"num_differences": 1, "differences": [difference]}
    texts = Texts(write_report(**inputs))
    words = " ".join("".join(texts.words).split())
    assert "Causality audit FAILED" in words
    assert "1 difference." in words
    assert texts.row("2024-01-03T21:00:00+00:00", "deleted")[2:] == [
        "6", "12", "2", "1", "prompt of flag_trader, A 2024-01-02"
    ]  # fmt: skip


def test_texts_of_strangers_stay_texts(inputs: dict[str, Any]) -> None:
    states = inputs["market_states"]
    inputs["market_states"] = {name: table.with_columns(news_text=pl.lit(HOSTILE)) for name, table in states.items()}
    inputs["inference"]["symbols"]["A"]["flag_trader"]["verdict"] = "<b onclick=alert(3)>bold</b>"
    inputs["facts"]["name"] = '"><svg onload=alert(4)>'
    page = write_report(**inputs).replace(get_plotlyjs(), "")
    texts = Texts(page)
    assert not {"img", "svg", "b"} & set(texts.tags)
    assert texts.tags.count("script") == 6  # four of data, plotly.js, the page's own
    assert "<script>alert" not in page
    assert "<script>alert(1)</script> soars" in texts.words


def test_what_to_beware_of_is_shown_and_stays_text(inputs: dict[str, Any]) -> None:
    assert "Beware of the data" not in Texts(write_report(**inputs)).words
    texts = Texts(write_report(**inputs, data_warnings=["news of <b>A</b> end early"]))
    assert "Beware of the data" in texts.words
    assert "news of <b>A</b> end early" in texts.words


def test_hostile_names_cannot_leave_the_data(inputs: dict[str, Any]) -> None:
    hostile = "</script><script>alert(5)</script>"
    for table in ("decisions", "equity"):
        strategy = pl.col("strategy").replace("buy_and_hold", hostile)
        inputs[table] = inputs[table].with_columns(strategy=strategy)
    for symbol in ("A", "B"):
        for scored in (inputs["backtest_metrics"]["results"], inputs["sensitivity"]["symbols"]):
            scored[symbol][hostile] = scored[symbol].pop("buy_and_hold")
    inputs["backtest_metrics"]["pooled"][hostile] = inputs["backtest_metrics"]["pooled"].pop("buy_and_hold")
    page = write_report(**inputs).replace(get_plotlyjs(), "")
    assert "<script>alert" not in page
    assert Texts(page).json["figures-0"]["equity"]["data"][1]["name"] == hostile


def test_the_page_loads_nothing(page: str) -> None:
    assert page.count(get_plotlyjs()) == 1
    page = page.replace(get_plotlyjs(), "")
    assert all(str(address).startswith("#") for address in Texts(page).addresses)
    assert not re.search(r"https?://|@import|url\(|<link|<iframe|<base", page)
    assert "default-src 'none'" in page


def test_figures_carry_the_numbers_and_share_their_sessions(page: str) -> None:
    figures = Texts(page).json["figures-0"]
    sessions = [f"2024-01-0{number}" for number in range(1, 7)]
    assert figures["sessions"] == sessions
    assert set(figures) == {
        "sessions", "equity", "drawdown", "rolling_sharpe", "cost_curve", "trades", "probabilities"
    }  # fmt: skip
    path = figures["equity"]["data"][0]
    assert (path["name"], path["x"], path["y"]) == ("flag_trader", 6, [1.0, 1.2, 0.9, 0.99, 0.6, 0.66])
    assert figures["trades"]["data"][1]["x"] == ["2024-01-02", "2024-01-06"]
    assert figures["cost_curve"]["data"][0]["x"] == [0, 50]


def test_dates_become_their_number_only_where_they_are_the_first_sessions() -> None:
    traces = [{"x": ["d1", "d2"]}, {"x": ["d2"]}, {"x": ["d1", "d2", "d3"]}, {"x": [0, 5]}]
    figure = {"data": traces}
    share_sessions(figure, ["d1", "d2", "d3"])
    assert [trace["x"] for trace in figure["data"]] == [2, ["d2"], 3, [0, 5]]


def test_largest_decisions_are_the_most_probable_trades(six_sessions: SixSessions) -> None:
    largest = largest_decisions(list_trades(*six_sessions, "next_open"), num=2).filter(symbol="A")
    assert largest.select("decided", "probability").rows() == [(date(2024, 1, 3), 0.9), (date(2024, 1, 1), 0.7)]


def test_headlines_stand_beside_their_trade(page: str) -> None:
    assert [" ".join(cell.split()) for cell in rows_of(page, "2024-01-03")[0]] == [
        "2024-01-03",
        "sell, to short",
        "0.900",
        "-80.00",
        "+0.65 second +0.02 first",
    ]
    assert rows_of(page, "2024-01-01")[0][-1] == "quiet"  # not asked about


def test_calibration_and_the_markets_part_have_a_table(inputs: dict[str, Any]) -> None:
    bins = [{"probability": 0.25, "rose": 0.5, "num": 7}]
    said = {"brier": 0.24, "skill": 0.04, "expected_error": 0.125, "bins": bins}
    market = {"alpha": 0.1, "alpha_ci95": [-0.05, 0.25], "beta": 0.5, "beta_ci95": [0.4, 0.6], "r_squared": 0.3}
    inputs["inference"] |= {"calibration": {"flag_trader": said}, "market_exposure": {"flag_trader": market}}
    rows = Texts(write_report(**inputs)).rows
    assert ["0.250", "0.500", "7"] in rows
    (row,) = ([" ".join(cell.split()) for cell in row] for row in rows if row[:2] == ["flag_trader", "0.240"])
    assert row[2:] == ["4.00", "0.125", "10.00 [-5.00, 25.00]", "0.50 [0.40, 0.60]", "30.00"]


def test_policy_that_never_traded_is_named(inputs: dict[str, Any]) -> None:
    still = pl.lit(0, pl.Int64)
    for table in ("decisions", "equity"):
        inputs[table] = inputs[table].with_columns(position=still)
    assert "flag_trader made no trade." in write_report(**inputs)


def test_one_symbol_makes_a_page(inputs: dict[str, Any]) -> None:
    del inputs["backtest_metrics"]["results"]["B"]
    page = write_report(**inputs)
    assert "<h2>A</h2>" in page
    assert set(Texts(page).json) == {"plot-template", "overview", "figures-0"}


def test_ruined_account_keeps_its_page(inputs: dict[str, Any]) -> None:
    ruined = (pl.col("strategy") == "flag_trader") & (pl.col("session") > date(2024, 1, 4))
    for table in ("decisions", "equity"):
        inputs[table] = inputs[table].filter(~ruined)
    data = Texts(write_report(**inputs)).json["figures-0"]["equity"]["data"]
    assert [trace["x"] for trace in data] == [4, 6]


def test_seeds_are_shown_when_there_are_some(inputs: dict[str, Any]) -> None:
    assert "Seeds" not in Texts(write_report(**inputs)).words
    inputs["inference"]["seeds"] = {"A": {"cumulative_return": SPREAD, "sharpe_ratio": SPREAD}}
    texts = Texts(write_report(**inputs))
    assert "Seeds" in texts.words
    assert texts.row("A", "CR %") == ["A", "CR %", "5", "11.00", "12.00", "-20.00", "40.00", "13.00"]
    assert texts.row("A", "Sharpe") == ["A", "Sharpe", "5", "0.11", "0.12", "-0.20", "0.40", "0.13"]


def test_both_conventions_are_printed_whole(inputs: dict[str, Any]) -> None:
    inputs["backtest_metrics"]["convention"]["participation_cap"] = 0.05
    inputs["backtest_metrics"]["other_convention"]["convention"]["days_mean"] = 251
    words = Texts(write_report(**inputs)).words
    for expected in ("account", "investorbench", "participation cap", "0.05", "A 252, B 252", "days mean", "251"):
        assert expected in words


def test_plots_follow_the_account_when_scores_are_of_the_other_convention(inputs: dict[str, Any]) -> None:
    metrics = inputs["backtest_metrics"]
    kept = {name: metrics[name] for name in ("market", "pooled")}
    swapped = {**metrics["other_convention"], **kept, "other_convention": metrics}
    swapped["convention"] = swapped["convention"] | {"fill": "same_close"}
    texts = Texts(write_report(**inputs | {"backtest_metrics": swapped}))
    assert texts.json["figures-0"]["trades"]["data"][1]["y"] == [9.0, 18.0]  # opens, not closes


def test_number_that_is_none_must_not_be_nan(inputs: dict[str, Any]) -> None:
    inputs["backtest_metrics"]["results"]["A"]["flag_trader"]["sharpe_ratio"] = float("nan")
    with pytest.raises(DataError, match="the report was given nan"):
        write_report(**inputs)
