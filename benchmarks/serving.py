"""What a registered policy costs to be asked over HTTP: MLflow's own scoring server on this machine, under load.

    python benchmarks/serving.py --requests 1000 --clients 2        # models:/flag_kedro@champion of the project's store

One request in ten is malformed in one of several ways, and must be answered by a status 4xx with our words and no stack
trace. Prints p50 and p99 of the sound requests, requests a second, and the server's memory before and after.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

HEADLINES = ("raises its outlook", "cuts its outlook", "opens a warehouse", "settles a lawsuit")
SOUND = ("market_text", "news_text", "account_text")
BROKEN: tuple[tuple[bytes, str], ...] = (
    (b"no json at all", ""),
    (json.dumps({"rows": []}).encode(), ""),
    (json.dumps({"dataframe_records": [{"market_text": "1d +0.1%"}]}).encode(), ""),
    (
        json.dumps({"dataframe_records": [dict.fromkeys(SOUND, "rich")]}).encode(),
        "account_text is 'rich'; this policy knows flat",
    ),
    (
        json.dumps({"dataframe_records": [{"market_text": " ", "news_text": "none", "account_text": "flat"}]}).encode(),
        "market_text is ' '; it must be a text",
    ),
)
"""Bodies that are refused, and what the answer must say."""


@contextmanager
def serving(model: str, store: str) -> Iterator[tuple[str, psutil.Process]]:
    """MLflow's scoring server for a model: its address and process."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    options = ["-m", model, "--host", "127.0.0.1", "--port", str(port), "--env-manager", "local", "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": store,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", *options]
    server = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/ping", timeout=1)
                break
            if server.poll() is not None:
                raise SystemExit(f"the server ended with {server.returncode}; is there a {model} in {store}?")
            time.sleep(0.5)
        yield address, psutil.Process(server.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def ask(address: str, body: bytes) -> tuple[int, str, float]:
    """Status, text and seconds of one request."""
    started = time.perf_counter()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return reply.status, reply.read().decode(), time.perf_counter() - started
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), time.perf_counter() - started


def sound(number: int) -> bytes:
    """A request that nobody asked before."""
    market = f"1d {number / 100:+.2f}%, 5d +0.4%, RSI {40 + number % 20}"
    row = {"market_text": market, "news_text": f"- Acme {HEADLINES[number % len(HEADLINES)]}", "account_text": "flat"}
    return json.dumps({"dataframe_records": [row]}).encode()


def memory_mb(process: psutil.Process) -> float:
    """Resident memory of a server and its workers."""
    return float(sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 2**20)


def measure(address: str, process: psutil.Process, num_requests: int, num_clients: int) -> dict[str, Any]:
    """Send so many requests from so many threads and check every answer."""
    bodies = [
        (sound(index), None) if index % 10 else BROKEN[index // 10 % len(BROKEN)] for index in range(num_requests)
    ]
    for index in range(20):  # a first request loads what later ones need
        ask(address, sound(-1 - index))
    before, started = memory_mb(process), time.perf_counter()
    with ThreadPoolExecutor(num_clients) as clients:
        answers = list(clients.map(lambda each: ask(address, each[0]), bodies))
    seconds = time.perf_counter() - started
    wrong = [
        explain(body, said, answer)
        for (body, said), answer in zip(bodies, answers, strict=True)
        if not fits(said, answer)
    ]
    times = np.array([answer[2] for (_, said), answer in zip(bodies, answers, strict=True) if said is None])
    return {
        "requests": num_requests,
        "clients": num_clients,
        "wrong": wrong,
        "p50_ms": float(np.quantile(times, 0.5) * 1e3),
        "p99_ms": float(np.quantile(times, 0.99) * 1e3),
        "requests_per_second": num_requests / seconds,
        "memory_mb_before": before,
        "memory_mb_after": memory_mb(process),
    }


def fits(said: str | None, answer: tuple[int, str, float]) -> bool:
    """Whether a sound request has probabilities that add up to 1, and a malformed one a 4xx in our words."""
    status, text, _ = answer
    if said is None:
        if status != 200:
            return False
        (row,) = json.loads(text)["predictions"]
        return bool(abs(row["prob_sell"] + row["prob_hold"] + row["prob_buy"] - 1.0) < 1e-5)
    return 400 <= status < 500 and said in text and "Traceback" not in text


def explain(body: bytes, said: str | None, answer: tuple[int, str, float]) -> str:
    """A wrong answer in words."""
    return f"{body[:80]!r} wanted {said!r}, got {answer[0]} {answer[1][:200]!r}"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models:/flag_kedro@champion")
    parser.add_argument(
        "--store", default=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').resolve()}")
    )
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=2)
    given = parser.parse_args(arguments)
    with serving(given.model, given.store) as (address, process):
        found = measure(address, process, given.requests, given.clients)
    print(json.dumps(found, indent=2))
    return found


if __name__ == "__main__":
    sys.exit(bool(main()["wrong"]))
