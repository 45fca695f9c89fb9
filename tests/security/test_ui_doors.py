"""Attacks on the UI of a really started `pollux up`: what a page in the operator's browser may send, and others."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from urllib.parse import quote, urlencode

import aiohttp
import pytest

from pollux_dagster.settings import Settings
from tests.security.running_ui import LAUNCH, RunningUi, free_port, launching, running_ui

pytestmark = pytest.mark.timeout(600)
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUi]:
    folder = tmp_path_factory.mktemp("doors")
    (folder / "landing").mkdir()
    settings = Settings.from_environment(
        {"POLLUX_HOME": str(folder / "home"), "POLLUX_LANDING": str(folder / "landing"), "POLLUX_PROFILE": "demo"}
    )
    with running_ui(settings) as started:
        yield started


def body(tag: str) -> str:
    return json.dumps({"query": LAUNCH, "variables": launching("rebuild_tables", tag)})


def query(tag: str) -> str:
    return urlencode({"query": LAUNCH, "variables": json.dumps(launching("rebuild_tables", tag))})


@pytest.mark.slow
def test_what_the_attacks_send_launches_a_run_when_the_operator_sends_it(ui: RunningUi) -> None:
    own = {**JSON, "Origin": f"http://127.0.0.1:{ui.port}", "Sec-Fetch-Site": "same-origin"}
    status, text, _ = ui.ask("POST", "/graphql", body("operator"), own)
    assert (status, json.loads(text)["data"]["launchRun"]["__typename"]) == (200, "LaunchRunSuccess")
    assert len(ui.runs("operator")) == 1


@pytest.mark.parametrize(
    ("status", "method", "path", "sent", "headers"),
    [
        (405, "GET", "/graphql?{query}", False, {}),
        (405, "GET", "/graphql?{query}", False, {"Accept": "text/html"}),
        (405, "GET", "/%67raphql?{query}", False, {}),
        (405, "HEAD", "/graphql?{query}", False, {}),
        (415, "POST", "/graphql?{query}", False, {}),
        (415, "POST", "/graphql", True, {"Content-Type": "text/plain"}),
        (415, "POST", "/graphql", True, {"Content-Type": "text/plain; application/json"}),
        (415, "POST", "/graphql", True, {"Content-Type": "application/x-www-form-urlencoded"}),
        (415, "POST", "/graphql", True, {"Content-Type": "application/graphql"}),
        (415, "POST", "/graphql", True, {}),
        (405, "PUT", "/graphql", True, JSON),
        (403, "POST", "/graphql", True, {**JSON, "Origin": "http://evil.example"}),
        (403, "POST", "/graphql", True, {**JSON, "Origin": "null"}),
        (403, "POST", "/graphql", True, {**JSON, "Origin": "http://localhost:1"}),
        (403, "POST", "/graphql", True, {**JSON, "Origin": "http://127.0.0.1:{port}.evil.example"}),
        (403, "POST", "/graphql", True, {**JSON, "Origin": "http://evil.example@127.0.0.1:{port}"}),
        (403, "POST", "/graphql", True, {**JSON, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        (403, "OPTIONS", "/graphql", False, {"Origin": "http://evil.example"}),
        (421, "POST", "/graphql", True, {**JSON, "Host": "evil.example:{port}"}),
        (421, "POST", "/graphql", True, {**JSON, "Host": "127.0.0.1.evil.example:{port}"}),
        (421, "POST", "/graphql", True, {**JSON, "Host": "127.0.0.1:1"}),
        (421, "GET", "/server_info", False, {"Host": "evil.example"}),
    ],
    ids=str,
)  # fmt: skip
def test_a_request_in_a_form_that_a_strangers_page_can_send_is_refused_and_launches_nothing(
    ui: RunningUi, status: int, method: str, path: str, sent: bool, headers: dict[str, str]
) -> None:
    tag = f"{method} {path} {headers}"
    filled = {name: value.replace("{port}", str(ui.port)) for name, value in headers.items()}
    refused, text, _ = ui.ask(method, path.replace("{query}", query(tag)), body(tag) if sent else None, filled)
    assert refused == status, text
    assert ui.runs(tag) == []


@pytest.mark.parametrize("reported", ["report_asset_check", "report_asset_materialization"])
def test_a_strangers_page_cannot_report_an_asset_or_a_passed_check(ui: RunningUi, reported: str) -> None:
    passed = urlencode({"check_name": "coverage_is_sufficient", "passed": "true"})
    status, _, _ = ui.ask("POST", f"/{reported}/judging/verdicts?{passed}", "", {"Content-Type": "text/plain"})
    assert status == 415


def greeted(ui: RunningUi, **headers: str) -> str:
    """The type of the answer to a websocket's first message. Raises WSServerHandshakeError when there is no socket."""

    async def greet() -> str:
        address = f"http://127.0.0.1:{ui.port}/graphql"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, protocols=["graphql-ws"], headers=headers) as own,
        ):
            await own.send_json({"type": "connection_init"})
            return str((await own.receive_json())["type"])

    return asyncio.run(greet())


