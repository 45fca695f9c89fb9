"""Runs the chaos suite, or one scenario of it: `python -m tests.chaos --seed 7 --only kill-step-3`.

Prints a line for each scenario, and for a failed one the command that replays it. Exits with 1 when a promise was
broken and with 3 when time ran out before the last scenario.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.arena import Arena, Outcome, Scenario, make_arena, play
from tests.chaos.child import warm_up
from tests.chaos.scenarios import scenarios
from tests.chaos.world import quiet


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="", help="names of scenarios, or beginnings of them, separated by commas")
    parser.add_argument("--stub", action="store_true", help="a stub engine instead of vLLM")
    parser.add_argument("--minutes", type=float, default=20.0, help="stop after so many")
    parser.add_argument("--report", type=Path, help="write outcomes as JSON lines")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    options = parser.parse_args()
    quiet()
    wanted = tuple(filter(None, options.only.split(",")))
    chosen = [scenario for scenario in scenarios() if not wanted or scenario.name.startswith(wanted)]
    folder = Path(tempfile.mkdtemp(prefix="pollux-chaos-"))
    arena = make_arena(folder, stub=options.stub)
    say(f"seed {options.seed}, {len(chosen)} scenarios, judge: {'stub engine' if options.stub else 'vLLM'}, {folder}")
    outcomes: list[Outcome] = []
    try:
        warm_up()
        outcomes = _play_all(arena, chosen, options)
    finally:
        arena.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    failed = [outcome for outcome in outcomes if outcome.error]
    left = len(chosen) - len(outcomes)
    held = len(outcomes) - len(failed)
    say(f"{held} held, {len(failed)} broken, {left} not run for lack of time; seed {options.seed}")
    return 1 if failed else 3 if left else 0


def _play_all(arena: Arena, chosen: list[Scenario], options: argparse.Namespace) -> list[Outcome]:
    began, outcomes = time.monotonic(), []
    for scenario in chosen:
        if time.monotonic() - began > options.minutes * 60:
            break
        outcome = play(scenario, arena, options.seed)
        outcomes.append(outcome)
        figures = " ".join(f"{name}={value}" for name, value in outcome.figures.items())
        say(f"{'BROKEN' if outcome.error else 'held  '} {scenario.name:32} {outcome.seconds:6.1f} s  {figures}")
        if outcome.error:
            stub = " --stub" if options.stub else ""
            say(f"       {outcome.error}")
            say(f"       replay: python -m tests.chaos --seed {options.seed} --only {scenario.name}{stub}")
        if options.report:
            record = {"name": scenario.name, "seconds": outcome.seconds, "error": outcome.error, **outcome.figures}
            with options.report.open("a") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return outcomes


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
