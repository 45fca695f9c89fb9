"""The errors of a judge server, as types that a caller can distinguish.

An error about a process includes that process's last log lines, so that nobody needs to search for them.
"""


class ServerError(RuntimeError):
    """Any error of a judge server, managed or attached."""


class ServerStartError(ServerError):
    """The server did not start, or was given up after its last allowed restart.

    `reason` is one sentence; `log_tail` the engine's last log lines (may be empty when it never wrote any).
    """

    def __init__(self, reason: str, log_tail: str) -> None:
        self.reason = reason
        self.log_tail = log_tail
        tail = f"\nThe engine's last log lines:\n{log_tail}" if log_tail else "\nThe engine wrote no log."
        super().__init__(f"The judge server is not available: {reason}{tail}")


class UnstartableError(ServerStartError):
    """The server cannot start as it is configured: weights, GPU, package or flag must be put right, waiting does not
    help. `log_tail` is empty where it was known before any start.
    """

    def __init__(self, reason: str, log_tail: str = "") -> None:
        tail = f"\nThe engine's last log lines:\n{log_tail}" if log_tail else ""
        ServerError.__init__(self, f"The judge server cannot start: {reason}{tail}")
        self.reason, self.log_tail = reason, log_tail


class AttachError(ServerError):
    """The server at the given address cannot be used: not reachable, wrong key, or unknown model."""


class AddressError(AttachError):
    """Address, key or model is wrong: unlike for a server that is down, waiting does not help."""


class RestartRefusedError(ServerError):
    """A restart was requested of a server that is not ours to restart."""
