"""A request on the wire, byte by byte: the address, the headers and the body, whatever makes them."""

from __future__ import annotations

import openai
import pytest

from pollux_dagster.judge.endpoint import Route
from tests.fakes.fake_judge import KEY
from tests.fakes.raw_peer import RawPeer, whole
from tests.judge.test_hostile_peers import ask, endpoint_at, saying

BODY = (
    '{"model":"judge","messages":[{"role":"user","content":"Промпт"}],"temperature":0.0,"top_p":1.0,"top_k":0,'
    '"min_p":0.0,"repetition_penalty":1.0,"presence_penalty":0.0,"frequency_penalty":0.0,"seed":20251,'
    '"max_tokens":2048}'
).encode()
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("root", "key", "route", "address", "credentials"),
    [
        ("", KEY, Route(), "/v1/chat/completions", BEARER),
        ("", "", Route(), "/v1/chat/completions", {}),
        ("/openai/deployments/a b%20c", KEY, Route(), "/openai/deployments/a%20b%20c/v1/chat/completions", BEARER),
        (
            "",
            KEY,
            Route(query="api-version=2024-10-21&x=a%20b&y=%D0%B0", key_header="api-key"),
            "/v1/chat/completions?api-version=2024-10-21&x=a+b&y=%D0%B0",
            {"api-key": KEY},
        ),
    ],
    ids=["a key", "no key", "a path", "a query and a key in its own header"],
)
def test_a_request_is_these_bytes(root: str, key: str, route: Route, address: str, credentials: dict[str, str]) -> None:
    with RawPeer(saying(whole(b"{}"))) as peer:
        ask(endpoint_at(f"{peer.root}{root}", route, key))
    check(peer, address, f"127.0.0.1:{peer.port}", credentials)


def test_a_request_through_a_proxy_is_the_same_with_the_whole_address() -> None:
    with RawPeer(saying(whole(b"{}"))) as proxy:
        ask(endpoint_at("http://judge.example:8000", Route(proxy=proxy.root)))
    check(proxy, "http://judge.example:8000/v1/chat/completions", "judge.example:8000", BEARER)


def check(peer: RawPeer, address: str, host: str, credentials: dict[str, str]) -> None:
    [head], [body] = peer.heads, peer.bodies
    first, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert first == f"POST {address} HTTP/1.1"
    assert headers.pop("x-request-id").startswith("pollux-")
    assert headers == {
        "host": host,
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "user-agent": f"asyncopenai/python {openai.__version__}",
        **{name: value.lower() for name, value in credentials.items()},
    }
    assert body == BODY
