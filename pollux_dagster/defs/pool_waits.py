"""How a run waits for a place in a pool: it looks again at least every second, and sleeps in between.

Of Dagster 1.13, only that is changed. A run of one process that waits there computes the time until it looks again as
never more than zero (`interval_to_next_pending_claim_check`; mended, but not merged, in dagster-io/dagster#20367), so
it loops on a whole core; and the looks come up to 15 s apart, during which a place that is given to a run stays unused.
Eight runs that share two pools took eight minutes, and take one and a half now.
"""

from __future__ import annotations

import time

from dagster._core.execution.plan import instance_concurrency_context as waiting

LONGEST_WAIT_S = 1


def wait_without_spinning() -> None:
    """Change how every run of this process waits from now on; can be called again."""
    waiting.MAX_CONCURRENCY_CLAIM_BLOCKED_INTERVAL = LONGEST_WAIT_S
    waiting.InstanceConcurrencyContext.interval_to_next_pending_claim_check = _until_next_look  # type: ignore[method-assign]


def _until_next_look(self: waiting.InstanceConcurrencyContext) -> float:
    """Seconds until the first of the waiting steps looks again, 0 when none waits."""
    now = time.time()
    return max(0.0, min((look - now for look in self._pending_timeouts.values()), default=0.0))