def test_a_websocket_of_a_strangers_page_is_refused_and_one_of_our_own_is_not(ui: RunningUi) -> None:
    for foreign in ("http://evil.example", "null", "http://localhost:1"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            greeted(ui, Origin=foreign)
        assert refused.value.status == 403
    assert greeted(ui, Origin=f"http://127.0.0.1:{ui.port}") == "connection_ack"


def test_a_websocket_under_a_rebound_name_is_refused(ui: RunningUi) -> None:
    name = f"evil.example:{ui.port}"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        greeted(ui, Host=name, Origin=f"http://{name}")
    assert refused.value.status == 403


@pytest.mark.parametrize("job", ["ingest", "evaluate", "rebuild_tables", "__ASSET_JOB"])
def test_a_run_whose_config_names_the_judges_program_is_refused_by_validation(ui: RunningUi, job: str) -> None:
    config = {"resources": {"judge": {"config": {"python": "/tmp/program", "url": ""}}}}
    assert ui.launch(job, "config", config) in ("RunConfigValidationInvalid", "InvalidStepError")
    assert ui.runs("config") == []


def test_no_other_site_may_show_the_ui_inside_itself(ui: RunningUi) -> None:
    status, _, headers = ui.ask("GET", "/runs", headers={"Accept": "text/html"})
    assert (status, headers["x-frame-options"]) == (200, "SAMEORIGIN")


PAGE = """<!doctype html><title>attack</title><form id=f method=POST enctype=text/plain target=frame></form>
<iframe name=frame></iframe><script>
const url = "http://127.0.0.1:PORT/graphql", body = BODY, query = "?QUERY";
const json = {"Content-Type": "application/json"}, plain = {"Content-Type": "text/plain"};
const said = [], say = what => () => said.push(what);
const tries = [
  fetch(url + query, {mode: "no-cors"}).finally(say("get")),
  fetch(url + query, {method: "POST", mode: "no-cors"}).finally(say("post")),
  fetch(url, {method: "POST", mode: "no-cors", body, headers: plain}).finally(say("text")),
  fetch(url, {method: "POST", body, headers: json}).then(say("JSON READ"), say("json refused")),
  new Promise(done => {
    const socket = new WebSocket(url.replace("http", "ws"), "graphql-ws");
    socket.onopen = () => done(say("SOCKET OPEN")());
    socket.onerror = () => done(say("socket refused")());
  }),
];
const field = document.createElement("input");
field.name = body.slice(0, -1) + ',"x":"'; field.value = '"}';
f.action = url; f.append(field); f.submit(); new Image().src = url + query;
const tell = () => fetch("/said", {method: "POST", body: said.sort().join(", ")});
Promise.allSettled(tries).then(() => setTimeout(tell, 1500));
</script>"""


@contextmanager
def shown(page: str, profile: Path) -> Iterator[Queue[str]]:
    """While a browser shows the page, on a site of its own; the queue gets what it says at its end."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    said: Queue[str] = Queue()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def do_POST(self) -> None:
            said.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    browser = subprocess.Popen(
        [chromium, *flags, f"--user-data-dir={profile}", f"http://localhost:{site.server_port}/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield said
    finally:
        browser.terminate()
        browser.wait(30)
        site.shutdown()


def attacking(port: int, tag: str) -> str:
    page = PAGE.replace("PORT", str(port)).replace("BODY", json.dumps(body(tag)))
    return page.replace("QUERY", quote(query(tag), safe="=&%+"))


@contextmanager
def unguarded(ui: RunningUi) -> Iterator[int]:
    """The port of Dagster's own web server on the same code server."""
    port = free_port()
    environment = {**os.environ, **ui.settings.to_environment(), "DAGSTER_HOME": str(ui.settings.dagster_home)}
    command = [sys.executable, "-m", "dagster_webserver", "-w", str(ui.folder / "workspace.yaml"), "-p", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 180
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.2)
        yield port
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.slow
def test_a_page_of_another_origin_in_a_real_browser_launches_runs_only_where_no_guard_is(
    ui: RunningUi, tmp_path: Path
) -> None:
    with unguarded(ui) as port, shown(attacking(port, "unguarded"), tmp_path / "1"):
        until = time.monotonic() + 240
        while not ui.runs("unguarded"):
            assert time.monotonic() < until, "the page attacks indeed"
            time.sleep(0.5)
    with shown(attacking(ui.port, "guarded"), tmp_path / "2") as said:
        assert said.get(timeout=240) == "get, json refused, post, socket refused, text"
    assert ui.runs("guarded") == []
