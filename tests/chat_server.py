"""A small chat server on this machine, and whatever goes wrong with real ones."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-4711"


@dataclass
class Reply:
    """One answer to one request."""

    content: str | None = "hold"
    status: int = 200
    raw: str | None = None
    """Body as it is sent, in place of a chat completion."""
    headers: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    finish_reason: str = "stop"
    delay: float = 0.0
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 2})

    def body(self, model: str) -> str:
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            return json.dumps({"error": {"message": f"the server says {self.status}", "type": "x", "code": None}})
        message = {"role": "assistant", "content": self.content, "refusal": self.refusal}
        return json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": f"{model}-2024",
                "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason}],
                "usage": self.usage,
            }
        )


@dataclass
class ChatServer:
    """Replies in the order of `script`, then for ever with `usual`."""

    script: deque[Reply] = field(default_factory=deque)
    usual: Reply = field(default_factory=Reply)
    key: str | None = None
    """Key that every request must bring."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def reply(self, path: str, key: str, request: dict[str, Any]) -> Reply:
        self.paths.append(path)
        self.requests.append(request)
        if self.key is not None and key != f"Bearer {self.key}":
            return Reply(status=401)
        if not path.endswith("/v1/chat/completions"):
            return Reply(status=404)
        return self.script.popleft() if self.script else self.usual


@contextmanager
def serving(chat: ChatServer) -> Iterator[ChatServer]:
    """The server at `chat.url` for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = chat.reply(self.path, self.headers.get("Authorization", ""), request)
            time.sleep(reply.delay)
            body = reply.body(request["model"]).encode()
            try:
                self.send_response(reply.status)
                for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # who asked has gone
                pass

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
