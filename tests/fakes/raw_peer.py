"""A network peer below HTTP: it reads a request's head and body and sends whatever bytes a test wants, as slowly as it
wants, in clear or under TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

Speaking = Callable[[str], Iterator[bytes]]


def whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A reply with its length said."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def dripping(start: bytes, drop: bytes, pause_s: float = 0.05) -> Iterator[bytes]:
    """`start`, and then one drop after another without end."""
    yield start
    while True:
        time.sleep(pause_s)
        yield drop


class RawPeer:
    """Listens on a loopback port; `speak` maps a request's first line to what is sent, piece by piece.

    `heads` and `bodies` are the requests as they came. A connection is closed after one exchange.
    """

    def __init__(
        self, speak: Speaking, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, *, speaks_first: bool = False
    ) -> None:
        self.speak = speak
        self._speaks_first = speaks_first
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.handshakes = 0
        self._tls = tls
        self._stopping = False
        self._listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
        self.port: int = self._listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.root = f"{'https' if tls else 'http'}://{shown}:{self.port}"

    def __enter__(self) -> RawPeer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(20)
            if self._tls is not None:
                self.handshakes += 1
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                head, body = ("", b"") if self._speaks_first else self._read(connection)
                self.heads.append(head)
                self.bodies.append(body)
                for piece in self.speak(head.partition("\r\n")[0]):
                    if self._stopping:
                        return
                    connection.sendall(piece)

    @staticmethod
    def _read(connection: socket.socket) -> tuple[str, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65_536)
            if not piece:
                return data.decode("latin-1"), b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.decode("latin-1").split("\r\n") if line.lower().startswith("content-length:")]
        wanted = int(lengths[0].partition(":")[2]) if lengths else 0
        while len(body) < wanted:
            body += connection.recv(65_536)
        return head.decode("latin-1"), body
