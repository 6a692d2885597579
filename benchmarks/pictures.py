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
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import plotly.io

ROOT = Path(__file__).resolve().parents[1]
IMAGES, REPORTING, BIN = ROOT / "docs" / "images", ROOT / "data" / "08_reporting", Path(sys.executable).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SETTLED_MS = 20_000
"""Time of the page until it is drawn; the browser does not wait for it to pass."""

START = """<script>
localStorage.setItem("KedroViz", JSON.stringify({showFeatureHints: false}));
location = "/?pid=__default__&expandAllPipelines=false";
</script>"""
"""A page that opens kedro-viz without its tour of new features."""


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


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """A folder's address, on this machine only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
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
    """MLflow's list of runs."""
    with mlflow_ui() as address:
        shoot(f"{address}/#/experiments/1/runs", "mlflow.png", 1280, 700)


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
