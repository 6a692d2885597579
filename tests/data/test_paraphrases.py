"""Paraphrases: enough wordings, two of a pair about the same things, and no window's words of any use in another."""

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline

from flag_kedro.data.simulated.paraphrases import (
    LARGE,
    SMALL,
    WINDOWS,
    Pair,
    contradict,
    load_neutral,
    load_pairs,
    paraphrase,
)

FUNCTION_WORDS = set(
    re.findall(r"\w+", "a an and as at by for from in into is it its of off on out over than that the to under up with")
)
"""They carry no sign of their own; each is about as frequent on either side."""
INFLECTIONS, DERIVATIONS = ("ing", "ied", "ies", "ed", "es", "s"), ("en", "er", "ly", "e", "y")


def stem(word: str) -> str:
    """A word without its endings: raises, raised and raising are one."""
    for endings in (INFLECTIONS, DERIVATIONS):
        fitting = (end for end in endings if word.endswith(end) and len(word) - len(end) >= 3)
        word = word.removesuffix(next(fitting, "")) if not word.endswith("ss") else word
    return word


def stems(text: str) -> set[str]:
    return {stem(word) for word in re.findall(r"[a-z']+", text.lower())}


def of(window: int, level: int | None = None) -> list[Pair]:
    return [pair for pair in load_pairs() if pair.window == window and level in (None, pair.level)]


def signs(window: int) -> set[str]:
    """Stems that tell the two of a pair apart, in any pair of a window."""
    return set().union(*(stems(pair.good) ^ stems(pair.bad) for pair in of(window)))


def counts(window: int) -> tuple[Counter[str], Counter[str]]:
    """In how many good and in how many bad wordings of a window each stem occurs."""
    good, bad = Counter[str](), Counter[str]()
    for pair in of(window):
        good.update(stems(pair.good))
        bad.update(stems(pair.bad))
    return good, bad


def test_words_are_stemmed_as_the_checks_need_it():
    assert {stem(word) for word in ("raises", "raised", "raising", "raise")} == {"rais"}
    assert stem("widens") == stem("widen")
    assert stem("loss") != stem("loses")


def test_there_are_five_hundred_pairs_of_training_and_sixty_of_each_later_window():
    sizes = [len(of(window)) for window in range(4)]
    assert sizes[0] >= 500
    assert min(sizes) >= 60
    for level in (1, 2):
        numbers = [len(of(window, level)) for window in range(4)]
        assert numbers[0] >= 180
        assert min(numbers) >= 20
    assert sum(len(of(window, level)) for window in range(4) for level in (1, 2)) == sum(sizes)


def test_neutral_wordings_are_divided_too():
    sizes = [len(texts) for texts in load_neutral()[:3]]
    assert sum(sizes) >= 60
    assert [size / sum(sizes) for size in sizes] == pytest.approx([0.6, 0.2, 0.2], abs=0.01)


def test_no_wording_occurs_twice_and_each_reads_on_from_a_name():
    texts = [text for pair in load_pairs() for text in (pair.good, pair.bad)]
    texts += [text for window in load_neutral()[:3] for text in window]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert re.fullmatch(r"[a-z][A-Za-z' -]+[A-Za-z]", text), text
        assert "  " not in text
        assert text.split()[0].endswith("s") or text.startswith(("easily places ", "barely places ")), text


def test_the_two_of_a_pair_share_what_they_are_about():
    """At least one word that is no function word; and the longer half of their words together."""
    for pair in load_pairs():
        shared, told_apart = stems(pair.good) & stems(pair.bad), stems(pair.good) ^ stems(pair.bad)
        assert shared - FUNCTION_WORDS, pair
        assert len(told_apart - FUNCTION_WORDS) <= 4, pair


@pytest.mark.parametrize(("earlier", "later"), [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)])
def test_words_that_tell_good_from_bad_occur_in_no_other_window(earlier: int, later: int):
    good, bad = counts(earlier)
    assert (signs(later) - FUNCTION_WORDS) & (good.keys() | bad.keys()) == set()


@pytest.mark.parametrize("later", [1, 2, 3])
def test_no_word_of_a_later_window_leans_to_a_side_in_training(later: int):
    """Log-odds of its training counts with one added to each; 0.3 is 4 good for 3 bad."""
    good, bad = counts(0)
    later_words = set().union(*(count.keys() for count in counts(later)))
    for word in later_words:
        assert abs(np.log((good[word] + 1) / (bad[word] + 1))) < 0.3, word


@pytest.mark.parametrize("model", [RidgeClassifier(alpha=1.0), RidgeClassifier(alpha=30.0), LogisticRegression()])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_counts_of_words_learn_nothing_for_later_windows(window: int, model: RidgeClassifier | LogisticRegression):
    def texts(number: int) -> tuple[list[str], list[bool]]:
        pairs = of(number)
        return [pair.good for pair in pairs] + [pair.bad for pair in pairs], [True] * len(pairs) + [False] * len(pairs)

    reader = make_pipeline(CountVectorizer(binary=True, ngram_range=(1, 2)), model).fit(*texts(0))
    assert reader.score(*texts(0)) > 0.9
    assert 0.38 <= reader.score(*texts(window)) <= 0.62


def test_drawn_sentences_are_the_windows_own_and_all_of_them_come():
    rng = np.random.default_rng(0)
    for window in range(4):
        drawn = {paraphrase("bad", "X", window, rng, reversal_share=0.4) for _ in range(12000)}
        assert {(text.removeprefix("X "), level) for text, level in drawn} == {
            (pair.bad, pair.level) for pair in of(window)
        }
        neutral = {paraphrase("neutral", "X", window, rng, reversal_share=0.4) for _ in range(2000)}
        assert {text.removeprefix("X ") for text, _ in neutral} == set(load_neutral()[window])
        assert {level for _, level in neutral} == {0}


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_reversal_share_is_the_part_that_is_turned_round(share: float, expected: float):
    rng = np.random.default_rng(0)
    levels = [paraphrase("good", "X", 1, rng, reversal_share=share).level for _ in range(4000)]
    assert set(levels) <= {1, 2}
    assert np.mean(np.array(levels) == 2) == pytest.approx(expected, abs=0.03)


def test_sizes_of_a_conflict_are_said_with_words_that_no_wording_has():
    assert not set(LARGE) & set(SMALL)
    for text in (text for pair in load_pairs() for text in (pair.good, pair.bad)):
        assert not any(f" {size} " in f" {text} " for size in (*LARGE, *SMALL))


def test_conflict_is_a_large_one_and_a_small_one_of_the_other_side_and_of_another_pair():
    rng = np.random.default_rng(0)
    for window, kind in ((0, "good"), (1, "bad"), (2, "good"), (3, "bad")):
        scaling = [pair for pair in of(window) if pair.scales]
        assert len(scaling) >= 12
        for _ in range(300):
            larger, smaller = contradict("X", window, kind, rng)
            strong = {getattr(pair, kind): pair for pair in scaling}
            weak = {pair.bad if kind == "good" else pair.good: pair for pair in scaling}
            (one,) = [pair for text, pair in strong.items() if larger in {f"X {text} {size}" for size in LARGE}]
            (other,) = [pair for text, pair in weak.items() if smaller in {f"X {text} {size}" for size in SMALL}]
            assert one != other


def test_windows_share_no_wording():
    said = [{text for pair in of(window) for text in (pair.good, pair.bad)} for window in range(4)]
    assert not any(one & other for one, other in combinations(said, 2))
    assert WINDOWS == ("train", "validation", "test", "second")
