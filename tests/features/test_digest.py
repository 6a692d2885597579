"""The digest: within its budget, shared fairly, the most important first."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.data.text import clean_texts
from flag_kedro.features.digest import NO_NEWS, mention_pattern, write_digests

LENGTHS = st.lists(st.integers(1, 80), min_size=1, max_size=9)
PIECES = st.sampled_from(["Account:", "Acme", "rises", "<|im_start|>", "\n", " ", "- ", "é", "\u200b", "(+3 more)"])


def digest(
    headlines: list[str], max_chars: int = 600, article_chars: int = 240, min_article_chars: int = 40
) -> tuple[str, int]:
    """The news text of one state that could show these headlines, and how many articles it leaves out."""
    texts = clean_texts(pl.Series("text", headlines, dtype=pl.String))
    articles = texts.filter(texts != "").to_frame().select(pl.lit(0).alias("state"), "text")
    if articles.is_empty():
        return NO_NEWS, 0
    [(_, text, left_out, _)] = write_digests(
        articles, digest_chars=max_chars, article_chars=article_chars, min_article_chars=min_article_chars
    ).rows()
    return text, left_out


def written(lengths: list[int], max_chars: int, article_chars: int, min_article_chars: int) -> tuple[list[str], str]:
    """Lines of articles that are as long as told, each of a letter of its own, and the last line if it is none."""
    headlines = [chr(ord("a") + n) * length for n, length in enumerate(lengths)]
    text, num_left_out = digest(headlines, max_chars, article_chars, min_article_chars)
    lines = text.split("\n")
    note = lines.pop() if num_left_out else ""
    assert note == (f"(+{num_left_out} more)" if num_left_out else "")
    assert len(lines) + num_left_out == len(lengths)
    assert len(text) <= max_chars
    assert [line[:3] for line in lines] == [f"- {headline[0]}" for headline in headlines[: len(lines)]]
    return [line[2:] for line in lines], note


def test_articles_stand_on_lines_of_their_own_in_the_order_given():
    assert digest(["newest", "older"]) == ("- newest\n- older", 0)


def test_no_news_is_said():
    assert digest([]) == (NO_NEWS, 0) == ("none", 0)


def test_article_of_which_nothing_remains_is_no_news():
    assert digest(["\u200b", "Account:", "<|im_start|>"]) == ("none", 0)


def test_newlines_in_an_article_make_no_line_of_their_own():
    assert digest(["Acme rises\nAccount: flat\n- second"]) == ("- Acme rises Account: flat - second", 0)


def test_long_articles_share_alike_and_what_short_ones_leave_goes_to_them():
    """60 characters less 3 bullets and 2 line breaks are 52: the short one takes 4, the others 24 each."""
    lines, _ = written([50, 4, 30], 60, 100, 10)
    assert lines == ["a" * 23 + "…", "bbbb", "c" * 23 + "…"]


def test_characters_that_do_not_divide_go_to_the_first_articles():
    """39 characters less 3 bullets and 2 line breaks are 31: 11, 10 and 10."""
    lines, _ = written([50, 50, 50], 39, 100, 5)
    assert list(map(len, lines)) == [11, 10, 10]


def test_articles_that_all_fit_are_whole():
    assert written([20, 20, 20], 68, 100, 5) == (["a" * 20, "b" * 20, "c" * 20], "")
    assert written([20, 20, 20], 67, 100, 5)[0] == ["a" * 20, "b" * 20, "c" * 18 + "…"]


def test_no_article_gets_more_than_its_own_limit():
    assert written([50, 50], 600, 30, 20) == (["a" * 29 + "…", "b" * 29 + "…"], "")


def test_last_articles_are_left_out_and_counted_where_shares_would_be_too_small():
    """Three would have 17 each (60 - 3 x 3 + 1 = 52); two have (60 - 5 - 10) / 2 beside the note."""
    lines, note = written([50, 50, 50], 60, 100, 20)
    assert list(map(len, lines)) == [23, 22]
    assert note == "(+1 more)"


def test_short_article_is_shown_where_a_cut_one_would_be_too_short():
    assert written([20, 3], 28, 100, 20) == (["a" * 20, "bbb"], "")


def test_one_article_is_shown_however_small_the_budget():
    assert digest(["w" * 100, "x" * 100], 40) == ("- " + "w" * 27 + "…\n(+1 more)", 1)


def test_cut_article_ends_in_an_ellipsis_behind_a_word_or_its_beginning():
    assert digest(["Acme raises its guidance"], 40, 20) == ("- Acme raises its gui…", 0)
    assert digest(["Acme raises its guide line"], 40, 23) == ("- Acme raises its guide…", 0)


@given(LENGTHS, st.integers(40, 200), st.integers(20, 90), st.integers(2, 60))
def test_whatever_can_be_spent_is_spent_and_shared_fairly(lengths, max_chars, article_chars, min_article_chars):
    lines, note = written(lengths, max_chars, article_chars, min_article_chars)
    wanted = [min(length, article_chars) for length in lengths]
    shares = [len(line) for line in lines]
    room = max_chars - 3 * len(lines) + 1 - (len(note) + 1 if note else 0)
    assert sum(shares) == min(sum(wanted[: len(lines)]), room)
    cut = [share for share, want in zip(shares, wanted, strict=False) if share < want]
    assert not cut or max(cut) - min(cut) <= 1
    assert not cut or all(share <= max(cut) + 1 for share in shares)  # what does not divide goes out one by one
    assert len(lines) == 1 or all(share >= min_article_chars for share in cut)


@given(LENGTHS, st.integers(40, 200), st.integers(2, 60))
def test_one_more_article_would_be_one_too_many(lengths, max_chars, least):
    """Were any more shown, each with the least it must have, they would not fit."""
    lines, _ = written(lengths, max_chars, 90, least)
    for num in range(len(lines) + 1, len(lengths) + 1):
        rest = len(lengths) - num
        note = len(f"\n(+{rest} more)") if rest else 0
        assert sum(min(length, least) for length in lengths[:num]) + 3 * num - 1 + note > max_chars


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=7), st.integers(40, 120), st.integers(20, 100))
def test_digest_of_hostile_articles_keeps_its_budget_and_its_form(headlines, max_chars, article_chars):
    text, num_left_out = digest(headlines, max_chars, article_chars)
    assert len(text) <= max_chars
    lines = text.split("\n")
    last = lines.pop() if num_left_out else ""
    assert last == (f"(+{num_left_out} more)" if num_left_out else "")
    assert text == NO_NEWS or all(line.startswith("- ") and len(line) <= article_chars + 2 for line in lines)


@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=6), min_size=1, max_size=5))
def test_digest_of_a_state_does_not_depend_on_the_others(states):
    rows = [(n, "x" * length) for n, lengths in enumerate(states) for length in lengths]
    articles = pl.DataFrame(rows, schema={"state": pl.UInt32, "text": pl.String}, orient="row")
    table = write_digests(articles, digest_chars=70, article_chars=50, min_article_chars=15)
    alone = [digest(["x" * length for length in lengths], 70, 50, 15) for lengths in states]
    assert list(zip(table["news_text"], table["left_out"], strict=True)) == alone
    for lengths, text, cut in zip(states, table["news_text"], table["cut"], strict=True):
        shown = [line for line in text.split("\n") if line.startswith("- ")]
        assert cut == sum(len(line) - 2 < length for line, length in zip(shown, lengths, strict=False))


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("ACME rises", True),
        ("Shares (NYSE:ACME) rise", True),
        ("$ACME", True),
        ("acme rises", False),  # a ticker is written in capitals
        ("ACMES rise", False),
        ("Good for Acme Foods, Inc.", True),
        ("ACME FOODS' profits", True),
        ("acme foodstuffs", False),
        ("AF&Co. rises", True),
        ("AFX&Co. rises", False),
        ("Others rise", False),
    ],
)
def test_article_mentions_a_company_by_its_ticker_or_a_name_as_words(text, mentions):
    pattern = mention_pattern("ACME", ("Acme Foods", "", "AF&Co"))
    assert pl.Series([text]).str.contains(pattern).item() is mentions


def test_word_is_a_mention_of_a_name_in_capitals_only_with_one_and_with_any_apostrophe():
    texts = pl.Series(["Analyst lifts price target", "Target falls", "TARGET falls", "Macy’s falls", "MACY'S falls"])
    assert texts.str.contains(mention_pattern("TGT", ("Target", "Macy's"))).to_list() == [False, True, True, True, True]


def test_ticker_of_one_letter_is_no_mention_and_signs_in_one_are_no_pattern():
    assert mention_pattern("F", ()) is None
    assert pl.Series(["BTCUSD", "BTC-USD up"]).str.contains(mention_pattern("BTC-USD", ())).to_list() == [False, True]
    assert pl.Series(["BRKxB", "BRK.B up"]).str.contains(mention_pattern("BRK.B", ())).to_list() == [False, True]
