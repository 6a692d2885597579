"""Which words of a set of texts count in a bag of words."""

from collections import Counter
from collections.abc import Callable, Iterable


def choose_words(
    texts: Iterable[str], analyze: Callable[[str], list[str]], *, min_texts: int, max_words: int
) -> tuple[str, ...]:
    """The words that are in most texts, but not in all of them, in alphabetical order.

    A word in every text distinguishes them as little as one in a single text. Among equally frequent words the
    alphabet decides, so that the same texts always give the same words.

    Args:
        texts: any number.
        analyze: splits a text into words.
        min_texts: texts that a word must be in.
        max_words: most words returned.
    """
    bags = [set(analyze(text)) for text in texts]
    counts = Counter(word for bag in bags for word in bag)
    frequent = sorted((-num, word) for word, num in counts.items() if min_texts <= num < len(bags))
    return tuple(sorted(word for _, word in frequent[:max_words]))
