"""How a run waits for a place in a pool: it looks again at least every second, sleeps in between, and outlives others.

Of Dagster 1.13, that is changed. A run of one process that waits there computes the time until it looks again as
never more than zero (`interval_to_next_pending_claim_check`; mended, but not merged, in dagster-io/dagster#20367), so
it loops on a whole core; and the looks come up to 15 s apart, during which a place that is given to a run stays unused.
Eight runs that share two pools took eight minutes, and take one and a half now. And where no daemon runs, nobody gives
back the place of a run that was killed: a run that waits for it does so itself.
"""

from __future__ import annotations

import time

from dagster._core.execution.plan import instance_concurrency_context as waiting

from pollux_dagster.defs.instance import fail_orphaned_runs

LONGEST_WAIT_S = 1
LOOK_FOR_THE_DEAD_EVERY_S = 10.0
_last_look = float("-inf")


def wait_without_spinning() -> None:
    """Change how every run of this process waits from now on; can be called again."""
    waiting.MAX_CONCURRENCY_CLAIM_BLOCKED_INTERVAL = LONGEST_WAIT_S
    waiting.InstanceConcurrencyContext.interval_to_next_pending_claim_check = _until_next_look  # type: ignore[method-assign]


def _until_next_look(self: waiting.InstanceConcurrencyContext) -> float:
    """Seconds until the first of the waiting steps looks again, 0 when none waits."""
    if self._pending_timeouts:
        _look_for_the_dead(self)
    now = time.time()
    return max(0.0, min((look - now for look in self._pending_timeouts.values()), default=0.0))


def _look_for_the_dead(waiting_run: waiting.InstanceConcurrencyContext) -> None:
    global _last_look
    if time.monotonic() - _last_look >= LOOK_FOR_THE_DEAD_EVERY_S:
        _last_look = time.monotonic()
        fail_orphaned_runs(waiting_run._instance)
