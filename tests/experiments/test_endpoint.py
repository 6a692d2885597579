"""A language model behind a server: what it is asked, how failures are met, and that answers on disk replay."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from chat_server import KEY, ChatServer, Reply, serving
from flag_kedro.backtest.endpoint_config import EndpointConfig
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import States
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments.endpoint import Endpoint
from flag_kedro.experiments.language_models import AskedModels, describe_models, report_endpoint, sentences
from flag_kedro.names import ENDPOINT_LM

SELL, HOLD, BUY = 0, 1, 2
FLAT, LONG = [False, True, True], [True, True, False]
WINDOWS = WindowsConfig(
    train=(date(2023, 7, 3), date(2023, 7, 31)),
    validation=(date(2023, 8, 1), date(2023, 8, 15)),
    test=(date(2023, 8, 16), date(2023, 8, 30)),
)


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with serving(ChatServer()) as server:
        yield server


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def ask(chat: ChatServer, tmp_path: Path, waited: list[float]) -> Callable[..., Endpoint]:
    """An endpoint at the server that notes its waits instead of waiting."""

    def make(**given: Any) -> Endpoint:
        options = {"url": chat.url, "model": "gpt-x", "cutoff": "unknown", "attempts": 3} | given
        return Endpoint(EndpointConfig(**options), tmp_path / "answers", sleep=waited.append)

    return make


@pytest.fixture
def split(small_states: dict[str, pl.DataFrame]) -> MarketSplit:
    return MarketSplit.of(small_states, DataConfig(windows=WINDOWS), EnvConfig())


def states(*prompts: str, legal: list[bool] = FLAT) -> States:
    return States(list(prompts), [" Decision:"] * len(prompts), np.array([legal] * len(prompts)))


def play(endpoint: Endpoint, split: MarketSplit) -> Replay:
    return replay(ENDPOINT_LM, split.test, split.env, endpoint.decide)


def test_model_is_told_the_prompt_and_which_actions_are_legal(chat, ask):
    chat.usual = Reply("Buy.")
    assert ask().decide(states("Market: calm.")).actions.tolist() == [BUY]
    (request,) = chat.requests
    assert request == {
        "model": "gpt-x",
        "messages": [
            {"role": "system", "content": "Answer with one word and nothing else: hold or buy."},
            {"role": "user", "content": "Market: calm. Decision:"},
        ],
        "max_tokens": 8,
        "temperature": 0,
    }


def test_each_question_is_asked_once(chat, ask):
    endpoint = ask()
    endpoint.decide(states("A", "B", "A"))
    endpoint.decide(states("B"))
    assert len(chat.requests) == 2
    endpoint.decide(states("B", legal=LONG))
    ask(max_tokens=9).decide(states("B"))
    ask(model="gpt-y").decide(states("B"))
    assert len(chat.requests) == 5


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_busy_or_failing_server_is_asked_again(chat, ask, waited, status):
    chat.script.extend([Reply(status=status), Reply(status=status), Reply("buy")])
    assert ask().decide(states("A")).actions.tolist() == [BUY]
    assert waited == [1.0, 2.0]


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("100000", 60.0), ("soon", 1.0), ("0", 1.0)])
def test_server_that_says_how_long_to_wait_is_heard_up_to_a_minute(chat, ask, waited, header, seconds):
    chat.script.append(Reply(status=429, headers={"Retry-After": header}))
    ask().decide(states("A"))
    assert waited == [seconds]


@pytest.mark.parametrize("raw", ["{not json", "", "[1]", "null", '{"choices": []}', '{"choices": [{"message": 3}]}'])
def test_answer_that_is_no_completion_is_asked_again(chat, ask, waited, raw):
    chat.script.append(Reply(raw=raw))
    ask().decide(states("A"))
    assert waited == [1.0]
    assert len(chat.requests) == 2


def test_server_that_does_not_answer_in_time_is_asked_again(chat, ask, waited):
    chat.script.append(Reply(delay=1.0))
    assert ask(timeout=0.3).decide(states("A")).actions.tolist() == [HOLD]
    assert waited == [1.0]


def test_tries_have_a_bound_and_the_error_says_the_last_answer_and_what_to_do(chat, ask, tmp_path):
    chat.usual = Reply(status=500)
    with pytest.raises(DataError, match=r"no usable answer in 3 tries .*status 500.*Answers so far are kept"):
        ask().decide(states("A"))
    assert len(chat.requests) == 3
    assert not list(tmp_path.glob("answers/*.json"))


def test_nobody_at_the_address_is_an_error_after_all_tries(ask, waited):
    with pytest.raises(DataError, match="no usable answer in 3 tries"):
        ask(url="http://127.0.0.1:9/v1").decide(states("A"))
    assert len(waited) == 2


@pytest.mark.parametrize(
    ("status", "hint"),
    [(400, "the request is not what this server takes"), (401, "look at the key in"), (403, "look at the key in")],
)
def test_server_that_refuses_is_not_asked_again(chat, ask, waited, status, hint):
    chat.usual = Reply(status=status)
    with pytest.raises(ParameterError, match=f"answers status {status}: .*the server says {status}; {hint}"):
        ask().decide(states("A"))
    assert len(chat.requests) == 1
    assert waited == []


def test_wrong_address_is_not_asked_again_and_named(chat, ask):
    wrong = chat.url.replace("/v1", "/v2")
    with pytest.raises(ParameterError, match=rf"status 404.*look at backtest\.endpoint\.url \({wrong}\) and model"):
        ask(url=wrong).decide(states("A"))
    assert len(chat.requests) == 1


def test_key_comes_from_the_environment_and_is_written_nowhere(chat, ask, tmp_path, monkeypatch):
    chat.key = KEY
    monkeypatch.setenv("SOME_KEY", KEY)
    endpoint = ask(api_key_env="SOME_KEY")
    assert endpoint.decide(states("A")).actions.tolist() == [HOLD]
    kept = [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(kept) == 1
    assert KEY not in "".join([*kept, repr(endpoint)])


def test_key_that_a_server_repeats_is_not_shown(chat, ask, monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    chat.usual = Reply(status=401, raw=json.dumps({"error": {"message": f"bad key {KEY}"}}))
    with pytest.raises(ParameterError) as raised:
        ask(api_key_env="SOME_KEY").decide(states("A"))
    assert "bad key ***" in str(raised.value)
    assert KEY not in str(raised.value)


def test_missing_key_is_named_by_its_variable_before_anything_is_asked(chat, ask, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ParameterError, match="the environment variable SOME_KEY is not set"):
        ask(api_key_env="SOME_KEY").decide(states("A"))
    assert chat.requests == []


def test_second_run_without_server_and_key_has_the_same_equity(chat, ask, split, tmp_path, monkeypatch):
    chat.key = KEY
    chat.script.extend(Reply(word) for word in ["buy", "Buy", "hold", "**Sell**", "hold", "sell", "perhaps"])
    monkeypatch.setenv("SOME_KEY", KEY)
    given = {"api_key_env": "SOME_KEY", "input_price": 1.0, "output_price": 2.0}
    endpoint = ask(**given)
    first = play(endpoint, split)
    described = describe_models(AskedModels(False, endpoint.config, endpoint.answers), {ENDPOINT_LM: first}, split)
    assert first.equity["position"].n_unique() == 2
    num_asked = len(chat.requests)
    monkeypatch.delenv("SOME_KEY")
    chat.key = "changed"
    monkeypatch.setattr(Endpoint, "_ask", None)  # whoever asks the server now fails
    again = ask(**given)
    second = play(again, split)
    assert len(chat.requests) == num_asked
    assert second.equity.equals(first.equity)
    assert second.decisions.equals(first.decisions)
    asked = AskedModels(False, again.config, tmp_path / "answers")
    assert describe_models(asked, {ENDPOINT_LM: second}, split) == described


def test_damaged_answer_is_refused_with_its_file(ask, tmp_path):
    endpoint = ask()
    endpoint.decide(states("A"))
    (file,) = tmp_path.glob("answers/*.json")
    file.write_text(file.read_text()[:40])
    with pytest.raises(DataError, match=f"{file.name} is damaged .*delete it"):
        endpoint.decide(states("A"))


def test_answers_that_cannot_be_read_hold_and_are_counted_by_reason_and_symbol(chat, ask, split):
    """Eleven sessions of two symbols: flat throughout, so nobody holds what an unread answer might have sold."""
    odd = [Reply(None), Reply(""), Reply("I cannot give advice."), Reply("", refusal="no"), Reply("buy or sell")]
    chat.script.extend([*odd, Reply("sell")])
    endpoint = ask()
    played = play(endpoint, split)
    assert played.decisions["action"].unique().to_list() == ["hold"]
    report = report_endpoint(endpoint, played.prompts, split)
    assert report.num_decisions == 22
    assert report.unreadable == {"empty": 2, "no action": 1, "refusal": 1, "several actions": 1}
    assert report.unreadable_by_symbol == {"ALDR": 3, "BRIX": 2}
    assert report.num_illegal == 1


def test_cost_is_that_of_the_tokens_at_the_prices_given(chat, ask, split):
    """22 prompts of 100 tokens at 5 and answers of 2 at 10 a million: 0.011 + 0.00044."""
    endpoint = ask(input_price=5.0, output_price=10.0)
    report = report_endpoint(endpoint, play(endpoint, split).prompts, split)
    assert (report.input_tokens, report.output_tokens, report.num_uncounted) == (2200, 44, 0)
    assert report.cost == pytest.approx(0.01144)
    assert report.cost_per_decision == pytest.approx(0.00052)


def test_cost_is_unknown_where_the_server_does_not_count(chat, ask, split):
    chat.script.append(Reply(usage=None))
    endpoint = ask(input_price=5.0, output_price=10.0)
    described = describe_models(
        AskedModels(False, endpoint.config, endpoint.answers), {ENDPOINT_LM: play(endpoint, split)}, split
    )
    assert described["endpoint"]["cost"] is None
    assert "did not count the tokens of 1 prompts" in sentences(described)[0]


def test_summary_names_model_cutoff_unreadable_answers_and_cost(chat, ask, small_states):
    data = DataConfig(source="files", path="prices.csv", calendar="XNYS", windows=WINDOWS)
    split = MarketSplit.of(small_states, data, EnvConfig())
    chat.script.extend([Reply("maybe"), Reply("sell")])
    endpoint = ask(cutoff=date(2023, 8, 23), input_price=5.0, output_price=10.0)
    replays = {ENDPOINT_LM: play(endpoint, split)}
    asked = AskedModels(False, endpoint.config, endpoint.answers)
    (sentence,) = sentences(json.loads(json.dumps(describe_models(asked, replays, split))))
    assert sentence == (
        f"endpoint_lm asked gpt-x at {endpoint.config.host} (cutoff of its training text 2023-08-23, 55% of the "
        "sessions here up to it). 1 of 22 answers could not be read (no action 1) and 1 chose an illegal action: "
        "those decisions held. 0.00052 a decision, 0.0114 in all at the prices given (2,200 tokens in and 44 out)."
    )
    unknown = AskedModels(False, replace(endpoint.config, cutoff="unknown"), endpoint.answers)
    assert "unknown: every session may be remembered" in sentences(describe_models(unknown, replays, split))[0]


def test_no_text_tells_of_a_simulated_market(chat, ask, split):
    endpoint = ask(cutoff=date(2030, 1, 1))
    asked = AskedModels(False, endpoint.config, endpoint.answers)
    described = describe_models(asked, {ENDPOINT_LM: play(endpoint, split)}, split)
    assert described["endpoint"]["share_seen"] is None
    assert "2030-01-01; the market is simulated, so no text tells of it" in sentences(described)[0]
