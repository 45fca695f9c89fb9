"""Attaching to a server that is not ours: a stub process that speaks real HTTP stands for it."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pollux_dagster.judge.server import AttachError, RestartRefusedError, attached_server, http_probe

STUB = Path(__file__).parents[1] / "fakes" / "stub_server.py"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(STUB), "--port", str(port), "--model", "judge"],
        env={**os.environ, "POLLUX_SERVER_API_KEY": "right"},
        start_new_session=True,
    )
    while not http_probe.is_healthy(f"http://127.0.0.1:{port}", 1):
        assert process.poll() is None
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, 9)
    process.wait()


@pytest.fixture
def misbehaving() -> Iterator[tuple[str, list[str]]]:
    """A server that redirects /v1/models elsewhere, and what it was asked there."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_what_a_server_serves_is_asked_of_it(address: str, ending: str) -> None:
    with attached_server(address + ending, "right") as server:
        assert server.endpoint.base_url == f"{address}/v1"
        assert (server.endpoint.model, server.endpoint.max_model_len) == ("judge", 2048)
        assert server.is_healthy()
        assert "num_requests_running" in server.metrics()
        assert server.log_tail() == ""


def test_a_shorter_context_can_be_asked_for_but_not_a_longer_one(address: str) -> None:
    with attached_server(address, "right", max_model_len=512) as server:
        assert server.endpoint.max_model_len == 512
    with attached_server(address, "right", max_model_len=100_000) as server:
        assert server.endpoint.max_model_len == 2048


def test_a_restart_is_refused_with_what_to_do(address: str) -> None:
    with (
        attached_server(address, "right") as server,
        pytest.raises(RestartRefusedError, match="whoever runs it has to restart it"),
    ):
        server.restart("no progress for 60 s")


@pytest.mark.parametrize(
    ("key", "model", "message"),
    [
        ("wrong", None, "401.*is the API key right"),
        ("right", "other", "does not serve 'other'; it serves 'judge'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_asked(
    address: str, key: str, model: str | None, message: str
) -> None:
    with pytest.raises(AttachError, match=message):
        attached_server(address, key, model).__enter__()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8000/v1", "should look like"),
        ("ftp://host/v1", "should look like"),
        ("http://user:secret@host/v1", "ends up in logs"),
        ("http://127.0.0.1:1/v1", "did not answer.*is the server up.*curl http://127.0.0.1:1/v1/models"),
    ],
)
def test_an_address_that_cannot_work_is_told_without_its_secrets(url: str, message: str) -> None:
    with pytest.raises(AttachError, match=message) as caught:
        attached_server(url, "k3y").__enter__()
    assert "secret" not in str(caught.value)
    assert "k3y" not in str(caught.value)


def test_a_redirect_is_not_followed_with_the_key(misbehaving: tuple[str, list[str]]) -> None:
    address, asked = misbehaving
    with pytest.raises(AttachError, match="302"):
        attached_server(address, "right").__enter__()
    assert asked == ["/v1/models"]


@contextmanager
def _listing(
    models: bytes, status: int = 200, chat: bytes = b'{"choices": [{"message": {"content": "1"}}]}'
) -> Iterator[str]:
    """A server that answers /v1/models like this, and every chat with `chat`: unless given, with one token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(status if self.path == "/v1/models" else 404, models)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(200, chat)

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("models", "status", "length"),
    [
        (b'[{"id": "org/judge", "context_length": 4096}]', 200, 4096),  # Together
        (b'{"data": [{"id": "org/judge", "context_length": 4096}]}', 200, 4096),  # OpenRouter
        (b'{"data": [{"id": "org/*"}]}', 200, 8192),  # LiteLLM
        (b'{"data": [{"id": "org/judge:latest"}]}', 200, 8192),  # Ollama
        (b"not found", 404, 8192),
        (b"<html>models</html>", 200, 8192),
        (b'{"models": ["org/judge"]}', 200, 8192),
    ],
)
def test_a_named_judge_is_found_however_its_server_lists_models(models: bytes, status: int, length: int) -> None:
    with (
        _listing(models, status) as address,
        attached_server(address, "right", "org/judge", max_model_len=8192) as server,
    ):
        assert (server.endpoint.max_model_len, server.is_healthy()) == (length, True)
        assert server.endpoint.model in ("org/judge", "org/judge:latest")


@pytest.mark.parametrize(
    "chat", [b'{"code": 7, "msg": "model is asleep"}', b'{"error": {"message": "model is asleep"}, "choices": []}']
)
def test_a_reply_without_choices_is_quoted(chat: bytes) -> None:
    with (
        _listing(b"not found", 404, chat) as address,
        pytest.raises(AttachError, match=r"answered without choices: HTTP 200: .*model is asleep"),
        attached_server(address, "right", "org/judge", max_model_len=8192),
    ):
        pass


@pytest.mark.parametrize(("models", "status"), [(b"not found", 404), (b"[1]", 200), (b"no", 401)])
def test_without_a_list_the_judge_has_to_be_named(models: bytes, status: int) -> None:
    with _listing(models, status) as address, pytest.raises(AttachError), attached_server(address, "right"):
        pass


def test_a_judge_that_is_not_in_the_list_is_refused(address: str) -> None:
    with (
        _listing(b'[{"id": "org/other"}, {"id": "open*"}]') as other,
        pytest.raises(AttachError, match="does not serve 'org/judge'"),
        attached_server(other, "right", "org/judge", max_model_len=8192),
    ):
        pass
