from flag_kedro.features.words import choose_words

TEXTS = ["profit rises again", "profit falls", "profit rises", "profit stays"]


def test_words_of_one_text_and_of_all_texts_are_left_out() -> None:
    assert choose_words(TEXTS, str.split, min_texts=2, max_words=9) == ("rises",)


def test_a_word_counts_once_in_a_text() -> None:
    assert choose_words(["up up", "down", "down"], str.split, min_texts=2, max_words=9) == ("down",)


def test_the_most_frequent_words_are_kept_and_the_alphabet_breaks_ties() -> None:
    texts = ["c b a", "c b a", "c", ""]
    assert choose_words(texts, str.split, min_texts=1, max_words=2) == ("a", "c")


def test_no_texts_have_no_words() -> None:
    assert choose_words([], str.split, min_texts=1, max_words=9) == ()
