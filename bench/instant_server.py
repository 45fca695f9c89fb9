"""A chat completion server that costs as little as possible: it answers at once, with some reasoning and a score.

It reads of a request only what framing needs, X-Request-Id and whether a stream is wanted, so that a client that is
measured against it on the same processor is measured and not the server. Run as a program it prints its port and serves
until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import re

MODEL = "instant"
_REASONING = "Ответ раскрывает суть вопроса и не содержит ошибок, но одно утверждение не подкреплено примером. " * 3
_MESSAGE = {"role": "assistant", "content": "\n\n1", "reasoning": _REASONING}
_COMPLETION = {
    "id": "chatcmpl-@",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": "#", "completion_tokens": 60, "total_tokens": 60},
}
_BEFORE, _BETWEEN, _AFTER = re.split(b'@|"#"', json.dumps(_COMPLETION, ensure_ascii=False).encode())
_BYTES_A_TOKEN = 6
_STREAMS = re.compile(rb'"stream": ?true')
_PARTS = ({"choices": [{"index": 0, "delta": {"content": "1"}}]}, {"choices": [], "usage": {"completion_tokens": 60}})
_STREAM = b"".join(b"data: %b\n\n" % json.dumps(part).encode() for part in _PARTS) + b"data: [DONE]\n\n"
_MODELS = json.dumps({"data": [{"id": MODEL, "object": "model", "max_model_len": 8192}]}).encode()


class Exchange(asyncio.Protocol):
    """One connection, on which requests follow each other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        end = received.find(b"\r\n\r\n")
        while end >= 0:
            head = received[:end].lower()
            length = int(_field(head, b"\r\ncontent-length: ") or 0)
            whole = end + 4 + length
            if len(received) < whole:
                break
            self._answer(head, received[end + 4 : whole])
            received = received[whole:]
            end = received.find(b"\r\n\r\n")
        self._received = received

    def _answer(self, head: bytes, content: bytes) -> None:
        status, body = b"200 OK", b""
        if _STREAMS.search(content):
            body = _STREAM
        elif head.startswith(b"post /v1/chat/completions "):
            request_id = _field(head, b"\r\nx-request-id: ")
            body = b"%b%b%b%d%b" % (_BEFORE, request_id, _BETWEEN, len(content) // _BYTES_A_TOKEN, _AFTER)
        elif head.startswith(b"get /v1/models "):
            body = _MODELS
        elif not head.startswith(b"get /health "):
            status = b"404 Not Found"
        self._transport.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
        )


def _field(head: bytes, name: bytes) -> bytes:
    start = head.find(name)
    return head[start + len(name) :].partition(b"\r\n")[0] if start >= 0 else b""


async def serve() -> None:
    """Serve on a free port of the loopback interface, which is printed."""
    server = await asyncio.get_running_loop().create_server(Exchange, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
