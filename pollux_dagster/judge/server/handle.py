"""What a client knows of a server, whoever runs it.

The judge's client is written against this protocol, so managed and attached servers differ only in whether `restart` is
possible.
"""

from typing import Protocol

from pollux_dagster.judge.endpoint import Endpoint


class ServerHandle(Protocol):
    """A server in use. All methods block; call them from a thread where an event loop runs."""

    @property
    def endpoint(self) -> Endpoint:
        """Where to send requests, as of the last start, restart or attach."""

    @property
    def generation(self) -> int:
        """The start of the server that `endpoint` belongs to; grows with every restart, whoever requested it."""

    def restart(self, reason: str) -> Endpoint:
        """Get a working server again: restart it, or wait for a restart that is already in progress.

        Raises ServerStartError when restarts are used up, RestartRefusedError for a server that is not ours.
        """

    def is_healthy(self) -> bool:
        """Whether `/health` answers now. A hanging server may answer too."""

    def log_tail(self, lines: int = 40) -> str:
        """The engine's last log lines, or "" where there is no log to read."""

    def metrics(self) -> dict[str, float]:
        """Counters by name without the engine's prefix (`http_probe.COUNTERS`); {} where there are none."""
