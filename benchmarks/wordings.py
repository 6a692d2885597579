"""Who can read the paraphrases of the simulated market? Ridge classifiers of good and bad, by window and level.

They learn on the wordings of the training window and are scored on those of the later ones: from counts of words and
pairs of words, of characters, and from what layers of a language model make of a headline. The penalty is chosen on
training pairs alone, a sixth of them left out in turn.

    python benchmarks/wordings.py --backbone FOLDER --layer 18 20
    python benchmarks/wordings.py --backbone FOLDER --random --test
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoConfig, AutoModel, AutoTokenizer

from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated.paraphrases import SECOND, WINDOWS, load_pairs
from flag_kedro.data.streams import stream

Scores = dict[tuple[str, int], float]
PENALTIES = np.logspace(0, 6, 13)
FOLDS = 6
WORDS, CHARACTERS = "words and pairs of words", "characters, 3 to 5"


@dataclass(frozen=True)
class Headline:
    """A wording with a company before it."""

    text: str
    pair: int
    window: str
    level: int
    good: bool


def write_headlines(names: int, seed: int) -> list[Headline]:
    """Both wordings of every pair, of each of `names` companies that are drawn for the pair."""
    rng = stream(seed, "companies")
    headlines = []
    for index, pair in enumerate(pair for pair in load_pairs() if pair.window != SECOND):  # that one is scored once
        for company in rng.choice(list(COMPANIES.values()), size=names, replace=False):
            for kind, predicate in (("good", pair.good), ("bad", pair.bad)):
                text = f"{company} {predicate}"
                headlines.append(Headline(text, index, WINDOWS[pair.window], pair.level, kind == "good"))
    return headlines


def score(features: Any, headlines: Sequence[Headline], *, scaled: bool) -> Scores:
    """Accuracy by window and level.

    Args:
        features: a row for each headline, dense or sparse.
        headlines: what they are of.
        scaled: whether columns are given variance 1 first.
    """
    ridge = RidgeClassifier()
    model = make_pipeline(StandardScaler(), ridge) if scaled else make_pipeline(ridge)
    search = GridSearchCV(model, {"ridgeclassifier__alpha": PENALTIES}, cv=GroupKFold(FOLDS))
    good = np.array([headline.good for headline in headlines])
    train = np.flatnonzero([headline.window == "train" for headline in headlines])
    pairs = np.array([headline.pair for headline in headlines])
    search.fit(features[train], good[train], groups=pairs[train])
    right = search.predict(features) == good
    cells = sorted({(headline.window, headline.level) for headline in headlines if headline.window != "train"})
    return {cell: float(right[[(each.window, each.level) == cell for each in headlines]].mean()) for cell in cells}


def count_features(headlines: Sequence[Headline]) -> dict[str, Any]:
    """Counts that know the training window's words alone."""
    texts = [headline.text for headline in headlines]
    train = [headline.text for headline in headlines if headline.window == "train"]
    words = CountVectorizer(binary=True, ngram_range=(1, 2)).fit(train)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)).fit(train)
    return {WORDS: words.transform(texts), CHARACTERS: characters.transform(texts)}


@torch.inference_mode()
def layer_features(
    headlines: Sequence[Headline], folder: Path, layers: Sequence[int], *, random: bool
) -> dict[str, NDArray[np.float32]]:
    """Hidden states after so many layers: of the last token, and their mean over tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModel.from_config(config) if random else AutoModel.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    rows: dict[str, list[NDArray[np.float32]]] = {}
    for headline in headlines:
        tokens = tokenizer(headline.text, return_tensors="pt")["input_ids"]
        states = model(tokens, output_hidden_states=True).hidden_states
        for layer in layers or range(len(states) // 5, len(states), len(states) // 5):
            rows.setdefault(f"layer {layer}, last token", []).append(states[layer][0, -1].float().numpy())
            rows.setdefault(f"layer {layer}, mean", []).append(states[layer][0].float().mean(dim=0).numpy())
    return {name: np.stack(vectors) for name, vectors in rows.items()}


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", type=Path, help="folder of a language model and its tokenizer")
    parser.add_argument("--random", action="store_true", help="random weights of its geometry")
    parser.add_argument("--layer", type=int, nargs="+", default=[], help="after so many layers; five by default")
    parser.add_argument("--names", type=int, default=1, help="companies that each wording is told of")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="the test window too; choose without it")
    arguments = parser.parse_args()
    if arguments.backbone and not (arguments.backbone / "config.json").is_file():
        parser.error(f"--backbone {arguments.backbone} has no config.json; name the folder of a saved model")
    windows = WINDOWS[: 3 if arguments.test else 2]
    headlines = [each for each in write_headlines(arguments.names, arguments.seed) if each.window in windows]
    results = {name: score(values, headlines, scaled=False) for name, values in count_features(headlines).items()}
    if arguments.backbone:
        layers = layer_features(headlines, arguments.backbone, arguments.layer, random=arguments.random)
        results |= {name: score(values, headlines, scaled=True) for name, values in layers.items()}
    cells = sorted(next(iter(results.values())), key=lambda cell: (WINDOWS.index(cell[0]), cell[1]))
    print("| features | " + " | ".join(f"{window}, level {level}" for window, level in cells) + " |")
    print("|---|" + "---:|" * len(cells))
    for name, scores in results.items():
        print(f"| {name} | " + " | ".join(f"{scores[cell]:.2f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
