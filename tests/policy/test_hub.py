"""Copying a policy to a hub: a local server takes what the real one takes, or refuses as it does."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from flag_kedro.errors import DataError, ParameterError
from flag_kedro.pipelines.publish.nodes import publish_policy
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.bundle import TrainedPolicy, load_policy
from flag_kedro.policy.config import PolicyConfig, PublishConfig
from flag_kedro.policy.hub import push_to_hub
from flag_kedro.policy.manifest import folder_hash, write_manifest

CPU = torch.device("cpu")
FACTS = {"symbols": ["A"], "windows": {"train": ["2024-01-01", "2024-02-01"], "test": ["2024-03-01", "2024-04-01"]}}
OWN = PublishConfig(repo="me/trader")


class Hub(ThreadingHTTPServer):
    """The part of the hub's interface that makes a repository and takes a commit; every file is a regular one."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.refuses = False
        self.address = f"http://127.0.0.1:{self.server_port}/me/trader"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.refuses or self.headers.get("Authorization") != "Bearer hf_secret":
            return self._answer(401, {"error": "Invalid credentials in Authorization header"})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.repositories[asked["organization"] + "/" + asked["name"]] = asked["visibility"]
            return self._answer(200, {"url": self.server.address, "id": "me/trader"})
        if self.path.endswith("/preupload/main"):
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
            return self._answer(200, {"files": modes})
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self._answer(200, {"commitUrl": f"{self.server.address}/commit/c0ffee", "commitOid": "c0ffee"})
        return self._answer(200, {})

    def do_GET(self) -> None:
        if self.server.refuses:
            return self._answer(401, {"error": "Invalid credentials in Authorization header"})
        if "/tree/" in self.path:  # what every new repository has
            return self._answer(200, [{"type": "file", "path": ".gitattributes", "oid": "0", "size": 1}])
        return self._answer(200, {"sha": "c0ffee", "id": "me/trader"})

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, status: int, content: dict[str, Any] | list[Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server
        server.shutdown()


@pytest.fixture
def bundle(tiny_backbone: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "policy"
    folder.mkdir()
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), 0, CPU)
    TrainedPolicy(model, tiny_backbone, FACTS).write(folder)
    write_manifest(folder)
    return folder


def test_what_arrives_is_a_policy_that_opens(hub: Hub, bundle: Path, tmp_path: Path):
    assert push_to_hub(bundle, OWN) == f"{hub.address}/commit/c0ffee"
    assert hub.repositories == {"me/trader": "private"}
    for name, content in hub.files.items():
        (tmp_path / "there" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "there" / name).write_bytes(content)
    (tmp_path / "there" / ".gitattributes").write_text("*.safetensors filter=lfs")  # as the hub adds
    (tmp_path / "there" / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / "there" / ".cache" / "huggingface" / "heads.lock").write_text("")  # as its download adds
    load_policy(tmp_path / "there", tmp_path, CPU)


def test_a_policy_is_published_with_its_results_and_stays_the_same(hub: Hub, bundle: Path, tmp_path: Path):
    before, own_hash = (bundle / "README.md").read_text(), folder_hash(bundle)
    card = f"{before}\n## Results\nResults are of the policy {own_hash}.\n"
    publish_policy(bundle, OWN, card)
    assert hub.files["README.md"].decode() == card
    for name, content in hub.files.items():
        (tmp_path / "there" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "there" / name).write_bytes(content)
    load_policy(tmp_path / "there", tmp_path, CPU)
    assert folder_hash(tmp_path / "there") == own_hash
    assert (bundle / "README.md").read_text() == before
    (tmp_path / "there" / "README.md").write_text("other results")
    with pytest.raises(DataError, match=r"does not match its MANIFEST\.json in README\.md"):
        load_policy(tmp_path / "there", tmp_path, CPU)


@pytest.mark.parametrize("card", [None, "Results are of the policy of somebody else."])
def test_a_policy_without_a_backtest_of_its_own_is_published_without_results(
    hub: Hub, bundle: Path, card: str | None, caplog: pytest.LogCaptureFixture
):
    publish_policy(bundle, OWN, card)
    assert hub.files["README.md"] == (bundle / "README.md").read_bytes()
    assert "no backtest of this policy" in caplog.text


def test_refusals_are_told_with_a_way_out(hub: Hub, bundle: Path):
    hub.refuses = True
    with pytest.raises(ParameterError, match=r"did not take the policy as me/trader: .*401.*hf auth login"):
        push_to_hub(bundle, OWN)
    assert hub.files == {}


def test_a_hub_that_is_not_there_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(ParameterError, match=r"the hub at http://127\.0\.0\.1:9 did not take the policy"):
        push_to_hub(bundle, OWN)


def test_nothing_damaged_and_nothing_unnamed_leaves(hub: Hub, bundle: Path):
    with pytest.raises(ParameterError, match=r'publish\.repo is null.*--params="publish\.repo=USER/NAME"'):
        push_to_hub(bundle, PublishConfig())
    (bundle / "heads.safetensors").write_bytes(b"")
    with pytest.raises(DataError):
        push_to_hub(bundle, OWN)
    assert hub.repositories == {}
