"""The probe finds out a model that learned the closes by heart, and suspects none that did not."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedTokenizerFast

from flag_kedro.experiments.memorisation import (
    CloseRecall,
    LanguageModel,
    ask,
    num_texts,
    open_language_model,
    probe_recall,
)
from flag_kedro.experiments.statements import CloseStatement, draw_statements, print_close

WINDOW = (date(2020, 7, 1), date(2020, 9, 30))
CPU = torch.device("cpu")


def _prices(num: int = 80, first: date = date(2020, 6, 22), **levels: float) -> pl.DataFrame:
    """A random walk of closes for each symbol; the adjusted close is half of the close."""
    tables = []
    for k, (symbol, level) in enumerate((levels or {"AAA": 200.0, "BBB": 50.0}).items()):
        moves = np.random.default_rng(k).normal(0.0, 0.02, num)
        closes = level * np.exp(np.cumsum(moves))
        days = [first + timedelta(days=day) for day in range(num)]
        tables.append(
            pl.DataFrame({"symbol": symbol, "session": days, "close": closes}).with_columns(
                adj_close=pl.col("close") / 2
            )
        )
    return pl.concat(tables)


@pytest.fixture(scope="module")
def statements() -> list[CloseStatement]:
    return draw_statements(_prices(), {"AAA": ["Aardvark"]}, WINDOW, 40, 9, seed=1)


def test_statement_is_true_at_its_session_and_its_alternatives_at_others(statements: list[CloseStatement]):
    printed = {(symbol, day): print_close(close) for symbol, day, close, _ in _prices().rows()}
    for statement in statements:
        symbol = "AAA" if "Aardvark (AAA)" in statement.subject else "BBB"
        assert statement.closes[statement.truth] == printed[symbol, statement.session]
        days = [statement.session + timedelta(days=3 * (k - statement.truth)) for k in range(10)]
        assert statement.closes == tuple(printed[symbol, day] for day in days)
        assert WINDOW[0] <= min(days) <= max(days) <= WINDOW[1]


def test_no_two_statements_are_true_of_the_same_symbol_and_session():
    drawn = draw_statements(_prices(), {}, WINDOW, 500, 9, seed=0)
    assert len({statement.subject for statement in drawn}) == len(drawn) > 40


def test_direction_is_that_of_the_adjusted_close(statements: list[CloseStatement]):
    prices = _prices().with_columns(up=pl.col("adj_close").diff().over("symbol") > 0)
    rose = {(symbol, day): up for symbol, day, up in prices.select("symbol", "session", "up").rows()}
    for statement in statements:
        symbol = "AAA" if "(AAA)" in statement.subject else "BBB"
        assert statement.rose == rose[symbol, statement.session]


def test_truth_is_as_likely_at_each_place():
    drawn = draw_statements(_prices(400, date(2019, 8, 1)), {}, (date(2019, 8, 1), date(2020, 8, 1)), 300, 9, seed=1)
    counts = np.bincount([statement.truth for statement in drawn], minlength=10)
    assert len(drawn) == 300
    assert counts.min() > 12  # 30 each in the mean, with a deviation of 5.2
    assert counts.max() < 48


def test_short_window_compares_sessions_side_by_side_and_too_short_a_one_none():
    assert draw_statements(_prices(), {}, (date(2020, 7, 1), date(2020, 7, 12)), 5, 9, seed=0)[0].closes
    assert draw_statements(_prices(), {}, (date(2020, 7, 1), date(2020, 7, 9)), 5, 9, seed=0) == []


def test_closes_are_printed_as_newspapers_do():
    assert [print_close(close) for close in (218.389999, 42000.0, 0.0123456)] == ["218.39", "42000.00", "0.01235"]


class _Oracle:
    """Knows every close and direction, or draws scores."""

    def __init__(self, truth: set[str], seed: int = 0) -> None:
        self.truth, self.rng = truth, np.random.default_rng(seed)

    def __call__(self, texts: list[tuple[str, str]]) -> np.ndarray:
        return np.array([5.0 * (context + end in self.truth) for context, end in texts]) + self.rng.random(len(texts))


def _true_texts(statements: list[CloseStatement]) -> set[str]:
    closes = {f"{statement.context} {statement.closes[statement.truth]}" for statement in statements}
    return closes | {statement.subject + (" rose" if statement.rose else " fell") for statement in statements}


def test_who_knows_everything_ranks_truths_first_and_tells_directions(statements: list[CloseStatement]):
    recall = probe_recall(ask(statements, _Oracle(_true_texts(statements))))
    assert recall.closes.mean_percentile == 1.0
    assert recall.closes.ranked_first == 1.0
    assert recall.closes.p_value < 1e-6
    assert recall.direction.auc == 1.0
    assert recall.direction.p_value < 1e-4


def test_who_finds_all_texts_equally_likely_is_at_chance(statements: list[CloseStatement]):
    recall = probe_recall(ask(statements, lambda texts: np.zeros(len(texts))))
    assert recall.closes == CloseRecall(
        mean_percentile=0.5, ci95=(0.5, 0.5), p_value=1.0, ranked_first=0.0, num_candidates=10
    )
    assert recall.direction.auc == 0.5


def test_guesses_are_called_recall_one_time_in_twenty(statements: list[CloseStatement]):
    p_values = [probe_recall(ask(statements, _Oracle(set(), seed))).closes.p_value for seed in range(200)]
    assert 0 < np.mean(np.array(p_values) <= 0.05) < 0.11


def test_liking_high_numbers_is_no_recall(statements: list[CloseStatement]):
    def score(texts: list[tuple[str, str]]) -> np.ndarray:
        return np.array([float(end) if end.strip()[0].isdigit() else 0.0 for _, end in texts])

    assert probe_recall(ask(statements, score)).closes.p_value > 0.05


def test_what_is_too_little_to_test_a_window_is_asked_all_the_same(statements: list[CloseStatement]):
    """Windows are tested apart, and compared together."""
    one_way = [statement for statement in statements if statement.rose]
    for some, num_sessions in ((statements[:4], len({each.session for each in statements[:4]})), (one_way, None)):
        answers = ask(some, _Oracle(_true_texts(some)))
        assert answers.percentiles["percentile"].to_list() == [1.0] * len(some)
        assert answers.odds.height == (num_sessions or len({each.session for each in one_way}))
        recall = probe_recall(answers)
        assert recall.direction is None
        assert (recall.closes is None) == (len(some) < 5)
    assert ask([], _Oracle(set())).odds.is_empty()


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token for each character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    vocabulary = {char: k for k, char in enumerate(["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer.model = models.BPE(vocabulary, [])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<s>")


def _geometry(*, tied: bool) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=257, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, bos_token_id=0, eos_token_id=0, pad_token_id=0, tie_word_embeddings=tied,
    )  # fmt: skip


def _save(folder: Path, model: torch.nn.Module) -> Path:
    model.save_pretrained(folder)  # type: ignore[operator]
    _tokenizer().save_pretrained(folder)
    return folder


def _opened(folder: Path) -> LanguageModel:
    model = open_language_model(folder, CPU)
    assert model is not None
    return model


def test_untrained_model_recalls_nothing(tmp_path: Path, statements: list[CloseStatement]):
    torch.manual_seed(0)
    recall = probe_recall(ask(statements, _opened(_save(tmp_path, LlamaForCausalLM(_geometry(tied=True)))).score))
    assert recall.closes.p_value > 0.05
    assert recall.direction.p_value > 0.05


def test_model_that_learned_the_closes_by_heart_is_found_out(tmp_path: Path, statements: list[CloseStatement]):
    torch.manual_seed(0)
    model, tokenizer = LlamaForCausalLM(_geometry(tied=True)), _tokenizer()
    asked = statements[:20]
    texts = [f"{statement.context} {statement.closes[statement.truth]}" for statement in asked]
    ids = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")["input_ids"]
    ids = torch.cat([torch.zeros(len(ids), 1, dtype=torch.long), ids], dim=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(120):
        loss = model(input_ids=ids, labels=ids.masked_fill(ids == 0, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    recall = probe_recall(ask(asked, _opened(_save(tmp_path, model.model)).score))  # saved as backbones are
    assert recall.closes.p_value < 0.01
    assert recall.closes.mean_percentile > 0.8


def test_score_is_the_mean_log_probability_of_the_continuation_and_does_not_depend_on_neighbours(tmp_path: Path):
    torch.manual_seed(0)
    model = _opened(_save(tmp_path, LlamaForCausalLM(_geometry(tied=True))))
    texts = [("A context", " 1.5"), ("Another, longer context", " 12.75"), ("A context", " 1.5")]
    scores = model.score(texts)
    for (context, continuation), score in zip(texts, scores, strict=True):
        ids = [0, *(model.tokenizer.token_to_id(char) for char in (context + continuation).replace(" ", "Ġ"))]
        with torch.no_grad():
            log_probs = model.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        steps = [float(log_probs[index - 1, ids[index]]) for index in range(len(ids) - len(continuation), len(ids))]
        assert score == pytest.approx(np.mean(steps), abs=1e-5)
    assert scores[0] == scores[2]


def test_model_without_a_head_of_its_own_is_not_asked(tmp_path: Path):
    assert open_language_model(_save(tmp_path, LlamaModel(_geometry(tied=False))), CPU) is None


def test_bar_is_as_long_as_the_texts_that_are_read(statements: list[CloseStatement]):
    read: list[int] = []

    def score(texts: list[tuple[str, str]]) -> np.ndarray:
        read.append(len(set(texts)))
        return np.zeros(len(texts))

    ask(statements, score)
    assert sum(read) == num_texts(statements)
