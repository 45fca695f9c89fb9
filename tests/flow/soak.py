"""A real `pollux up` over minutes or hours: what lands, changes, breaks and dies, and what it leads to.

    python -m tests.flow.soak --models 3 --quiet 600

Every event waits for the publication it must lead to and is told with its runs, its failed runs and its seconds. Then
nothing happens for `--quiet` seconds: what still runs, and what it costs, is measured. The judge answers at once
(`tests.fakes.instant_judge`), so that the seconds are the machinery's. Exits with 1 when an event did not lead where it
must.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path

import dagster as dg
import duckdb
import psutil

from pollux_dagster.runs.home_lock import BEGUN_TAG
from pollux_dagster.runs.instance import liveness_folder, open_instance
from pollux_dagster.settings import Settings
from tests.fakes.instant_judge import REFUSE, InstantJudge
from tests.flow.flow_world import INSTRUCTIONS, flow_settings, land_instructions, land_model

WITHIN_S = 900.0


@dataclass
class Event:
    """What was done, what came of it, and the runs that began since the event before."""

    name: str
    seconds: float
    runs: Counter[str]
    failed: list[str]
    stored_mb: float
    error: str = ""


@dataclass
class Soak:
    settings: Settings
    environment: dict[str, str]
    port: int
    log: Path
    up: subprocess.Popen[bytes] | None = None
    events: list[Event] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def start(self) -> None:
        command = [sys.executable, "-m", "pollux_dagster.cli", "up", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.up = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def processes(self) -> list[psutil.Process]:
        """All of ours: what `pollux up` started, and what that started."""
        ours = str(self.settings.home)
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("POLLUX_HOME") == ours and process.pid != os.getpid():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def stop(self) -> list[int]:
        assert self.up is not None
        self.up.send_signal(signal.SIGTERM)
        self.up.wait(60)
        deadline = time.monotonic() + 30
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [process.pid for process in left]

    def event(self, name: str, act: Callable[[], None], reached: Callable[[], bool]) -> None:
        """Do it, wait until it has led where it must, and then until no run is unfinished."""
        before = self.stored_mb()
        began = time.monotonic()
        act()
        error, seconds = "", 0.0
        try:
            self.wait(reached)
            seconds = time.monotonic() - began
            self.wait(lambda: not self.unfinished())
        except TimeoutError:
            error = f"not within {WITHIN_S:g} s"
        runs = self.new_runs()
        failed = [f"{run.job_name} {run.run_id}" for run in runs if run.status is dg.DagsterRunStatus.FAILURE]
        counted = Counter(run.job_name for run in runs)
        found = Event(name, seconds, counted, failed, self.stored_mb() - before, error)
        self.events.append(found)
        told = ", ".join(f"{job} {count}" for job, count in sorted(counted.items()))
        say(f"{name:42s} {seconds:7.1f} s   {told:28s} failed {len(failed)}   {found.stored_mb:+.2f} MB {error}")

    def new_runs(self) -> list[dg.DagsterRun]:
        with open_instance(self.settings.dagster_home) as instance:
            runs = [run for run in instance.get_runs() if run.run_id not in self.seen]
        self.seen |= {run.run_id for run in runs}
        return runs

    def unfinished(self) -> bool:
        with open_instance(self.settings.dagster_home) as instance:
            return any(not run.is_finished for run in instance.get_runs(limit=50))

    def wait(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.5)

    def stored_mb(self) -> float:
        folder = self.settings.dagster_home
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6

    def ask(self, query: str) -> list[tuple[object, ...]]:
        try:
            with duckdb.connect(str(self.settings.published), read_only=True) as con:
                return con.execute(query).fetchall()
        except duckdb.Error:
            return []

    def models(self) -> set[object]:
        return {model for (model,) in self.ask("SELECT model_id FROM marts.leaderboard")}

    def publication(self) -> object:
        return self.ask("SELECT run_id FROM meta.publication")

    def texts(self) -> object:
        """A fingerprint of what the published numbers are of: answers, references and rubrics."""
        return self.ask(
            "SELECT (SELECT bit_xor(hash(answer, model_id, prompt_id)) FROM raw.model_outputs), "
            "(SELECT bit_xor(hash(coalesce(reference_answer, ''), prompt_id)) FROM raw.instructions), "
            "(SELECT bit_xor(hash(rubrics)) FROM raw.criteria)"
        )

    def has_other_texts_than(self, texts: object) -> bool:
        return self.texts() != texts


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def live(soak: Soak, models: int) -> None:
    settings = soak.settings
    present: set[object] = {f"m{number:02d}" for number in range(models)}

    def land_first() -> None:
        land_instructions(settings)
        for model in sorted(map(str, present)):
            land_model(settings, model)

    soak.event(f"first drop: {models} models", land_first, lambda: soak.models() == present)
    for number in range(3):
        present.add(f"one-{number}")
        soak.event(
            f"one more model ({number + 1})",
            partial(land_model, settings, f"one-{number}"),
            lambda: soak.models() == present,
        )
    three = [f"three-{number}" for number in range(3)]
    present.update(three)

    def land_three() -> None:
        for model in three:
            land_model(settings, model)
            time.sleep(2)

    soak.event("three models, two seconds apart", land_three, lambda: soak.models() == present)
    for what, change in (("an answer", edit_answer), ("a rubric", edit_rubric), ("a reference", edit_reference)):
        soak.event(f"{what} edited", partial(change, settings), partial(soak.has_other_texts_than, soak.texts()))
    present.discard("one-0")
    soak.event("a model deleted", (settings.landing / "one-0.jsonl").unlink, lambda: soak.models() == present)
    before = soak.publication()

    def land_a_broken_file() -> None:
        (settings.landing / "broken.jsonl").write_bytes(b"\x00\xff{not json\n" * 20)

    soak.event(
        "a broken file",
        land_a_broken_file,
        lambda: soak.publication() != before and soak.models() == present,
    )
    before = soak.publication()
    soak.event(
        "a model that the judge refuses",
        lambda: land_model(settings, "refused", text=REFUSE, spoiled=INSTRUCTIONS),
        lambda: soak.publication() != before and soak.models() == present,
    )
    present.add("during-a-kill")

    def land_and_kill_the_run() -> None:
        land_model(settings, "during-a-kill")
        soak.wait(lambda: bool(evaluating(soak)))
        for process in evaluating(soak):
            process.kill()

    soak.event("a run killed (-9) and its model landed", land_and_kill_the_run, lambda: soak.models() == present)
    present.add("not-launched")
    soak.event(
        "code server killed (-9) before an ingest began",
        lambda: kill_the_code_server_before_the_ingest_of(soak, "not-launched"),
        lambda: soak.models() == present,
    )
    present.add("after-a-kill")

    def kill_everything_and_land() -> None:
        for process in soak.processes():
            process.kill()
        land_model(settings, "after-a-kill")
        soak.start()

    soak.event(
        "everything killed (-9), a model, `pollux up`", kill_everything_and_land, lambda: soak.models() == present
    )


def evaluating(soak: Soak) -> list[psutil.Process]:
    """The process of the run of the job `evaluate` that is under way, by the file that shows that it lives."""
    with open_instance(soak.settings.dagster_home) as instance:
        started = instance.get_runs(dg.RunsFilter(job_name="evaluate", statuses=[dg.DagsterRunStatus.STARTED]))
        alive = [liveness_folder(instance) / run.run_id for run in started if BEGUN_TAG in run.tags]
    return [psutil.Process(json.loads(path.read_text())["pid"]) for path in alive if path.exists()]


def kill_the_code_server_before_the_ingest_of(soak: Soak, model: str) -> None:
    """Dagster drops a run that it can then not launch; with luck, for it may also be launched just before."""
    land_model(soak.settings, model)
    soak.wait(soak.unfinished)
    for process in soak.processes():
        if part(process) == "code server":
            process.kill()


def edit_answer(settings: Settings) -> None:
    path = settings.landing / "one-1.jsonl"
    path.write_text(path.read_text().replace("one-1 3", "one-1 три", 1))


def edit_rubric(settings: Settings) -> None:
    path = settings.landing / "instructions.jsonl"
    path.write_text(path.read_text().replace("Повторов нет.", "Повторов нет совсем."))


def edit_reference(settings: Settings) -> None:
    path = settings.landing / "instructions.jsonl"
    path.write_text(path.read_text().replace('"reference_answer": "Париж"', '"reference_answer": "Город Париж"', 1))


def part(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    parts = {"dagster._daemon": "daemon", "api grpc": "code server", "defs.webserver": "web server"}
    return next((name for sign, name in parts.items() if sign in command), "command")


def cpu_s(process: psutil.Process) -> float:
    """Seconds on a CPU as the scheduler counts them: what wakes up with the timer's ticks is counted double by ticks.

    First field of /proc/<pid>/task/<tid>/schedstat, nanoseconds: Documentation/scheduler/sched-stats.rst of Linux.
    """
    tasks = Path(f"/proc/{process.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def rest(soak: Soak, quiet_s: float) -> dict[str, object]:
    """Nothing happens: what runs all the same, and what does it cost."""
    began = {process.pid: cpu_s(process) for process in soak.processes()}
    stored, started = soak.stored_mb(), time.monotonic()
    time.sleep(quiet_s)
    passed = time.monotonic() - started
    spent: defaultdict[str, float] = defaultdict(float)
    memory = 0
    for process in soak.processes():
        spent[part(process)] += cpu_s(process) - began.get(process.pid, 0.0)
        memory += process.memory_info().rss
    runs = soak.new_runs()
    return {
        "seconds": round(passed),
        "runs": len(runs),
        "cpu_percent_of_a_core": round(100 * sum(spent.values()) / passed, 2),
        "of_these": {
            name: round(100 * seconds / passed, 2)
            for name, seconds in sorted(spent.items(), key=itemgetter(1), reverse=True)
        },
        "stored_mb_a_day": round((soak.stored_mb() - stored) * 86_400 / passed, 1),
        "memory_mb": round(memory / 1e6),
        "processes": len(soak.processes()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=3, help="models of the first drop")
    parser.add_argument("--quiet", type=float, default=120.0, help="seconds of rest that are measured")
    parser.add_argument("--folder", type=Path, help="where home and landing folder go; kept [default: a temporary one]")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="pollux-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with InstantJudge() as judge:
        settings = flow_settings(folder, judge.url)
        soak = Soak(settings, {**os.environ, **settings.to_environment()}, port, folder / "up.log")
        soak.start()
        try:
            live(soak, options.models)
            figures = rest(soak, options.quiet)
            say(f"at rest: {json.dumps(figures)}")
            twice = sum(count > 1 for count in judge.prompts.values())
            say(f"asked more than once: {twice} of {len(judge.prompts)} prompts")
        finally:
            left = soak.stop()
            say(f"left after SIGTERM: {left or 'nothing'}")
    if options.folder is None:
        shutil.rmtree(folder)
    wrong = [event.name for event in soak.events if event.error]
    return 1 if wrong or left else 0


if __name__ == "__main__":
    sys.exit(main())
