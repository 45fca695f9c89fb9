"""Judges a stream of answers: pulls them lazily, keeps the server full, records every verdict as it comes.

Memory use does not grow with the number of requests: a prompt exists from its sending to its verdict. The warehouse
decides which requests there are; `requester` obtains one verdict.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from pollux_dagster.core.profiles import JudgeProfile
from pollux_dagster.core.prompts import render
from pollux_dagster.core.verdicts import Verdict, VerdictStatus
from pollux_dagster.core.work import Answer, Criterion
from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.concurrency import CAUTIOUS_START, START, AdaptiveConcurrency
from pollux_dagster.judge.dialect import HARMLESS_LEVELS, harmless_prompt
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.progress import Progress
from pollux_dagster.judge.recovery import SharedServer
from pollux_dagster.judge.requester import Outcome, VerdictRequester
from pollux_dagster.judge.run_stats import RunStats
from pollux_dagster.judge.server.handle import ServerHandle
from pollux_dagster.judge.work import Evaluation, EvaluationError, EvaluationLimits, EvaluationReport
from pollux_dagster.ledger.ledger import Ledger, LedgerWriter

__all__ = [
    "Answer",
    "Criterion",
    "EvaluationError",
    "EvaluationLimits",
    "EvaluationReport",
    "evaluate",
    "evaluate_async",
]

_TICK_S = 1.0
_METRICS_EVERY_TICKS = 3
# So many requests in a row without a reply are the server's fault. Those of one instruction alone may be caused by its
# text: the answers to it, with all their criteria, are sent one after the other, and a filter refuses them all.
_HOPELESS_REQUESTS, _HOPELESS_INSTRUCTIONS = 20, 3
_HOPELESS_REPLIES = 50
_UNREAD = frozenset({VerdictStatus.UNPARSEABLE, VerdictStatus.OFF_SCALE})


def evaluate(
    answers: Iterable[Answer],
    evaluation: Evaluation,
    *,
    server: ServerHandle,
    ledger: Ledger,
    progress: Callable[[Progress], None],
    log: Callable[[str], None] = lambda line: None,
) -> EvaluationReport:
    """Judge every pending request of `answers` and return a report; blocks until the last verdict.

    `progress` is called about once a second and at the end, `log` with what is learned about the server. Every verdict
    is in the ledger at most one second or 256 verdicts after it came, however this ends. Call `evaluate_async` where an
    event loop is already running.

    Raises:
        EvaluationError: a criterion is unknown, or the server refuses or fails everything for a while.
        ServerError: the server is lost and cannot be restarted.
        LedgerError: the ledger cannot be written.
    """
    return asyncio.run(evaluate_async(answers, evaluation, server=server, ledger=ledger, progress=progress, log=log))


async def evaluate_async(
    answers: Iterable[Answer],
    evaluation: Evaluation,
    *,
    server: ServerHandle,
    ledger: Ledger,
    progress: Callable[[Progress], None],
    log: Callable[[str], None] = lambda line: None,
) -> EvaluationReport:
    """`evaluate` for callers on an event loop, for instance in a notebook."""
    bounds, profile = evaluation.limits, evaluation.profile

    def connect(endpoint: Endpoint) -> JudgeClient:
        return JudgeClient(endpoint, profile, connections=bounds.max_in_flight, limits=bounds.wire, log=log)

    shared = SharedServer(server, connect)
    known = await shared.metrics()
    start = START if "num_requests_running" in known else CAUTIOUS_START
    concurrency = AdaptiveConcurrency(start=min(start, bounds.max_in_flight), ceiling=bounds.max_in_flight)
    concurrency.on_metrics(known)
    requester = VerdictRequester(shared, profile, concurrency, bounds.retry, random.Random(bounds.seed), log)
    stats = RunStats(total=evaluation.total, cached=evaluation.cached)
    try:
        with ledger.writer(evaluation.run_id) as writer:
            stats.note_metrics(known)
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(_watch(stats, shared, concurrency, requester, progress, bounds))
                await _judge_all(answers, evaluation, writer, requester, concurrency, stats)
                watch.cancel()
            stats.note_metrics(await shared.metrics())
    except BaseExceptionGroup as group:
        # The first failure cancelled the others; callers wait for that one, not for a group.
        raise _first(group) from None
    finally:
        await shared.aclose()
    progress(stats.progress(concurrency.in_flight, requester.retries, shared.restarts))
    return _report(stats, requester, shared)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _judge_all(
    answers: Iterable[Answer],
    evaluation: Evaluation,
    writer: LedgerWriter,
    requester: VerdictRequester,
    concurrency: AdaptiveConcurrency,
    stats: RunStats,
) -> None:
    criteria, profile = evaluation.criteria, evaluation.profile
    breaker = _CircuitBreaker(profile, requester)

    async def judge(answer: Answer, verdict_key: str, criterion: Criterion) -> None:
        try:
            prompt = render(
                profile.template,
                answer.instruction,
                answer.reference_answer,
                answer.answer,
                criterion.criteria_name,
                criterion.rubrics,
            )
            outcome = await requester.request(prompt, criterion.levels)
            writer.append(_verdict(verdict_key, evaluation, outcome))
            stats.add(outcome)
            await breaker.add(answer, outcome)
        finally:
            concurrency.release()

    async with asyncio.TaskGroup() as tasks:
        for answer in answers:
            for verdict_key, criterion_id in answer.requests:
                criterion = criteria.get(criterion_id)
                if criterion is None:
                    raise EvaluationError(
                        f"request {verdict_key} names criterion {criterion_id!r}, which is not among "
                        f"the {len(criteria)} given; work order and criteria are from different states of "
                        "the warehouse"
                    )
                await concurrency.acquire()
                tasks.create_task(judge(answer, verdict_key, criterion))


async def _watch(
    stats: RunStats,
    shared: SharedServer,
    concurrency: AdaptiveConcurrency,
    requester: VerdictRequester,
    progress: Callable[[Progress], None],
    bounds: EvaluationLimits,
) -> None:
    """Once a second: report progress, adapt to the server's metrics, restart the server when it hangs."""
    ticks, generation = 0, shared.generation
    looking: asyncio.Task[dict[str, float]] | None = None
    while True:
        await asyncio.sleep(_TICK_S)
        ticks += 1
        if shared.generation != generation:
            # Another task restarted it: the minutes of its start do not count as a hang of the new process.
            generation = shared.generation
            stats.forget_progress()
        if ticks % _METRICS_EVERY_TICKS == 0 and looking is None:
            looking = asyncio.create_task(shared.metrics())
        if looking is not None:
            # Slow metrics are used when they arrive; a server that stalls there is watched all the same.
            await asyncio.wait([looking], timeout=_TICK_S)
            if looking.done():
                stats.note_metrics(looking.result())
                concurrency.on_metrics(looking.result())
                looking = None
        progress(stats.progress(concurrency.in_flight, requester.retries, shared.restarts))
        idle_s = stats.seconds_without_progress()
        silent_for_s = bounds.no_progress_s
        if not stats.sees_tokens:
            # Only its replies show progress, and each may take as long as the client waits for it.
            silent_for_s = max(silent_for_s, bounds.wire.first_byte_s)
        if concurrency.in_flight and idle_s > silent_for_s and not shared.is_restarting:
            await shared.restart_if_stuck(
                f"no verdict and no generated token for {idle_s:.0f} s with {concurrency.in_flight} in flight"
            )
            stats.forget_progress()


