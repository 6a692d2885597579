"""The pictures of README and guide, taken by headless Chromium of what the last runs left (`make pictures`).

A picture whose run is missing stays as it is, and the command that makes the run is named. Look at all of them before
you keep them.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import plotly.io
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[1]
IMAGES, REPORTING, BIN = ROOT / "docs" / "images", ROOT / "data" / "08_reporting", Path(sys.executable).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SETTLED_MS = 120_000
"""Time of the page until it is drawn; the browser does not wait for it to pass."""

START = """<script>
localStorage.setItem("KedroViz", JSON.stringify({showFeatureHints: false}));
location = "/?pid=__default__&expandAllPipelines=false";
</script>"""
"""A page that opens kedro-viz without its tour of new features."""

UI_START = """<script>
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.workflowType_v1", JSON.stringify("machine_learning"));
location = "/#/experiments/EXPERIMENT/runs?compareRunsMode=CHART&workflowType=machine_learning";
</script>"""
"""A page that opens charts of all runs in MLflow's pages, without their assistant."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def shoot(address: str, name: str, width: int, height: int) -> None:
    """Save a page's first screen of `width` x `height` pixels as `docs/images/NAME`."""
    browser = next((found for each in BROWSERS if (found := shutil.which(each))), None)
    if browser is None:
        raise SystemExit(
            f"none of {', '.join(BROWSERS)} is on the PATH; install one (Debian: apt-get install chromium)"
        )
    options = ["--headless", "--disable-gpu", "--hide-scrollbars", f"--virtual-time-budget={SETTLED_MS}"]
    if os.geteuid() == 0:  # Chromium refuses a sandbox to root
        options.append("--no-sandbox")
    taken = [f"--window-size={width},{height}", f"--screenshot={IMAGES / name}"]
    subprocess.run([browser, *options, *taken, address], check=True, capture_output=True, timeout=300)
    print(f"docs/images/{name}")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class _Beside(BaseHTTPRequestHandler):
    """Passes requests on to `pages`, except for `/start.html`, which is `start`."""

    pages, start = "", ""

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes | None) -> None:
        if self.path == "/start.html":
            status, kind, answer = 200, "text/html", self.start.encode()
        else:
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            asked = urllib.request.Request(self.pages + self.path, body, headers)
            try:
                with urllib.request.urlopen(asked, timeout=60) as reply:
                    status, kind, answer = reply.status, reply.headers["Content-Type"], reply.read()
            except urllib.error.HTTPError as error:
                status, kind, answer = error.code, error.headers["Content-Type"], error.read()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """A folder's address, on this machine only."""
    with answer_by(partial(_Quiet, directory=str(folder))) as address:
        yield address


@contextmanager
def answer_by(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on this machine only, which answers by `handler`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@contextmanager
def mlflow_ui() -> Iterator[str]:
    """The address of MLflow's pages on the project's store."""
    port = free_port()
    store = ["--backend-store-uri", f"sqlite:///{ROOT / 'mlflow.db'}", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([BIN / "mlflow", "ui", *store], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(60):
            with suppress(OSError):
                urllib.request.urlopen(address, timeout=1)
                break
            time.sleep(1)
        yield address
    finally:
        server.terminate()


def report() -> None:
    """The top of the last backtest's report."""
    shoot((REPORTING / "backtest_report.html").as_uri(), "report.png", 1280, 1500)


def certificate() -> None:
    """Who reads headlines that are worded anew."""
    figure = plotly.io.read_json(REPORTING / "certificate_plot.json")
    figure.update_layout(width=1000, height=480)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        figure.write_html(page, config={"displayModeBar": False})
        shoot(page.as_uri(), "language_certificate.png", 1016, 496)


def kedro_viz() -> None:
    """The main job as a graph of its boxes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([BIN / "kedro", "viz", "build"], cwd=ROOT, check=True, capture_output=True)
        built = Path(shutil.move(ROOT / "build", folder))
        (built / "start.html").write_text(START)
        with serve(built) as address:
            shoot(f"{address}/start.html", "kedro_viz.png", 1280, 1000)


def mlflow() -> None:
    """Runs side by side in MLflow's pages."""
    experiment = MlflowClient(f"sqlite:///{ROOT / 'mlflow.db'}").get_experiment_by_name("flag_kedro")
    assert experiment is not None, "the store has no experiment flag_kedro"
    with mlflow_ui() as address:
        _Beside.pages, _Beside.start = address, UI_START.replace("EXPERIMENT", experiment.experiment_id)
        with answer_by(_Beside) as beside:
            shoot(f"{beside}/start.html", "mlflow.png", 1280, 900)


PICTURES: dict[str, tuple[Callable[[], None], Path, str]] = {
    "report.png": (report, REPORTING / "backtest_report.html", "make run"),
    "language_certificate.png": (
        certificate,
        REPORTING / "certificate_plot.json",
        "kedro run --pipelines=certify --params=certify.language=true",
    ),
    "kedro_viz.png": (kedro_viz, ROOT / "pyproject.toml", ""),
    "mlflow.png": (mlflow, ROOT / "mlflow.db", "make run"),
}
"""How each is taken, of what, and the command that makes it."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="*", choices=[*PICTURES, []], help="all of them where none is named")
    for picture in parser.parse_args().picture or PICTURES:
        take, needed, command = PICTURES[picture]
        if needed.exists():
            take()
        else:
            print(f"docs/images/{picture} stays: {needed.relative_to(ROOT)} is missing; run {command}")
