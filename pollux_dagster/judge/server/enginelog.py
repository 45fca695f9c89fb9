"""Reading an engine's log for people: its last lines, and the line that says why it ended.

Logs are read from their end, never whole, and cleaned of terminal control characters; the API key never
leaves here even if an engine wrote it down.
"""

import re
from pathlib import Path

TAIL_BYTES = 256 * 1024
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CAUSE = re.compile(r"\b[A-Z]\w*(?:Error|Exception)\b: .+|\berror: .+|[Aa]ddress already in use|out of memory")
_PREFIX = re.compile(r"^\([^)]*pid=\d+\) (?:[A-Z]+ \S+ \S+ \[[^]]+\] )?")  # vLLM's process, level, time, place
_NOISE = re.compile(r"Found ulimit of|^nanobind: | - leaked | - \.\.\. skipped|^See https://nanobind|resource_tracker")
_CONSEQUENCE = ("Engine core initialization failed", "leaked", "SystemExit", "CancelledError")


def log_tail(path: Path, lines: int = 40, *, secret: str = "") -> str:
    """The last non-blank lines of a log, cleaned; "" when there is no log yet."""
    return "\n".join(_last_lines(path, secret)[-lines:])


def last_line(path: Path, *, secret: str = "") -> str:
    found = _last_lines(path, secret)
    return _PREFIX.sub("", found[-1])[:160] if found else ""


def root_cause(path: Path, *, secret: str = "") -> str | None:
    """The first error a failing engine reported: what follows it in the log is consequences."""
    for line in _last_lines(path, secret):
        if (match := _CAUSE.search(line)) and not any(word in line for word in _CONSEQUENCE):
            return match.group(0)[:400]
    return None


def is_port_taken(path: Path) -> bool:
    text = "\n".join(_last_lines(path, "")).lower()
    return "address already in use" in text or "errno 98" in text


def _last_lines(path: Path, secret: str) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    if secret:
        text = text.replace(secret, "[key]")
    cleaned = (_CONTROL.sub("", line.rpartition("\r")[2]).rstrip() for line in text.split("\n"))
    return [line for line in cleaned if line.strip() and not _NOISE.search(line)]
