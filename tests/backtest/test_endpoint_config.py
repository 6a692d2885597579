"""Parameters of an endpoint: prompts and keys leave this machine encrypted or not at all; no key is written down."""

from typing import Any

import pytest
from pydantic import ValidationError

from flag_kedro.backtest.endpoint_config import EndpointConfig


def configure(**given: Any) -> EndpointConfig:
    return EndpointConfig(**({"url": "https://example.com/v1", "model": "m", "cutoff": "unknown"} | given))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_this_machine_may_be_asked_without_encryption(host):
    assert configure(url=f"http://{host}:8000/v1").host == f"{host}:8000"


@pytest.mark.parametrize("host", ["example.com", "10.0.0.5", "localhost.example.com", "0.0.0.0"])
def test_other_machines_are_asked_without_encryption_only_where_it_is_said(host):
    with pytest.raises(ValidationError, match=f"to {host} without encryption; use https://, or set"):
        configure(url=f"http://{host}/v1")
    assert configure(url=f"http://{host}/v1", allow_http=True).host == host


@pytest.mark.parametrize("url", ["ftp://example.com", "example.com/v1", "https://", "", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValidationError, match="must begin with https://"):
        configure(url=url)


@pytest.mark.parametrize("url", ["https://me:secret@example.com", "https://example.com/v1?key=secret"])
def test_address_with_a_secret_is_refused(url):
    with pytest.raises(ValidationError, match="must hold no user, password or query"):
        configure(url=url)


def test_key_in_place_of_the_name_of_its_variable_is_refused():
    with pytest.raises(ValidationError, match="must be the name of an environment variable"):
        configure(api_key_env="sk-proj-4711")


def test_cutoff_must_be_said():
    with pytest.raises(ValidationError, match="cutoff"):
        EndpointConfig(url="https://example.com", model="m")  # type: ignore[call-arg]
    assert str(configure(cutoff="2024-10-01").cutoff) == "2024-10-01"
    with pytest.raises(ValidationError, match="cutoff"):
        configure(cutoff="last year")


def test_one_price_without_the_other_is_refused():
    with pytest.raises(ValidationError, match="go together"):
        configure(input_price=1.0)
