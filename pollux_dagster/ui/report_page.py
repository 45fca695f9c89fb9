"""The report of the last publication at an address of the UI, so that a run's page can link to it.

The report quotes answers. Its own policy (CSP) lets it load nothing; here `sandbox` is added, which gives it an origin
of its own: even a script of it could not use Dagster's API with the operator's cookie.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from pollux_dagster.runs.outcome import REPORT_ADDRESS
from pollux_dagster.ui.guard import App, Message, Receive, Scope, Send

_POLICY = b"sandbox allow-scripts allow-downloads allow-popups; connect-src 'none'; form-action 'none'"


def with_report(app: App, report: Path) -> App:
    """`app`, with the file `report` at `REPORT_ADDRESS`: 404 with a sentence where there is none."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != REPORT_ADDRESS:
            await app(scope, receive, send)
            return
        body = await asyncio.to_thread(_read, report)
        if body is None:
            status, kind = 404, b"text/plain; charset=utf-8"
            body = b"there is no report yet: nothing was published, or `pollux report` has to make it again\n"
        else:
            status, kind = 200, b"text/html; charset=utf-8"
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        start: Message = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [*headers, (b"content-security-policy", _POLICY)]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return answering


def _read(report: Path) -> bytes | None:
    try:
        return report.read_bytes()
    except OSError:
        return None