class _CircuitBreaker:
    """Counts requests in a row that were refused or given up; any reply resets the count.

    A server may refuse every text of one model, for instance by a filter, and judge all others. So a row of refusals is
    the server's fault only where it also refuses a harmless text. Before the first reply, one refusal is enough to ask.
    """

    def __init__(self, profile: JudgeProfile, requester: VerdictRequester) -> None:
        self._unread: int | None = 0  # replies without a score since the last look; None once one has it
        self._harmless = harmless_prompt(profile)
        self._requester = requester
        self._turn = asyncio.Lock()  # the others wait while a harmless text is asked
        self._requests = 0
        self._instructions: set[str] = set()
        self._takes_something = False

    async def add(self, answer: Answer, outcome: Outcome) -> None:
        """Raises EvaluationError when the row is so long that the remaining requests would end in the same way."""
        async with self._turn:
            await self._add(answer, outcome)

    async def _add(self, answer: Answer, outcome: Outcome) -> None:
        is_refused = outcome.reply.status is VerdictStatus.REFUSED_BY_SERVER
        await self._look_at_reply(outcome)
        if outcome.was_answered:
            self._takes_something = True
            self._requests = 0
            self._instructions.clear()
            return
        if is_refused and not self._takes_something:
            self._takes_something = True  # unless it proves otherwise
            if await self._requester.is_refused(self._harmless, HARMLESS_LEVELS):
                raise EvaluationError(
                    f"the server at {outcome.endpoint.server} refuses the requests of this judge, a harmless one too: "
                    f"{outcome.reply.problem}. Check the profile with `pollux judges check` and the server's log"
                )
        self._requests += 1
        if len(self._instructions) < _HOPELESS_INSTRUCTIONS:
            self._instructions.add(answer.instruction)
        if self._requests >= _HOPELESS_REQUESTS and len(self._instructions) >= _HOPELESS_INSTRUCTIONS:
            requests, self._requests = self._requests, 0
            if is_refused and await self._requester.is_answered(self._harmless, HARMLESS_LEVELS):
                return
            raise EvaluationError(
                f"the server at {outcome.endpoint.server} gave no usable reply to {requests} requests in a "
                f"row; the last one: {outcome.reply.problem}. Check its key, model name and log, then run again"
            )

    async def _look_at_reply(self, outcome: Outcome) -> None:
        """While no reply has a score, one to a harmless text tells the judge's fault from that of the texts."""
        if outcome.reply.status is VerdictStatus.OK:
            self._unread = None
        if self._unread is None or outcome.reply.status not in _UNREAD:
            return
        self._unread += 1
        if self._unread < _HOPELESS_REPLIES:
            return
        self._unread = 0
        if await self._requester.is_unreadable(self._harmless, HARMLESS_LEVELS):
            raise EvaluationError(
                f"none of the first {_HOPELESS_REPLIES} replies of this judge or more has a score on its rubric, nor "
                f"has its reply to a harmless text; the last one: {outcome.reply.problem}. `pollux judges check` shows "
                "what it writes and what is read"
            )


