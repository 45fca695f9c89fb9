"""The verdict of a judge on one request.

A verdict always has a status, and only an `ok` verdict has a score: a failure is never a score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

UNKNOWN_VERSION = "unknown"  # of an engine


class VerdictStatus(StrEnum):
    """The closed set of outcomes of one request."""

    OK = "ok"
    TRUNCATED = "truncated"
    REPETITION = "repetition"
    UNPARSEABLE = "unparseable"
    OFF_SCALE = "off_scale"
    CONTEXT_OVERFLOW = "context_overflow"
    REFUSED_BY_SERVER = "refused_by_server"
    TRANSPORT_ERROR = "transport_error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judged request, as the ledger and `judging.verdicts` keep it.

    `score` is in the rubric's own units and is set exactly when `status` is ok; ValueError otherwise. `latency_s` is in
    seconds; token counts are the server's own. `server` names the process that answered (engine start id or URL without
    credentials). `level_probabilities` has the probability of each level of the rubric, in ascending order, None where
    it was not asked for or could not be had.
    """

    verdict_key: str
    judge_id: str
    status: VerdictStatus
    score: float | None
    rationale: str | None
    raw_text: str | None
    error: str | None
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    attempts: int
    latency_s: float
    engine: str
    engine_version: str
    system_fingerprint: str | None
    server: str
    run_id: str
    created_at: datetime
    level_probabilities: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.status is VerdictStatus.OK) != (self.score is not None):
            raise ValueError(
                f"verdict {self.verdict_key}: expected a score exactly when status is ok, "
                f"got status={self.status} score={self.score}"
            )


def engine_in_words(engine: str, version: str) -> str:
    """An engine with its version, which most servers do not tell."""
    return engine if version == UNKNOWN_VERSION else f"{engine} {version}"


def verdict_key(judge_id: str, text_hashes: Sequence[str], repeat_index: int) -> str:
    """The key of a request, as the macro `judging.verdict_key` makes it.

    text_hashes: `prompts.prompt_hash` of instruction, reference ('' for none), answer, criterion's name and rubrics.
    """
    return hashlib.sha256("|".join([judge_id, *text_hashes, str(repeat_index)]).encode()).hexdigest()
