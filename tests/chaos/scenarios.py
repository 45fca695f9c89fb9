"""The list of scenarios, in an order that spends a short time budget on every kind of them.

What they do is in the modules they come from; here they get names, sizes and worlds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path

from tests.chaos import calls, daemon, disk, server, together, versions
from tests.chaos.arena import Arena, Scenario, World
from tests.chaos.child import start
from tests.chaos.faults import RATES, judge_on, run_through_faults
from tests.chaos.kill import run_killed
from tests.chaos.proxy import FAULTS
from tests.chaos.world import settings_of

STEP_CHAINS, SERVER_CHAINS, JOB_CHAINS = 7, 3, 1
STEP_KILLS, JOB_KILLS = 5, 3
PARTITIONS, SMALL = 8, 72
MOST_CALLS = 8
SERVER_TARGETS = ("api", "core", "supervisor", "all")


def scenarios() -> list[Scenario]:
    """Every scenario: 63 of faults, kills at 50 moments, and the single experiments."""
    faults = [_fault(name, rate) for rate in reversed(RATES) for name in FAULTS]
    kills = [
        *(_kills(f"kill-step-{i}", ("step",) * STEP_KILLS) for i in range(STEP_CHAINS)),
        *(_kills(f"kill-server-{i}", SERVER_TARGETS) for i in range(SERVER_CHAINS)),
        *(_kills(f"kill-jobs-{i}", ("step",) * JOB_KILLS, jobs=True) for i in range(JOB_CHAINS)),
    ]
    few, many = [*kills, *_single()], faults
    share = max(1, len(many) // len(few))
    groups = zip_longest(few, *(many[i::share] for i in range(share)))
    return [scenario for scenario in chain.from_iterable(groups) if scenario is not None]


@cache
def small_world(arena: Arena) -> World:
    """The world of the fault scenarios."""
    return arena.world("small", models=3, prompts=SMALL // 6)


@cache
def large_world(arena: Arena) -> World:
    """The world of the kills: more requests than may be unflushed."""
    return arena.world("large", models=5, prompts=30)


@cache
def wide_world(arena: Arena) -> World:
    """The world of runs that meet: eight models, few answers each."""
    return arena.world("wide", models=PARTITIONS, prompts=6)


@cache
def undisturbed_seconds(arena: Arena, *, jobs: bool) -> float:
    """How long a run over the large world takes when nobody kills it."""
    work = arena.work("timed", large_world(arena), jobs=jobs)
    began = time.monotonic()
    start(work).join()
    return time.monotonic() - began


def _fault(name: str, rate: float) -> Scenario:
    label = f"fault-{name}-{rate * 100:g}%"

    def run(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
        world = small_world(arena)
        home = arena.folder / "homes" / label
        with arena.judge() as judge:
            return run_through_faults(
                home,
                world.prepared,
                world.landing,
                judge,
                arena.profile,
                world.undisturbed,
                fault=name,
                rate=rate,
                seed=seed,
            )

    return Scenario(label, f"a judge with {name} at {rate:.0%} of the attempts gives the same tables", run)


def _kills(label: str, targets: tuple[str, ...], *, jobs: bool = False) -> Scenario:
    def run(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
        world = large_world(arena)
        seconds = undisturbed_seconds(arena, jobs=jobs)
        order = source.sample(targets, len(targets))
        work = arena.work(label, world, jobs=jobs)
        return run_killed(
            work, world.undisturbed, targets=order, longest_s=seconds, source=source, replies=arena.replies(work)
        )

    return Scenario(label, f"after SIGKILL of {', '.join(dict.fromkeys(targets))}: nothing left, the same tables", run)


def _single() -> list[Scenario]:
    return [
        *(_calls(action, ending) for action in calls.ACTIONS for ending in calls.ENDINGS),
        Scenario("server-hang", "an engine that hangs behind a healthy answer is restarted", _hang),
        Scenario("server-bad-flag", "an engine that ends at start is told with its reason", _bad_flag),
        Scenario("server-never-ready", "an engine that never becomes ready is given up and killed", _never_ready),
        Scenario("server-no-memory", "an engine without memory is told with its reason", _no_memory),
        *(_disk(place, trouble) for place in disk.PLACES for trouble in disk.TROUBLES),
        *(_segment(harm) for harm in disk.HARMS),
        *(_warehouse(harm) for harm in disk.HARMS),
        Scenario("together-two", "two runs of one home ask for each verdict once, and both succeed", _two),
        Scenario("together-four", "four runs of one home ask for each verdict once, and all succeed", _four),
        Scenario(
            "together-homes", "two homes on one landing folder: both as undisturbed, the folder untouched", _homes
        ),
        Scenario("daemon", "a run goes on after SIGKILL and restart of Dagster's daemon", _daemon),
        Scenario("readers", "readers meet no lock and no torn file during publications", _readers),
        Scenario("clock-jumps", "a wall clock that jumps changes no table and loses no verdict", _clock),
        Scenario(
            "earlier-layout", "a warehouse of an earlier layout is brought up, and nothing is asked again", _layout
        ),
    ]


def _disk(place: str, trouble: str) -> Scenario:
    def run(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
        if not disk.can_mount():
            return {"skipped": "no right to mount a small file system"}
        world = small_world(arena)
        with arena.judge() as judge:
            return disk.meet_a_refusing_disk(arena, world, judge, place, trouble)

    promise = f"a disk that is {trouble} under the {place}: a clear error, nothing half-written, and the run resumes"
    return Scenario(f"disk-{place}-{trouble}", promise, run)


def _segment(harm: str) -> Scenario:
    label = f"segment-{harm}"

    def run(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
        with arena.judge() as judge:
            return disk.lose_a_segment(arena, judge, disk.HARMS[harm], source, label)

    promise = f"a {harm} ledger segment is set aside with a report; its verdicts, and only they, are asked for again"
    return Scenario(label, promise, run)


def _calls(action: str, ending: str) -> Scenario:
    def run(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
        if not calls.can_compile():
            return {"skipped": "no C compiler"}
        template = home_before(arena, action)
        with calls.Victims(arena.folder) as victims:
            return calls.strike_at_every_call(
                victims, template, small_world(arena).landing, action, ending, source=source, most=MOST_CALLS
            )

    promise = f"{ending} at each call of {action} that changes a file: nothing is lost, and again ends as undisturbed"
    return Scenario(f"calls-{action}-{ending}", promise, run)


@cache
def home_before(arena: Arena, action: str) -> Path:
    """A home that was judged and published; for `bring-up` with the warehouse of an earlier version."""
    world = small_world(arena)
    home = arena.folder / "homes" / f"before-{action}"
    settings = settings_of(home, world.landing)
    with arena.judge() as judge:
        judge_on(settings, judge.base_url, judge, arena.profile, "before")
    calls.ACTIONS["publish"](home, world.landing)
    if action == "bring-up":
        current = settings.warehouse.with_name("current.duckdb")
        settings.warehouse.rename(current)
        versions.write_layout(versions.LAYOUTS / "version_1.sql", settings.warehouse, current)
        current.unlink()
    return home


@cache
def finished_home(arena: Arena) -> Path:
    """A home in which `pollux run` has evaluated the wide world."""
    home = arena.folder / "homes" / "finished"
    with arena.judge() as judge:
        _, environment = daemon.attached(arena, judge, home, wide_world(arena))
        versions.pollux(environment, "run", expected_code=0)
    return home


def _warehouse(harm: str) -> Scenario:
    def run(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
        home = finished_home(arena)
        with arena.judge() as judge:
            return versions.rebuild_a_corrupt_warehouse(arena, wide_world(arena), judge, home, harm, source)

    return Scenario(
        f"warehouse-{harm}", f"a {harm} warehouse is made again by `pollux rebuild`, without a request", run
    )


def _hang(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    return server.hang(arena, large_world(arena), "hang", source.uniform(0.2, 1.0))


def _bad_flag(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    return server.failing_start(arena, server.with_a_bad_flag(arena), ("no-such-flag",))


def _never_ready(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    return server.failing_start(arena, server.never_ready(arena), ("was not ready within 3 s",))


def _no_memory(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    if arena.is_stub:
        return {"skipped": "the stub engine needs next to no memory"}
    return server.failing_start(arena, server.without_memory(arena, 1_500_000), ("out of memory",))


def _two(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    world = wide_world(arena)
    return together.run_together(together.several_in_one_home(arena, world, "two", 2), world.undisturbed)


def _four(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    world = wide_world(arena)
    return together.run_together(together.several_in_one_home(arena, world, "four", 4), world.undisturbed)


def _homes(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    world = wide_world(arena)
    works = [arena.work(f"homes-{i}", world) for i in range(2)]
    return together.homes_that_share_a_landing_folder(works, world.undisturbed)


def _daemon(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    with arena.judge() as judge:
        return daemon.restart_the_daemon(arena, large_world(arena), judge)


def _readers(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    world = small_world(arena)
    folder = arena.folder / "readers"
    settings = settings_of(folder, world.landing)
    with arena.judge() as judge:
        judge_on(settings, judge.base_url, judge, arena.profile, "readers")
    return together.readers_during_publications(folder, settings.warehouse)


def _clock(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    world = small_world(arena)
    with arena.judge() as judge, versions.jumping_clock(source):
        return run_through_faults(
            arena.folder / "homes" / "clock", world.prepared, world.landing, judge, arena.profile, world.undisturbed,
            fault="off_scale", rate=0.5, seed=seed,
        )  # fmt: skip


def _layout(arena: Arena, source: random.Random, seed: int) -> Mapping[str, object]:
    world = small_world(arena)
    figures: dict[str, object] = {}
    with arena.judge() as judge:
        for layout in sorted(versions.LAYOUTS.glob("*.sql")):
            name = f"layout-{layout.stem}"
            figures |= versions.open_an_earlier_layout(arena, world, judge, layout, name)
    return figures
