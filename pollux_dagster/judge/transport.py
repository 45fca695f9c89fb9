"""Sends a request that is ready and reads the reply: aiohttp with bounded replies.

On two cores shared with the server, CPU time of the client costs verdicts, so a reply is read once, as bytes, and never
past a limit. `client` decides what is sent and what a reply means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
import httpx2

from pollux_dagster.judge.endpoint import Route
from pollux_dagster.judge.server.exchange import tls_context, tls_error


class UntrustedServerError(httpx2.ConnectError):
    """TLS with this server cannot work until certificate or address is corrected."""


class ReplyTooLargeError(httpx2.ReadError):
    """A reply exceeded the limit; the rest of it was not read."""


class HttpReply(NamedTuple):
    """A whole reply. The names of `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AiohttpTransport:
    """One aiohttp session with at most `connections` open connections.

    `connect_s` limits connecting, `first_byte_s` the wait for the reply to start (generation happens here), `body_s`
    each wait for more of a reply that has started, `whole_body_s` all these waits together. Neither proxies nor
    passwords are taken from the environment, and redirects are not followed. Raises httpx2's exceptions, whose names
    tell connecting from reading; anything else only for an address or a header that cannot be sent.
    """

    def __init__(
        self,
        *,
        connections: int,
        max_reply_bytes: int,
        connect_s: float,
        first_byte_s: float,
        body_s: float,
        whole_body_s: float,
        route: Route,
    ) -> None:
        self._connections = connections
        self._max_reply_bytes = max_reply_bytes
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=None)
        self._first_byte_s = first_byte_s
        self._body_s = body_s
        self._whole_body_s = whole_body_s
        self._route = route
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> HttpReply:
        """Send `content` and return the whole reply."""
        session = self._session or self._open(url)
        try:
            async with asyncio.timeout(self._first_byte_s):
                response = await session.post(
                    url, data=content, headers=headers, allow_redirects=False, proxy=self._route.proxy or None
                )
            async with response:
                return HttpReply(response.status, response.headers, await self._read(response))
        except TimeoutError as error:
            raise httpx2.ReadTimeout(f"no reply within {self._first_byte_s:g} s") from error
        except aiohttp.ClientSSLError as error:
            wrong = tls_error(url, error.os_error, self._route)  # type: ignore[arg-type]
            kind = UntrustedServerError if wrong is not None else httpx2.ConnectError
            raise kind(str(wrong or error)) from error
        except aiohttp.ClientConnectorError as error:
            raise httpx2.ConnectError(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.ReadError(f"{type(error).__name__}: {error}") from error

    def _open(self, url: str) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            keepalive_timeout=4.0,
            ssl=tls_context(self._route.ca_file) if url.startswith("https:") else True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,  # a few kilobytes may unfold to gigabytes before they are counted
        )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        deadline = asyncio.get_running_loop().time() + self._whole_body_s
        while not response.content.at_eof():
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                # Most replies are complete when their head is read, and no wait for them needs an end.
                async with asyncio.timeout(None if response.content.is_eof() else min(self._body_s, left_s)):
                    chunk = await response.content.readany()
            except TimeoutError as error:
                response.close()
                if left_s <= self._body_s:
                    message = f"the reply was not complete {self._whole_body_s:g} s after its start, at {size} bytes"
                else:
                    message = f"the reply stalled for {self._body_s:g} s after {size} bytes"
                raise httpx2.ReadTimeout(message) from error
            size += len(chunk)
            if size > self._max_reply_bytes:
                response.close()
                raise ReplyTooLargeError(f"expected a reply of at most {self._max_reply_bytes} bytes, got more")
            chunks.append(chunk)
        return b"".join(chunks)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


class UnsentTransport(httpx2.AsyncBaseTransport):
    """Under a client whose requests are wanted and not to be sent: every one is answered with an empty 200."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """An empty response that holds `request`."""
        return httpx2.Response(200, request=request)
