"""The labelling page's server: who may ask it, and that it tells of the judge only after a score."""

from __future__ import annotations

import http.client
import json
import re
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import pollux_dagster.label
from pollux_dagster.label.page import page
from pollux_dagster.label.server import LabelServer
from pollux_dagster.label.session import REASONS
from tests.page.label.conftest import Place
from tests.warehouse.tiny_world import MODELS

PACKAGE = Path(pollux_dagster.label.__file__).parent


@pytest.fixture
def server(place: Place) -> Iterator[LabelServer]:
    with LabelServer(place.session(), {"name": "judge-a", "is_demonstration": True}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: LabelServer, path: str, sent: object = None, *, method: str = "", **headers: str | None
) -> tuple[int, str, Mapping[str, str]]:
    """Status, text and headers of an answer; header names with _ for -, and None leaves one out."""
    body = None if sent is None else sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    usual = {"X-Token": server.access.token, **({} if body is None else {"Content-Type": "application/json"})}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.access.port, timeout=60)
    try:
        named = {name: value for name, value in {**usual, **given}.items() if value is not None}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def told(server: LabelServer, path: str, sent: object = None) -> Any:
    status, text, _ = ask(server, path, sent)
    assert status == 200, text
    return json.loads(text)


def test_the_judge_and_the_model_are_not_told_before_the_score(server: LabelServer) -> None:
    before = told(server, "/next")
    asked = before["ask"]
    assert set(asked) == {
        *("id", "answer_id", "task", "instruction", "reference", "answer", "place", "places"),
        *("criterion", "is_gate", "rubrics", "levels"),
    }
    shown = json.dumps({name: value for name, value in asked.items() if name != "answer"}, ensure_ascii=False)
    assert not any(model in shown for model in MODELS)
    after = told(server, "/score", {"id": asked["id"], "score": asked["levels"][0]["score"], "words": ""})
    assert after["saved"]["id"] == asked["id"]
    assert after["saved"]["verdict"]["status"] in (
        "ok",
        "missing",
        "truncated",
        "repetition",
        "unparseable",
        "off_scale",
    )
    assert after["progress"]["done"] == 1
    assert told(server, "/undo", {})["ask"] == asked
    assert told(server, "/skip", {"id": asked["id"], "reason": "broken"})["progress"]["skipped"] == 1


def test_only_who_has_the_token_and_asks_from_here_is_answered(server: LabelServer) -> None:
    token, port = server.access.token, server.access.port
    status, html, headers = ask(server, f"/?token={token}", X_Token=None)
    assert (status, html) == (200, page()[0].decode())
    assert token not in html
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    for path in ("/", "/?token=", f"/?token={token}x", "/?token=%D1%8F", "/next", "/nothing"):
        assert ask(server, path, X_Token=None)[0] == 401, path
    assert ask(server, "/score", {"id": "0.0", "score": 0}, X_Token="wrong")[0] == 401
    assert ask(server, f"/score?token={token}", {}, X_Token=None)[0] == 401, "a link cannot score"
    assert ask(server, "/next", Host="example.org")[0] == 421
    assert ask(server, "/next", Host=f"example.org:{port}")[0] == 421, "DNS rebinding"
    assert ask(server, "/next", Host=f"localhost:{port}")[0] == 200
    assert ask(server, "/next", Origin="https://example.org")[0] == 403
    assert ask(server, "/next", Origin="null")[0] == 403
    assert ask(server, "/next", Sec_Fetch_Site="cross-site")[0] == 403
    linked = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert ask(server, f"/?token={token}", X_Token=None, **linked)[0] == 200, "a link in a chat"
    assert ask(server, "/?token=", X_Token=None, **linked)[0] == 401
    assert ask(server, "/next", **linked)[0] == 403
    assert ask(server, "/next", Origin=f"http://127.0.0.1:{port}", Sec_Fetch_Site="same-origin")[0] == 200
    assert server.session.next()[1].done == 0


def test_what_is_no_request_of_the_page_is_refused_in_words(server: LabelServer) -> None:
    assert ask(server, "/score", {}, Content_Type="text/plain")[0] == 415
    assert ask(server, "/score", b"x" * 70_000)[0] == 413
    assert ask(server, "/score", b"{}", Content_Length="-1")[0] == 413
    for body in (b"{", b"\xff", b"[" * 20_000, b"1" * 20_000):
        assert ask(server, "/score", body)[0] == 400
    wrong: list[object] = [[], {"id": "0.0"}, {"id": "0.0", "score": float("inf")}, {"id": ["0.0"], "score": 1}]
    for sent in wrong:
        assert ask(server, "/score", sent)[0] == 409
    assert ask(server, "/undo", {})[:2] == (409, "there is nothing to take back")
    assert ask(server, "/delete", {})[0] == 404
    assert ask(server, "/next", method="PUT")[0] == 501
    assert told(server, "/next")["progress"]["done"] == 0


def test_a_score_that_cannot_be_written_is_said_and_asked_again(server: LabelServer, place: Place) -> None:
    asked = told(server, "/next")["ask"]
    folder = place.landing / "labels"
    folder.rmdir()
    folder.touch()
    status, text, _ = ask(server, "/score", {"id": asked["id"], "score": asked["levels"][0]["score"]})
    assert status == 507
    assert text.startswith("not saved: ")
    assert told(server, "/next")["ask"] == asked


def test_every_text_is_there_in_both_languages_and_used() -> None:
    texts = tomllib.loads((PACKAGE / "label.texts.toml").read_text())
    template, script = ((PACKAGE / name).read_text() for name in ("label.html.j2", "label.js"))
    of_script = texts.pop("script")
    for own, code in ((texts, template), (of_script, script)):
        for key, both in own.items():
            assert set(both) == {"en", "ru"}, key
            assert f'"{key}"' in code or f"texts.{key}." in code, f"{key} is used nowhere"
            assert len(set(map(tuple, (sorted(re.findall(r"\{\w+\}", text)) for text in both.values())))) == 1, key
    assert tuple(re.findall(r'data-reason="(\w+)"', template)) == REASONS


def test_the_page_loads_nothing() -> None:
    html = page()[0].decode()
    assert re.findall(r'(?:src|href)="(?!#|data:,)[^"]*"', html) == []
    assert "url(" not in html
    assert "@import" not in html
