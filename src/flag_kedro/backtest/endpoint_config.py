"""Parameters `backtest.endpoint.*`: a language model behind a server that speaks OpenAI's protocol."""

import re
from datetime import date
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EndpointConfig:
    """Who is asked, for how many words, and at which price."""

    url: str
    """Base address of the API, such as https://api.openai.com/v1 or http://localhost:8000/v1."""
    model: str = Field(min_length=1)
    """Name of the model there."""
    cutoff: date | Literal["unknown"]
    """Last day of the model's training text, or `unknown`; printed, since sessions before it may be remembered."""
    max_tokens: int = Field(default=8, ge=1)
    """Most tokens of an answer; models that think aloud first need more."""
    input_price: float | None = Field(default=None, ge=0)
    """Price of a million tokens of prompts, in any currency."""
    output_price: float | None = Field(default=None, ge=0)
    """Price of a million tokens of answers, in the same currency."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; never the key. Null for servers that want none."""
    allow_http: bool = False
    """Allow a server on another machine to be asked without encryption."""
    attempts: int = Field(default=6, ge=1, le=20)
    """Tries for each question, with growing waits, where the server is busy, fails or does not answer."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds to wait for an answer."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"backtest.endpoint.url is no address: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("backtest.endpoint.url must begin with https:// (or http:// on this machine) and a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "backtest.endpoint.url must hold no user, password or query, since it is written down; give a key in "
                "an environment variable that backtest.endpoint.api_key_env names"
            )
        if parts.scheme == "http" and not self.allow_http and not _is_here(host):
            raise ValueError(
                f"backtest.endpoint.url sends prompts and key to {host} without encryption; use https://, or set "
                "backtest.endpoint.allow_http to true"
            )
        if self.api_key_env is not None and not ENVIRONMENT_NAME.fullmatch(self.api_key_env):
            raise ValueError(
                "backtest.endpoint.api_key_env must be the name of an environment variable (such as OPENAI_API_KEY), "
                "not the key"
            )
        if (self.input_price is None) != (self.output_price is None):
            raise ValueError("backtest.endpoint.input_price and output_price go together; give both or neither")

    @property
    def host(self) -> str:
        """Where the server is."""
        return str(urlsplit(self.url).netloc)


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
