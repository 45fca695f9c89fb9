"""Messages reach a command and a mail server, tell nothing secret, and a receiver that is down only raises."""

from __future__ import annotations

import json
import shlex
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from pollux_dagster.app import messages
from pollux_dagster.app.messages import failed, from_json, receivers, recovered, told_failure
from pollux_dagster.defs.notifying import ATTEMPTS, notification_sensor
from pollux_dagster.settings import Notify, Settings

SINCE, AT = "2026-11-26T02:10:00+00:00", "2026-11-27T02:10:00+00:00"
ABOUT = failed("evaluate", "run-7", SINCE, AT, ("coverage failed: m1: off_scale 14\n12:00 api_key=hush\n",))


def test_a_message_says_what_failed_since_when_and_what_to_do_and_nothing_of_a_log() -> None:
    assert ABOUT.subject == "pollux: evaluate failed"
    for words in ("run-7", "m1: off_scale 14", SINCE, "`pollux run`"):
        assert words in ABOUT.text
    assert "hush" not in json.dumps(ABOUT.as_json())
    assert from_json(json.loads(json.dumps(ABOUT.as_json()))) == ABOUT
    assert f"It had failed since {SINCE}" in recovered("evaluate", "run-8", SINCE, AT).text


def test_a_command_gets_the_message_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", "hush")
    script = tmp_path / "tell.py"
    script.write_text(
        f"import os, sys\nopen({str(tmp_path / 'told')!r}, 'w').write(sys.stdin.read() + repr(os.environ))"
    )
    receivers(Notify(command=(sys.executable, str(script))))["command"](ABOUT)
    told = (tmp_path / "told").read_text()
    assert "off_scale 14" in told and "hush" not in told
    with pytest.raises(RuntimeError, match="status 3"):
        receivers(Notify(command=(sys.executable, "-c", "raise SystemExit(3)")))["command"](ABOUT)


def test_a_mail_is_sent(tmp_path: Path) -> None:
    with mail_server() as (port, letters):
        receivers(Notify(mail=("night@example.org",), smtp=f"smtp://127.0.0.1:{port}"))["mail"](ABOUT)
    (letter,) = letters
    assert "Subject: pollux: evaluate failed" in letter and "To: night@example.org" in letter
    assert "off_scale 14" in letter


def test_a_receiver_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/hush"
        with pytest.raises(TimeoutError) as raised:
            receivers(Notify(webhook=address))["webhook"](ABOUT)
    assert "hush" not in told_failure(raised.value)


def test_a_receiver_that_is_down_is_tried_again_and_left_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's tick ends as usual each time; the message is kept until it was tried often enough."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    sensor = notification_sensor(Notify(webhook=f"http://127.0.0.1:{port}/hush"))
    assert sensor is not None
    cursor = json.dumps({"after": AT, "waiting": [["webhook", ABOUT.as_json(), 0]]})
    with dg.DagsterInstance.ephemeral() as instance:
        for attempt in range(ATTEMPTS):
            assert json.loads(cursor)["waiting"][0][2] == attempt
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                result = sensor(context)
            assert isinstance(result, dg.SensorResult) and isinstance(result.skip_reason, dg.SkipReason)
            assert "webhook did not take it" in (result.skip_reason.skip_message or "")
            assert "hush" not in (result.skip_reason.skip_message or "")
            cursor = result.cursor or ""
    assert json.loads(cursor)["waiting"] == []


def test_without_a_receiver_there_is_no_sensor() -> None:
    assert notification_sensor(Notify()) is None


def test_the_settings_are_read_and_written(tmp_path: Path) -> None:
    variables = {
        "POLLUX_NOTIFY_WEBHOOK": str(tmp_path / "address"),
        "POLLUX_NOTIFY_COMMAND": shlex.join(["notify-send", "it failed"]),
        "POLLUX_NOTIFY_MAIL": "a@example.org b@example.org",
        "POLLUX_NOTIFY_SMTP": "smtp+starttls://robot@mail.example.org",
    }
    settings = Settings.from_environment(variables)
    assert settings.notify.command == ("notify-send", "it failed")
    assert Settings.from_environment(settings.to_environment()) == settings
    for name, wrong in (("SMTP", "smtp://robot:hush@mail"), ("SMTP", "mail.example.org"), ("MAIL", "nobody")):
        with pytest.raises(ValueError, match=f"POLLUX_NOTIFY_{name}: expected") as raised:
            Settings.from_environment({f"POLLUX_NOTIFY_{name}": wrong})
        assert "hush" not in str(raised.value)


@contextmanager
def mail_server() -> Iterator[tuple[int, list[str]]]:
    """A mail server (RFC 5321, as much of it as one letter needs) and the letters that it took."""
    letters: list[str] = []

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                word = line.strip().upper()[:4]
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = iter(self.rfile.readline, b".\r\n")
                    letters.append(b"".join(text).decode())
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 good\r\n")
                if word == b"QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], letters
        server.shutdown()
