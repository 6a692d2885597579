"""A small MLflow tracking server that from some call on hangs, refuses or drops the line, and keeps what it heard."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

API = "/api/2.0/mlflow/"
FILES = "/api/2.0/mlflow-artifacts/artifacts/"


class TrackingServer(ThreadingHTTPServer):
    """Runs and artifacts in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.mode = "answer"
        self.calls: Counter[str] = Counter()
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.experiment: dict[str, Any] | None = None
        self._turn: tuple[str, int, str] | None = None
        self._let_go = threading.Event()

    def turn(self, mode: str, *, after: str, times: int) -> None:
        """Begin to `hang`, `refuse` or `drop` with the call that follows `times` of this one."""
        self._turn = (after, times, mode)

    def answer(self) -> None:
        """Answer again."""
        self.mode, self._turn = "answer", None

    def mode_for(self, call: str) -> str:
        if self._turn is not None and self.calls[self._turn[0]] >= self._turn[1]:
            self.mode = self._turn[2]
        self.calls[call] += 1
        return self.mode

    def hang(self) -> None:
        self._let_go.wait(600)

    def metrics(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """Step and value of every point, by name."""
        found: dict[str, set[tuple[int, float]]] = {}
        for point in self.runs[run_id]["metrics"]:
            found.setdefault(point["key"], set()).add((int(point.get("step", 0)), float(point["value"])))
        return {name: sorted(points) for name, points in found.items()}

    def close(self) -> None:
        self._let_go.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: TrackingServer

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        self._serve(split.path, {name: values[0] for name, values in parse_qs(split.query).items()})

    def do_POST(self) -> None:
        self._serve(self.path, json.loads(self._body() or b"{}"))

    def do_PUT(self) -> None:
        self._serve(self.path, self._body())

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _serve(self, path: str, given: Any) -> None:
        call = "files" if path.startswith(FILES) else path.removeprefix(API)
        mode = self.server.mode_for(call)
        if mode == "hang":
            self.server.hang()
            return
        if mode == "drop":
            self.close_connection = True
            return
        if mode == "refuse":
            self._say(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "away"})
            return
        if call == "files":
            self.server.files[path.removeprefix(FILES)] = given
            self._say(200, {})
            return
        found = getattr(self, call.replace("/", "_").replace("-", "_"), None)
        answer = None if found is None else found(given)
        unknown = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no {call} of {given}"}
        self._say(404 if answer is None else 200, unknown if answer is None else answer)

    def _say(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def experiments_get_by_name(self, given: Any) -> Any:
        return self.server.experiment and {"experiment": self.server.experiment}

    def experiments_create(self, given: Any) -> Any:
        place = {"artifact_location": "mlflow-artifacts:/1", "lifecycle_stage": "active"}
        self.server.experiment = {"experiment_id": "1", "name": given["name"], **place}
        return {"experiment_id": "1"}

    def experiments_get(self, given: Any) -> Any:
        return {"experiment": self.server.experiment}

    def runs_create(self, given: Any) -> Any:
        run_id = uuid4().hex
        info = {
            "run_id": run_id, "experiment_id": given["experiment_id"], "run_name": given.get("run_name", "unnamed"),
            "status": "RUNNING", "start_time": given["start_time"], "lifecycle_stage": "active",
            "artifact_uri": f"mlflow-artifacts:/1/{run_id}/artifacts", "user_id": given.get("user_id", ""),
        }  # fmt: skip
        tags = {tag["key"]: tag["value"] for tag in given.get("tags", [])}
        self.server.runs[run_id] = {"info": info, "metrics": [], "params": {}, "tags": tags, "inputs": []}
        return {"run": self._shown(run_id)}

    def runs_get(self, given: Any) -> Any:
        return {"run": self._shown(given["run_id"])} if given["run_id"] in self.server.runs else None

    def runs_update(self, given: Any) -> Any:
        run = self.server.runs[given["run_id"]]
        run["info"] |= {name: given[name] for name in ("status", "end_time") if name in given}
        return {"run_info": run["info"]}

    def runs_log_batch(self, given: Any) -> Any:
        run = self.server.runs.get(given["run_id"])
        if run is None:
            return None
        run["metrics"] += given.get("metrics", [])
        run["params"] |= {param["key"]: param["value"] for param in given.get("params", [])}
        run["tags"] |= {tag["key"]: tag["value"] for tag in given.get("tags", [])}
        return {}

    def runs_log_inputs(self, given: Any) -> Any:
        self.server.runs[given["run_id"]]["inputs"] += given["datasets"]
        return {}

    def runs_search(self, given: Any) -> Any:
        return {"runs": []}

    def _shown(self, run_id: str) -> Any:
        run = self.server.runs[run_id]
        pairs = {
            kind: [{"key": key, "value": value} for key, value in run[kind].items()] for kind in ("params", "tags")
        }
        return {"info": run["info"], "data": {"metrics": [], **pairs}}


@contextmanager
def serving() -> Iterator[TrackingServer]:
    """A server that is up in the block."""
    server = TrackingServer()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.close()