def _verdict(verdict_key: str, evaluation: Evaluation, outcome: Outcome) -> Verdict:
    reply, endpoint = outcome.reply, outcome.endpoint
    return Verdict(
        verdict_key=verdict_key,
        judge_id=evaluation.judge_id,
        status=reply.status,
        score=reply.score,
        rationale=reply.rationale,
        raw_text=reply.raw_text,
        error=reply.problem,
        finish_reason=outcome.finish_reason,
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        cached_tokens=outcome.cached_tokens,
        attempts=outcome.attempts,
        latency_s=outcome.latency_s,
        engine=endpoint.engine,
        engine_version=endpoint.engine_version,
        system_fingerprint=outcome.system_fingerprint,
        server=endpoint.server,
        run_id=evaluation.run_id,
        created_at=datetime.now(UTC),
        level_probabilities=outcome.level_probabilities,
    )


def _report(stats: RunStats, requester: VerdictRequester, shared: SharedServer) -> EvaluationReport:
    return EvaluationReport(
        requested=stats.made,
        by_status={status.value: count for status, count in sorted(stats.by_status.items())},
        prompt_tokens=stats.prompt_tokens,
        completion_tokens=stats.completion_tokens,
        cached_tokens=stats.cached_tokens,
        prefix_cache_hit_share=stats.prefix_cache_hits(),
        elapsed_s=stats.elapsed_s(),
        retries=requester.retries,
        restarts=shared.restarts,
    )
