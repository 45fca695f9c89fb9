"""The endpoint of a judge: the address, key and limits that a client needs.

`judge.server` starts, watches and stops servers; `judge.client` sends requests. A client gets these values and does not
know whether the process behind them is managed by us.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Route:
    """How a server is reached: directly, unless `proxy` (`http://host:port`) is named.

    The environment is ignored: a proxy that is set there for other purposes would see the key, and an entry in `.netrc`
    would replace it. `ca_file` is a PEM file of the authorities that may sign an https server's certificate, "" for the
    system's own. `query` is added to every address and `key_header` carries the key: Azure wants `api-version=…` and
    `api-key`.
    """

    proxy: str = ""
    ca_file: str = ""
    query: str = ""
    key_header: str = "Authorization"

    def headers(self, api_key: str) -> dict[str, str]:
        """The header with the key; none without a key."""
        if not api_key:
            return {}
        return {self.key_header: f"Bearer {api_key}" if self.key_header == "Authorization" else api_key}


DIRECT = Route()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server that has answered `/v1/models`.

    `base_url` is what `/chat/completions` follows, mostly ending in `/v1`; `model` is the name under which the server
    serves the model; `max_model_len` is in tokens, prompt and completion together; `server` names the process for the
    verdict's record (`managed/<key>#<generation>` or `host:port`). The key is kept out of `repr` and so out of logs.
    """

    base_url: str
    api_key: str = field(repr=False)
    model: str
    max_model_len: int
    engine: str
    engine_version: str
    server: str
    route: Route = DIRECT
