"""What a chat model answered, kept on disk so that a backtest repeats without asking again, and what it means."""

import json
import re
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from flag_kedro.data.atomic import atomic_write
from flag_kedro.env.account import ACTION_NAMES
from flag_kedro.errors import DataError

OPENING = re.compile(r"\W*(?:(?:decision|action|answer)\W+)?(\w+)", re.IGNORECASE | re.ASCII)
WORDS = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class ChatAnswer:
    """One answer, as it came."""

    content: str | None
    refusal: str | None
    """What the server put into its own field for refusals."""
    finish_reason: str | None
    """`stop`, `length` and the like."""
    served_by: str | None
    """What the server calls the model that answered."""
    input_tokens: int | None
    """None where the server does not count."""
    output_tokens: int | None


@dataclass(frozen=True)
class Reading:
    """The action that an answer names, or why none can be read."""

    action: int | None
    problem: str | None
    """`refusal`, `empty`, `no action` or `several actions`."""


def read_answer(answer: ChatAnswer) -> Reading:
    """The action of an answer that begins with one of the three words and names no other.

    "Buy", "**hold**." and "Decision: sell" are read; "I would not buy" is not, since it does not begin with it.
    """
    if answer.refusal:
        return Reading(None, "refusal")
    text = (answer.content or "").strip().lower()
    if not text:
        return Reading(None, "empty")
    opening = OPENING.match(text)
    named = {word for word in WORDS.findall(text) if word in ACTION_NAMES}
    if opening is None or opening[1] not in ACTION_NAMES:
        return Reading(None, "no action")
    return Reading(ACTION_NAMES.index(opening[1]), None) if len(named) == 1 else Reading(None, "several actions")


@dataclass(frozen=True)
class AnswerStore:
    """Answers in a folder, a JSON file each, named by a hash of the question."""

    folder: Path

    def get(self, question: dict[str, Any]) -> ChatAnswer | None:
        """The answer to a question that was asked before.

        Raises:
            DataError: when its file is not as it was written.
        """
        path = self._path(question)
        if not path.is_file():
            return None
        try:
            return ChatAnswer(**json.loads(path.read_text(encoding="utf-8"))["answer"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it, and the question is asked again") from error

    def put(self, question: dict[str, Any], answer: ChatAnswer) -> None:
        """Keep an answer; the file is there whole or not at all."""
        kept = json.dumps({"question": question, "answer": asdict(answer)}, indent=1, ensure_ascii=False)
        with atomic_write(self._path(question)) as temporary:
            temporary.write_text(kept + "\n", encoding="utf-8")

    def _path(self, question: dict[str, Any]) -> Path:
        name = sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{name}.json"
