"""The reaction to a request that brought no verdict: how long to wait, how to alter the request, or when to stop.

The kind of failure decides: a busy server gets time, a broken one is restarted, and a refusal is never repeated. The
decisions are pure; `requester` acts on them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from pollux_dagster.core.profiles import Sampling
from pollux_dagster.core.verdicts import VerdictStatus
from pollux_dagster.judge.responses import Failure, FailureKind

# A retry would change nothing: these are given up at once with a status.
FINAL_STATUS = {
    FailureKind.REFUSED: VerdictStatus.REFUSED_BY_SERVER,
    FailureKind.OVERFLOW: VerdictStatus.CONTEXT_OVERFLOW,
}
# The server behind these may be dead; behind the others it has just proved that it is alive.
SUSPICIOUS = frozenset({FailureKind.UNREACHABLE, FailureKind.SERVER_ERROR})
ALTERABLE = frozenset({VerdictStatus.TRUNCATED, VerdictStatus.REPETITION, VerdictStatus.UNPARSEABLE})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts and waits (seconds) for one request.

    Sixteen attempts get a request through a server that fails every second time (one in 65,000 is lost). A reply of
    another shape is asked for once more only, because each one may be paid for.
    """

    max_attempts: int = 16
    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0
    longest_retry_after_s: float = 120.0
    max_malformed: int = 2

    def attempts_for(self, failure: Failure) -> int:
        """How often a request may fail, the last time like this."""
        most = self.max_malformed if failure.kind is FailureKind.MALFORMED else self.max_attempts
        return min(self.max_attempts, most)

    def wait_s(self, attempt: int, failure: Failure, random_source: random.Random) -> float:
        """Exponential backoff with full jitter (attempts from 1), in seconds; at least the server's Retry-After."""
        ceiling = min(self.longest_wait_s, self.first_wait_s * 2 ** min(attempt - 1, 16))
        wait = random_source.uniform(0.0, ceiling)
        if failure.retry_after_s is None:
            return wait
        return wait + min(failure.retry_after_s, self.longest_retry_after_s)


def altered(sampling: Sampling, status: VerdictStatus, room_tokens: int) -> Sampling | None:
    """Sampling for one more request after a reply of this status; None when it would change nothing.

    `room_tokens` is what the context has left after the prompt. Greedy decoding repeats itself whatever the seed, so a
    second try needs some temperature.
    """
    # What the profile leaves to the server is left to it here too.
    warmth, penalty = sampling.temperature, sampling.repetition_penalty
    warmer = replace(
        sampling,
        temperature=warmth if warmth is None else max(warmth, 0.3),
        seed=sampling.seed if sampling.seed is None else sampling.seed + 1,
    )
    match status:
        case VerdictStatus.TRUNCATED:
            longer = min(2 * sampling.max_tokens, room_tokens)
            return replace(sampling, max_tokens=longer) if longer > sampling.max_tokens else None
        case VerdictStatus.REPETITION:
            return replace(warmer, repetition_penalty=penalty if penalty is None else max(penalty, 1.1))
        case VerdictStatus.UNPARSEABLE:
            return warmer
        case _:
            return None
