"""What scenarios share: one judge that is up, one undisturbed run on it, and the scenarios' registry.

A judge is either vLLM with the packaged demonstration judge or the stub engine; scenarios do not know which. The one
idea: everything a scenario does follows from (its name, the seed), so that two words replay a failure.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.profiles import JudgeProfile
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.server import ServerSpec, cpu_vllm_spec, list_servers, managed_server, stop_server
from tests.chaos.child import Work
from tests.chaos.faults import judge_on
from tests.chaos.kill import TOKEN, count_vllm_replies
from tests.chaos.world import Row, RunResult, land, settings_of, staging_models

ENGINE = Path(__file__).with_name("engine.py")
IDLE_S = 6.0


@dataclass(frozen=True, slots=True)
class World:
    """A landing folder with its undisturbed table. `prepared`: a warehouse that has read it and has no verdict."""

    landing: Path
    requests: int
    prepared: Path
    undisturbed: tuple[Row, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Arena:
    """The judge of all scenarios and the folder they work in."""

    folder: Path
    spec: ServerSpec
    profile: JudgeProfile
    is_stub: bool

    @property
    def servers(self) -> Path:
        return self.folder / "servers"

    @property
    def record(self) -> Path:
        """Where the stub engine writes down every reply."""
        return self.folder / "replies"

    def random(self, name: str, seed: int) -> random.Random:
        return random.Random(zlib.crc32(f"{name}|{seed}".encode()))

    @contextmanager
    def judge(self) -> Iterator[Endpoint]:
        """The shared server, up as long as the block lasts and then for `IDLE_S` seconds."""
        with managed_server(self.spec, self.servers, lambda _: None) as server:
            yield server.endpoint

    def world(self, name: str, *, models: int, prompts: int) -> World:
        """Make a world and run it undisturbed."""
        landing, home = self.folder / f"{name}-landing", self.folder / f"{name}-undisturbed"
        requests = land(landing, models=models, prompts=prompts)
        settings = settings_of(home, landing)
        prepared = self.folder / f"{name}-prepared.duckdb"
        with self.judge() as judge:
            result: RunResult = judge_on(settings, judge.base_url, judge, self.profile, "undisturbed")
        shutil.copyfile(settings.warehouse, prepared)
        forget_verdicts(prepared)
        return World(landing, requests, prepared, result.rows)

    def work(self, name: str, world: World, *, jobs: bool = False) -> Work:
        """A run over `world` in a fresh home."""
        home = self.folder / "homes" / name
        shutil.rmtree(home, ignore_errors=True)
        return Work(home, world.landing, self.servers, self.spec, self.profile, staging_models(), jobs)

    def replies(self, work: Work) -> Callable[[], int]:
        """Counts what the judge has sent."""
        if self.is_stub:
            return lambda: len(self.record.read_text().split()) if self.record.exists() else 0
        return lambda: count_vllm_replies(work)

    def stop(self) -> None:
        """Stop every server of this arena."""
        for server in list_servers(self.servers):
            stop_server(self.servers, server.key)


def forget_verdicts(warehouse: Path) -> None:
    """Leave what was read from the landing folder and nothing of what was judged."""
    import duckdb

    with duckdb.connect(str(warehouse)) as con:
        con.execute("DELETE FROM judging.verdicts; DELETE FROM meta.ledger_segments; DROP TABLE staging.scores")


def make_arena(folder: Path, *, stub: bool, delay_s: float = 0.3) -> Arena:
    """Lay out the folder and choose the judge; nothing is started yet."""
    os.environ.setdefault(TOKEN, uuid.uuid4().hex)
    folder.mkdir(parents=True, exist_ok=True)
    if stub:
        command = (sys.executable, str(ENGINE), "--port", "{port}", "--record", str(folder / "replies"))
        spec = ServerSpec(
            model="judge",
            engine="command",
            command=(*command, "--delay", str(delay_s)),
            idle_shutdown_s=IDLE_S,
            stop_grace_s=1.0,
            max_restarts=50,
        )
        return Arena(folder, spec, packaged_profile("pollux-4b"), is_stub=True)
    weights = folder / "judge"  # a copy: the identity of the judge must not change under a long run
    if not weights.exists():
        shutil.copytree(packaged_profile("demo").weights or Path(), weights)
    # Its replies take some twenty tokens: one that runs in circles shall not set the pace of the whole suite.
    sampling = replace(packaged_profile("demo").sampling, max_tokens=64)
    profile = replace(packaged_profile("demo"), weights=weights, sampling=sampling)
    spec = cpu_vllm_spec(
        profile.served_model, max_model_len=profile.max_model_len, idle_shutdown_s=IDLE_S, max_restarts=50
    )
    return Arena(folder, spec, profile, is_stub=False)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One experiment: `run` gets the arena and a source of randomness, and returns figures or raises."""

    name: str
    promise: str
    run: Callable[[Arena, random.Random, int], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario."""

    scenario: Scenario
    seconds: float
    figures: Mapping[str, object]
    error: str = ""


def play(scenario: Scenario, arena: Arena, seed: int) -> Outcome:
    """Run one scenario; whatever it raises is its error."""
    began = time.monotonic()
    try:
        figures = scenario.run(arena, arena.random(scenario.name, seed), seed)
    except Exception as error:
        return Outcome(scenario, time.monotonic() - began, {}, f"{type(error).__name__}: {error}")
    return Outcome(scenario, time.monotonic() - began, figures)
