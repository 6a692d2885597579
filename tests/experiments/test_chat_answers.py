"""Which action an answer names, and which answers name none."""

import pytest

from flag_kedro.experiments.chat_answers import AnswerStore, ChatAnswer, read_answer

SELL, HOLD, BUY = 0, 1, 2


def answer(content: str | None, refusal: str | None = None) -> ChatAnswer:
    return ChatAnswer(
        content=content, refusal=refusal, finish_reason="stop", served_by="m", input_tokens=1, output_tokens=1
    )


@pytest.mark.parametrize(
    ("content", "action"),
    [
        ("buy", BUY),
        (" Sell\n", SELL),
        ("**HOLD**.", HOLD),
        ('"buy"', BUY),
        ("Decision: sell", SELL),
        ("Answer - hold", HOLD),
        ("Buy, since the news is good", BUY),
        ("hold off on selling", HOLD),
    ],
)
def test_answer_that_begins_with_one_action_names_it(content, action):
    reading = read_answer(answer(content))
    assert (reading.action, reading.problem) == (action, None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "empty"),
        ("", "empty"),
        (" \n", "empty"),
        ("I would not buy", "no action"),
        ("I'm sorry, I cannot give financial advice.", "no action"),
        ("buyer", "no action"),
        ("...", "no action"),
        ("{}", "no action"),
        ("kaufen", "no action"),
        ("buy or sell", "several actions"),
        ("Hold. Do not buy.", "several actions"),
    ],
)
def test_answer_that_names_no_single_action_is_unreadable(content, problem):
    reading = read_answer(answer(content))
    assert (reading.action, reading.problem) == (None, problem)


def test_refusal_is_one_whatever_else_is_said():
    assert read_answer(answer("buy", refusal="I cannot")).problem == "refusal"


def test_store_gives_back_what_was_put_and_tells_questions_apart(tmp_path):
    store = AnswerStore(tmp_path / "new")
    store.put({"model": "a", "n": 1}, answer("buy – 買い"))
    assert store.get({"n": 1, "model": "a"}) == answer("buy – 買い")
    assert store.get({"model": "a", "n": 2}) is None
