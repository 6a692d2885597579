"""A language model behind a server that speaks OpenAI's protocol, asked for every decision of a backtest.

An optional extra: `pip install 'flag_kedro[endpoint]'`; replaying answers that are on disk needs neither it, nor the
server, nor a key.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from flag_kedro.backtest.endpoint_config import EndpointConfig
from flag_kedro.env.account import ACTION_NAMES, HOLD
from flag_kedro.env.states import Decisions, States
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments.chat_answers import AnswerStore, ChatAnswer, read_answer

logger = logging.getLogger(__name__)

INSTRUCTION = "Answer with one word and nothing else: {actions}."
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second try, doubled for each further one; a server's Retry-After counts up to the longest."""
BUSY = (408, 409, 425, 429)
"""Status codes beside 5xx after which the same question may be answered later."""
SHOWN = 300
"""Characters of a server's message that are shown."""


class NoAnswer(DataError):
    """No usable answer this time; another try may help."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Endpoint:
    """The model as a decision rule. An answer that cannot be read, or an illegal one, holds; both are counted later."""

    config: EndpointConfig
    answers: Path
    """Folder of the answers so far."""
    sleep: Callable[[float], None] = field(default=time.sleep)
    """Waits so many seconds."""

    def decide(self, states: States) -> Decisions:
        """The action that each answer names, hold for one that names none or an illegal one.

        Raises:
            ParameterError, DataError: see `answer`.
        """
        actions = []
        for prefix, account, mask in zip(states.prefix, states.account, states.action_mask, strict=True):
            action = read_answer(self.answer(prefix + account, legal_actions(mask))).action
            actions.append(HOLD if action is None or not mask[action] else action)
        return Decisions(np.array(actions, dtype=np.int64))

    def answer(self, prompt: str, legal: tuple[str, ...]) -> ChatAnswer:
        """The answer to a prompt, from disk if it was ever asked, else from the server and then on disk.

        Args:
            prompt: as policies read it.
            legal: names of the actions that it may choose from.

        Raises:
            ParameterError: when the server does not let us ask so (no key, no such model, bad request), or the SDK or
                the key is missing.
            DataError: when no try was answered usably, or a kept answer is damaged.
        """
        question = self._question(prompt, legal)
        kept = self._store.get(question)
        if kept is not None:
            return kept
        answer = self._ask(question)
        self._store.put(question, answer)
        return answer

    def _question(self, prompt: str, legal: tuple[str, ...]) -> dict[str, Any]:
        """All that the answer depends on."""
        instruction = INSTRUCTION.format(actions=" or ".join(legal))
        return {
            "url": self.config.url,
            "model": self.config.model,
            "messages": [{"role": "system", "content": instruction}, {"role": "user", "content": prompt}],
            "max_tokens": self.config.max_tokens,
            "temperature": 0,
        }

    def _ask(self, question: dict[str, Any]) -> ChatAnswer:
        longer = wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, NoAnswer) else 0.0
            return max(longer(state), min(asked, LONGEST_WAIT))

        def log_retry(state: RetryCallState) -> None:
            reason = state.outcome.exception() if state.outcome else None
            seconds = state.next_action.sleep if state.next_action else 0.0
            logger.warning("endpoint_lm: %s; asking again in %.0f s", reason, seconds)

        retrying = Retrying(
            retry=retry_if_exception_type(NoAnswer),
            stop=stop_after_attempt(self.config.attempts),
            wait=wait,
            sleep=self.sleep,
            before_sleep=log_retry,
            reraise=True,
        )
        try:
            return retrying(self._ask_once, question)
        except NoAnswer as error:
            raise DataError(
                f"endpoint_lm: {self.config.host} gave no usable answer in {self.config.attempts} tries "
                f"(backtest.endpoint.attempts); the last was: {error}. Answers so far are kept: run again later "
                "(kedro run --pipelines=backtest), or set backtest.endpoint to null"
            ) from error

    def _ask_once(self, question: dict[str, Any]) -> ChatAnswer:
        """One try.

        Raises:
            NoAnswer: when another one may help.
            ParameterError: when it would not.
        """
        client = self._client
        import openai

        request = {name: value for name, value in question.items() if name != "url"}
        try:
            completion = client.chat.completions.create(**request)
        except openai.APIStatusError as error:
            reason = f"status {error.status_code}: {self._shown(error.message)}"
            if error.status_code in BUSY or error.status_code >= 500:
                raise NoAnswer(reason, _retry_after(error.response.headers.get("retry-after"))) from None
            raise ParameterError(f"backtest.endpoint: {self.config.host} answers {reason}{self._hint(error)}") from None
        except openai.APIConnectionError as error:  # a time-out is one
            raise NoAnswer(f"{self._shown(str(error))} ({self.config.url})") from None
        except json.JSONDecodeError:
            raise NoAnswer("an answer that is no JSON") from None
        return _as_answer(completion)

    @cached_property
    def _store(self) -> AnswerStore:
        return AnswerStore(self.answers)

    @cached_property
    def _client(self) -> Any:
        """The SDK's client, made when something must be asked.

        Raises:
            ParameterError: when the SDK or the key is missing.
        """
        try:
            import openai
        except ImportError as error:
            raise ParameterError(
                f"backtest.endpoint needs OpenAI's SDK, which cannot be imported ({error}); install it with "
                "pip install 'flag_kedro[endpoint]', or set backtest.endpoint to null"
            ) from error
        return openai.OpenAI(
            base_url=self.config.url, api_key=self._key or "none", max_retries=0, timeout=self.config.timeout
        )

    @property
    def _key(self) -> str | None:
        """The key, read where it is used and kept nowhere.

        Raises:
            ParameterError: when the environment has none.
        """
        name = self.config.api_key_env
        if name is None:
            return None
        if not (key := os.environ.get(name)):
            raise ParameterError(
                f"backtest.endpoint.api_key_env: the environment variable {name} is not set, and not all answers are "
                "on disk; set it to the key, or backtest.endpoint to null"
            )
        return key

    def _shown(self, message: str) -> str:
        """The beginning of a server's message, without the key."""
        key = os.environ.get(self.config.api_key_env or "")
        return " ".join((message.replace(key, "***") if key else message).split())[:SHOWN]

    def _hint(self, error: Any) -> str:
        match error.status_code:
            case 401 | 403:
                return f"; look at the key in {self.config.api_key_env or 'backtest.endpoint.api_key_env'}"
            case 404:
                return f"; look at backtest.endpoint.url ({self.config.url}) and model ({self.config.model})"
            case _:
                return "; the request is not what this server takes"


