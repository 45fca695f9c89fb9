"""The nginx and Caddy examples of docs/reference/proxies.md, run as they stand there, in front of a server that counts.

Only names, ports, TLS and the password file are put in for the test's own.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.security.running_ui import free_port

PROXIES = Path(__file__).parents[2] / "docs" / "reference" / "proxies.md"
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"operator:open sesame").decode()}
JSON = {"Content-Type": "application/json"}


class Dagster(BaseHTTPRequestHandler):
    """What is behind the proxy: it says yes to everything and keeps what it was sent."""

    seen: list[dict[str, str]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_HEAD = do_PUT = do_OPTIONS = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def behind() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dagster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, behind: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a started proxy."""
    program = shutil.which(request.param) or shutil.which(request.param, path="/usr/sbin")
    if program is None:
        pytest.skip(f"needs {request.param}: apt-get install {request.param}")
    (example,) = re.findall(rf"^```{request.param}\n(.*?)^```$", PROXIES.read_text(), re.MULTILINE | re.DOTALL)
    example = example.replace("127.0.0.1:3000", f"127.0.0.1:{behind}").replace("https://", "http://")
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    write, command = (_nginx if request.param == "nginx" else _caddy), [program]
    command += write(example, folder, port, program)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(folder / "log").open("wb"))
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        assert process.poll() is None, (folder / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _nginx(example: str, folder: Path, port: int, _: str) -> list[str]:
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "open sesame"], capture_output=True, text=True, check=True)
    (folder / "htpasswd").write_text(f"operator:{hashed.stdout.strip()}\n")
    example = re.sub(r"listen 443 ssl( default_server)?;", rf"listen 127.0.0.1:{port}\1;", example)
    example = re.sub(r"^ *ssl_.*\n", "", example, flags=re.MULTILINE)
    example = example.replace("/etc/nginx/pollux.htpasswd", str(folder / "htpasswd"))
    places = "".join(
        f"{what}_temp_path {folder}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}pid {folder}/pid;\ndaemon off;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{example}}}\n"
    )
    return ["-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")]


def _caddy(example: str, folder: Path, port: int, program: str) -> list[str]:
    hashing = [program, "hash-password", "--plaintext", "open sesame"]
    hashed = subprocess.run(hashing, capture_output=True, text=True, check=True).stdout.strip()
    example = example.replace("HASH_FROM_CADDY_HASH_PASSWORD", hashed)
    example = re.sub(r"^pollux\.example\.org \{", f"http://pollux.example.org:{port} {{", example, flags=re.MULTILINE)
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 8):
        example = example.replace("basic_auth", "basicauth")
    (folder / "Caddyfile").write_text("{\nadmin off\nauto_https off\n}\n" + example)
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def ask(proxy: int, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", proxy, timeout=30)
    try:
        connection.request(method, path, body="{}" if method in ("POST", "PUT") else None, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


OWN = {"Host": "pollux.example.org", "Origin": "http://pollux.example.org"}


def test_the_ui_and_its_own_requests_pass_with_the_users_name_and_without_the_password(proxy: int) -> None:
    in_utf8 = {"Content-Type": "application/json; charset=utf-8"}
    requests: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/runs?a=1", {}), ("GET", "/graphql", {}), ("POST", "/graphql", JSON), ("POST", "/graphql", in_utf8)
    ]  # fmt: skip
    for method, path, headers in requests:
        Dagster.seen.clear()
        status, answered = ask(proxy, method, path, {**OWN, **LOGIN, **headers})
        assert (status, answered["x-frame-options"]) == (200, "SAMEORIGIN")
        (passed,) = Dagster.seen
        assert (passed["host"], passed["x-forwarded-user"]) == ("pollux.example.org", "operator")
        assert "authorization" not in passed


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/graphql?query=mutation", {}),
        ("GET", "/graphql/?query=mutation", {}),
        ("GET", "/%67raphql?query=mutation", {}),
        ("HEAD", "/graphql?query=mutation", {}),
        ("POST", "/graphql?query=mutation", {}),
        ("POST", "/graphql", {"Content-Type": "text/plain"}),
        ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}),
        ("POST", "/graphql", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("POST", "/report_asset_check/a?passed=true", {"Content-Type": "text/plain"}),
        ("PUT", "/graphql", JSON),
        ("OPTIONS", "/graphql", {"Origin": "http://evil.example"}),
        ("POST", "/graphql", {**JSON, "Origin": "http://evil.example"}),
        ("POST", "/graphql", {**JSON, "Origin": "null"}),
        ("POST", "/graphql", {**JSON, "Origin": "http://pollux.example.org.evil.example"}),
        ("GET", "/graphql", {"Origin": "http://evil.example", "Connection": "Upgrade", "Upgrade": "websocket"}),
        ("GET", "/runs", {"Authorization": "Basic " + base64.b64encode(b"operator:guessed").decode()}),
        ("GET", "/runs", {"Host": "evil.example"}),
        ("POST", "/graphql", {**JSON, "Host": "evil.example", "Origin": "http://evil.example"}),
    ],
    ids=str,
)
def test_what_the_guard_refuses_does_not_pass(proxy: int, method: str, path: str, headers: dict[str, str]) -> None:
    Dagster.seen.clear()
    status, _ = ask(proxy, method, path, {**OWN, **LOGIN, **headers})
    assert Dagster.seen == []
    assert status >= 400 or headers.get("Host") == "evil.example"  # Caddy answers to other names with nothing at all
