"""Messages reach a command and a mail server, tell nothing secret, and a receiver that is down only raises."""

from __future__ import annotations

import base64
import json
import shlex
import smtplib
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest

from pollux_dagster.app import messages
from pollux_dagster.app.messages import failed, from_json, known_secrets, receivers, recovered, told_failure
from pollux_dagster.core.secrets import masked
from pollux_dagster.defs.notifying import ATTEMPTS, notification_sensor
from pollux_dagster.runs.executor import Conclusion, conclude
from pollux_dagster.settings import Notify, Settings
from tests.judge.test_hostile_peers import certificate

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


@pytest.mark.parametrize(("scheme", "secured"), [("smtp+starttls", "starttls"), ("smtps", "smtps")])
def test_a_mail_is_sent_encrypted_by_a_user_with_a_password(
    scheme: str, secured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path, name="localhost")
    password = tmp_path / "password"
    password.write_text("let me in\n")
    with mail_server(secured, context) as (port, letters):
        address = f"{scheme}://robot@localhost:{port}"
        notify = Notify(mail=("a@example.org",), smtp=address, smtp_password_file=str(password))
        send = receivers(notify)["mail"]
        with pytest.raises(ssl.SSLCertVerificationError):
            send(ABOUT)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        send(ABOUT)
        password.write_text("open sesame")
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            send(ABOUT)
    assert told_failure(refused.value) == "SMTPAuthenticationError 535"
    (letter,) = letters
    assert "Subject: pollux: evaluate failed" in letter


def test_nothing_is_sent_to_a_server_that_cannot_encrypt_where_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("let me in")
    with mail_server() as (port, letters):
        address = f"smtp+starttls://robot@localhost:{port}"
        notify = Notify(mail=("a@example.org",), smtp=address, smtp_password_file=str(tmp_path / "password"))
        with pytest.raises(smtplib.SMTPNotSupportedError):
            receivers(notify)["mail"](ABOUT)
    assert not letters


def test_no_secret_whose_value_is_known_is_recorded_or_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-hush hush/1234\n")
    (tmp_path / "address").write_text("https://hooks.example.org/services/T0/B0/hush1234567890hush\n")
    settings = Settings.from_environment(
        {
            "POLLUX_JUDGE_URL": "http://user:pass-hush@judge:8000/v1?token=hush-of-query",
            "POLLUX_JUDGE_API_KEY_FILE": str(tmp_path / "key"),
            "POLLUX_NOTIFY_WEBHOOK": str(tmp_path / "address"),
        }
    )
    reasons = (
        "401 for Bearer sk-hush hush/1234",
        "GET /v1?key=sk-hush%20hush%2F1234",
        "http://user:pass-hush@judge:8000/v1?token=hush-of-query refused",
        "POST https://hooks.example.org/services/T0/B0/hush1234567890hush: 404; /services/T0/B0/hush1234567890hush",
    )
    told = [masked(reason, known_secrets(settings)) for reason in reasons]
    assert not [reason for reason in told if "hush" in reason], told
    assert told[0] == "401 for Bearer ***" and "judge:8000" in told[2]

    @dg.op
    def ask() -> None:
        raise RuntimeError("Bearer sk-hush hush/1234 was refused")

    @dg.job
    def evaluate() -> None:
        ask()

    with dg.DagsterInstance.ephemeral() as instance:
        ended = evaluate.execute_in_process(instance=instance, raise_on_error=False)
        at = Conclusion(None, tmp_path / "metrics", lambda: known_secrets(settings))
        (cause,) = conclude(instance, evaluate, ended.run_id, ended.all_events, at)
        run = instance.get_run_by_id(ended.run_id)
    assert cause.endswith("Bearer *** was refused")
    assert run is not None and "hush" not in str(run.tags) and "Bearer ***" in run.tags["pollux/failed"]


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
def mail_server(secured: str = "", context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    """A mail server (RFC 5321, as much of it as one letter needs) and the letters that it took.

    secured: starttls (RFC 3207) or smtps (RFC 8314), with `context`; it then takes letters of `robot` only, whose
    password is `let me in` (RFC 4616).
    """
    letters: list[str] = []

    class Session(socketserver.StreamRequestHandler):
        def secure(self) -> None:
            assert context is not None
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def handle(self) -> None:
            with suppress(ssl.SSLError, ConnectionError):  # a client that does not trust the certificate goes away
                self.converse()

        def converse(self) -> None:
            if is_secure := secured == "smtps":
                self.secure()
            is_known = not secured
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word, _, told = line.strip().partition(b" ")
                said = b"250 good"
                if word == b"ehlo":
                    said = b"250-here\r\n250 " + (b"AUTH PLAIN" if is_secure else b"STARTTLS" if secured else b"HELP")
                elif word == b"STARTTLS":
                    self.wfile.write(b"220 go on\r\n")
                    self.secure()
                    is_secure = True
                    continue
                elif word == b"AUTH":
                    is_known = base64.b64decode(told.split()[-1]) == b"\0robot\0let me in"
                    said = b"235 welcome" if is_known else b"535 no"
                elif word == b"mail" and not is_known:
                    said = b"530 who are you?"
                elif word == b"data":
                    self.wfile.write(b"354 go on\r\n")
                    letters.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                elif word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                self.wfile.write(said + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        server.daemon_threads, server.block_on_close = True, False  # a client that stays would hold the test
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], letters
        server.shutdown()
