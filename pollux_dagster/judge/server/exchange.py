"""One short HTTP exchange with a total deadline, and limits for head and body.

`urllib` would do the same in one line, but would take a proxy and a password from the environment, follow redirects
with the key, and restart its time-out with every byte received.
"""

from __future__ import annotations

import io
import json
import socket
import ssl
import time
from functools import lru_cache, partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from pollux_dagster.judge.endpoint import DIRECT, Route

MAX_BODY_BYTES = 1024 * 1024
_MAX_HEAD_BYTES = 256 * 1024
_MAX_REASON_CHARS = 80
_MAX_QUOTED_BYTES = 8_192
_SHORTEST_KEY_CHARS = 8  # shorter ones are placeholders: masking such a word would falsify what is quoted


class ProbeError(Exception):
    """The server did not answer as expected.

    `status` is the HTTP status, or 0 when there was none, `body` the beginning of what came with it. `is_final`:
    waiting and retrying does not help, because the certificate or the route must be corrected.
    """

    def __init__(self, message: str, status: int = 0, *, is_final: bool = False, body: str = "") -> None:
        self.status = status
        self.is_final = is_final
        self.body = body
        super().__init__(message)


class _TooMuchError(Exception):
    """The response exceeds a limit."""


def call(
    url: str,
    *,
    api_key: str = "",
    timeout_s: float,
    body: dict[str, Any] | None = None,
    route: Route = DIRECT,
    max_bytes: int = MAX_BODY_BYTES,
) -> bytes:
    """The body of a 200 to one GET, or POST when there is a `body`.

    Connecting, head and body together take at most `timeout_s`, however slowly they arrive. Raises ProbeError for
    anything but a complete reply of status 200 within the limits.
    """
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
    headers |= route.headers(api_key)
    asked = f"{url}?{route.query}" if route.query else url
    connection = None
    try:
        connection, target = _connection(asked, route, time.monotonic() + timeout_s, max_bytes + _MAX_HEAD_BYTES)
        connection.request("GET" if body is None else "POST", target, json.dumps(body) if body else None, headers)
        with connection.getresponse() as response:
            if response.status != 200:
                reason = response.reason[:_MAX_REASON_CHARS]
                said = _without(api_key, response.read(_MAX_QUOTED_BYTES).decode("utf-8", "replace"))
                raise ProbeError(f"{url} answered {response.status} {reason}, expected 200", response.status, body=said)
            return _whole_body(response, max_bytes)
    except ssl.SSLError as error:
        raise tls_error(url, error, route) or ProbeError(f"{url} did not answer: {error}") from None
    except TimeoutError:
        raise ProbeError(f"{url} did not answer within {timeout_s:g} s") from None
    except _TooMuchError:
        raise ProbeError(f"{url} answered more than {max_bytes} bytes", 200) from None
    except (OSError, HTTPException, ValueError) as error:
        said = str(error) or type(error).__name__
        raise ProbeError(f"{url} did not answer: {said[:200]}") from None
    finally:
        if connection is not None:
            connection.close()


def _without(api_key: str, text: str) -> str:
    """`text` without the key, which some servers repeat in what they say against it."""
    return text.replace(api_key, "[key]") if len(api_key) >= _SHORTEST_KEY_CHARS else text


def tls_error(url: str, error: ssl.SSLError, route: Route) -> ProbeError | None:
    """What is wrong with a server's TLS and what to do; None when the connection may only have been cut off."""
    parts = urlsplit(url)
    host = parts.netloc
    if isinstance(error, ssl.SSLCertVerificationError):
        trusted = route.ca_file or "the system's certificate authorities"
        return ProbeError(
            f"the certificate of {host} is not valid: {error.verify_message} (trusted: {trusted}). Have it renewed or "
            "issued for this name, or name the authority's PEM file in POLLUX_JUDGE_CA_FILE; it is never skipped",
            is_final=True,
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return ProbeError(f"{host} does not speak TLS: is its address http:// and not https://?", is_final=True)
    return None


@lru_cache(maxsize=8)
def tls_context(ca_file: str) -> ssl.SSLContext:
    """A context that checks certificates and host names, against `ca_file` alone where there is one.

    Raises ValueError when it cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # includes ssl.SSLError for a file that is not PEM
        raise ValueError(f"POLLUX_JUDGE_CA_FILE: expected a PEM file of certificates at {ca_file}: {error}") from None


def _connection(url: str, route: Route, deadline: float, limit: int) -> tuple[HTTPConnection, str]:
    """A connection for `url`, not open yet, and the target to request from it."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    via = urlsplit(route.proxy) if route.proxy else None
    peer, peer_port = (via.hostname or "", via.port or 80) if via else (host, port)
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(peer, peer_port, context=tls_context(route.ca_file))
        if via:
            connection.set_tunnel(host, port)
    else:
        connection = HTTPConnection(peer, peer_port)
        target = url if via else target
    connection._create_connection = lambda address, *_: _dial(address, deadline)  # type: ignore[attr-defined]
    connection.response_class = partial(_Response, deadline=deadline, limit=limit)  # type: ignore[assignment]
    return connection, target


def _dial(address: tuple[str, int], deadline: float) -> socket.socket:
    """Connect to the first address of the name that accepts; a TLS handshake has the time that is left."""
    problem: OSError = TimeoutError()
    for family, kind, protocol, _, destination in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(deadline))
            sock.connect(destination)
            sock.settimeout(_left(deadline))
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Reader(io.RawIOBase):
    """The stream that `HTTPResponse` reads from: a socket, until a deadline and up to a number of bytes."""

    def __init__(self, sock: socket.socket, deadline: float, limit: int) -> None:
        self._sock, self._deadline, self._limit = sock, deadline, limit
        self._last = b""
        self.has_whole_head = False
        self._stream = sock.makefile("rb", buffering=0)  # keeps the socket open after the connection is done with it

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        count = self._stream.readinto(buffer) or 0
        self._limit -= count
        if not self.has_whole_head:
            seen = self._last + bytes(buffer[:count])
            self.has_whole_head = b"\r\n\r\n" in seen or b"\n\n" in seen
            self._last = seen[-3:]
        if self._limit < 0:
            raise _TooMuchError
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(HTTPResponse):
    """A reply read through a `_Reader` that requires a complete head: http.client takes the connection's end for its
    end.
    """

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, limit: int, **named: Any) -> None:
        self._reader = _Reader(sock, deadline, limit)
        super().__init__(self._reader, *args, **named)  # type: ignore[arg-type]

    def begin(self) -> None:
        super().begin()
        if not self._reader.has_whole_head:
            raise HTTPException("the connection ended within the reply's head")


def _whole_body(response: HTTPResponse, max_bytes: int) -> bytes:
    content = response.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _TooMuchError
    if response.length:  # when read with an amount, a body that is cut off is no error to http.client
        raise IncompleteRead(content, response.length)
    return content
