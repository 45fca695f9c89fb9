"""The report as the UI serves it: a policy keeps it from the UI's own API, and its address holds nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pollux_dagster.runs.outcome import REPORT_ADDRESS
from pollux_dagster.ui.report_page import with_report


async def dagster(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})


def ask(report: Path, path: str, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    told: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read of a request without a body")

    async def answered() -> None:
        await with_report(dagster, report)(scope, receive, send)

    scope = {"type": "http", "path": path, "method": method, "headers": []}
    asyncio.run(answered())
    return told[0]["status"], dict(told[0]["headers"]), b"".join(part.get("body", b"") for part in told)


def test_the_report_is_served_in_a_sandbox(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<!doctype html>")
    status, headers, body = ask(report, REPORT_ADDRESS)
    assert (status, body) == (200, b"<!doctype html>")
    policy = headers[b"content-security-policy"]
    assert b"sandbox" in policy and b"allow-same-origin" not in policy
    assert ask(report, REPORT_ADDRESS, "HEAD")[2] == b""


@pytest.mark.parametrize("path", ["/", "/pollux", f"{REPORT_ADDRESS}/../pollux.duckdb", f"{REPORT_ADDRESS}s"])
def test_every_other_address_is_dagsters(tmp_path: Path, path: str) -> None:
    (tmp_path / "report.html").write_text("x")
    assert ask(tmp_path / "report.html", path)[0] == 299


def test_without_a_report_a_sentence_says_so(tmp_path: Path) -> None:
    status, _, body = ask(tmp_path / "report.html", REPORT_ADDRESS)
    assert status == 404 and b"`pollux report`" in body
