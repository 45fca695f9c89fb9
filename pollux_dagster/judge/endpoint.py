"""Where a judge answers: the address, key and limits a client needs, and nothing about how it came to run.

Starting, watching and stopping a server lives in `judge.server`; sending requests lives in `judge.client`. A client
is handed these values and never asks whether we own the process behind them.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Route:
    """How a server is reached: directly, unless `proxy` (`http://host:port`) is named.

    Nothing is taken from the environment: a proxy that somebody set there for something else would see the key, and
    an entry in `.netrc` would replace it. `ca_file` is a PEM file of the authorities that an https server's
    certificate may come from, "" for the system's own.
    """

    proxy: str = ""
    ca_file: str = ""


DIRECT = Route()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server that has answered `/v1/models`.

    `base_url` ends in `/v1`; `model` is the name the server serves under; `max_model_len` is in tokens,
    prompt and completion together; `server` names the process for the verdict's record
    (`managed/<key>#<generation>` or `host:port`). The key is kept out of `repr`, so out of logs.
    """

    base_url: str
    api_key: str = field(repr=False)
    model: str
    max_model_len: int
    engine: str
    engine_version: str
    server: str
    route: Route = DIRECT
