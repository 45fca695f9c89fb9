"""Any text as a judge's reply, for every profile and finish reason: a score exactly when the status is ok."""

from __future__ import annotations

from pollux_dagster.core.profile_files import packaged_profile, packaged_profiles
from pollux_dagster.core.replies import MessageParts, read_reply
from pollux_dagster.core.verdicts import VerdictStatus

LEVELS = ((0.0, 1.0), (0.0, 1.0, 2.0), (-1.0, 0.5, 3.0), tuple(float(level) for level in range(1, 11)))
FINISH = ("stop", "length", None, "content_filter", "abort", "repetition")
# The first byte chooses levels and finish reason; the part before the separator is the reasoning.
SEEDS = tuple(
    b"\x01" + text.encode()
    for text in (
        "Потому что.\x1f\n\n2",
        "\x1f<think>потому</think>\n1",
        "1\x1f",
        "\x1f[FEEDBACK] хорошо [RESULT] 2 [END]",
        '\x1f```json\n{"rationale": "a", "score": 2.0}\n```',
        '\x1f{"score": "1,0"}',
        "\x1fОценка: **1** балл",
        "\x1f2 из 2",
        "\x1f" + "одно и то же " * 40,
    )
)


def check(data: bytes) -> None:
    choice, text = (data[0], data[1:]) if data else (0, b"")
    reasoning, separator, content = text.decode("utf-8", "replace").partition("\x1f")
    message = MessageParts(content if separator else reasoning, reasoning if separator else None)
    levels = LEVELS[choice % len(LEVELS)]
    for profile in map(packaged_profile, packaged_profiles()):
        reply = read_reply(profile, message, FINISH[choice // 8 % len(FINISH)], levels)
        assert (reply.status is VerdictStatus.OK) == (reply.score is not None)
        assert reply.score is None or reply.score in levels
        assert reply.raw_text == message.content
        assert reply.status is VerdictStatus.OK or reply.problem