def legal_actions(mask: Any) -> tuple[str, ...]:
    """Names of the actions that a mask [3] allows."""
    return tuple(name for name, ok in zip(ACTION_NAMES, mask, strict=True) if ok)


def _as_answer(completion: Any) -> ChatAnswer:
    """What of the SDK's object is kept; it passes on whatever the server sent, so nothing is taken for granted.

    Raises:
        NoAnswer: when it is no chat completion.
    """
    choices = getattr(completion, "choices", None) or [None]
    message = getattr(choices[0], "message", None)
    content, refusal = (getattr(message, name, None) for name in ("content", "refusal"))
    if not hasattr(message, "content") or not all(isinstance(text, str | None) for text in (content, refusal)):
        raise NoAnswer("an answer that is no chat completion")
    usage = getattr(completion, "usage", None)
    return ChatAnswer(
        content=content,
        refusal=refusal,
        finish_reason=_text(choices[0].finish_reason),
        served_by=_text(getattr(completion, "model", None)),
        input_tokens=_count(getattr(usage, "prompt_tokens", None)),
        output_tokens=_count(getattr(usage, "completion_tokens", None)),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _retry_after(header: str | None) -> float:
    """Seconds that a server asks to wait, 0 where it does not say; a number or a date."""
    if header is None:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0
