"""A server that takes OpenLineage events, as Marquez does at POST /api/v1/lineage, and keeps them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LineageServer:
    """`events` in the order of their arrival; every request is answered with `status`. A context manager."""

    def __init__(self, status: int = 201) -> None:
        self.events: list[dict[str, Any]] = []
        self.authorizations: set[str | None] = set()
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.authorizations.add(self.headers["Authorization"])
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                kept.events.append({**event, "path": self.path})
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
