"""What the distribution of a score costs: verdicts with it against the same verdicts without, on one server.

Passes alternate, and every pass puts its own number in front of its instructions, so that none profits from the
prefixes that another one left in the server's cache.

    python -m bench.score_distribution                                # starts the demo judge
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.clients import read_criteria
from bench.judge_throughput import judge_server, make_answers
from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.profiles import JudgeProfile
from pollux_dagster.core.work import Criterion
from pollux_dagster.judge.evaluate import evaluate
from pollux_dagster.judge.server import ServerHandle
from pollux_dagster.judge.work import Evaluation
from pollux_dagster.ledger.ledger import Ledger


def seconds_of(
    number: int, verdicts: int, criteria: dict[str, Criterion], server: ServerHandle, judge: JudgeProfile
) -> float:
    """Wall time of one pass."""
    evaluation = Evaluation(criteria, judge, "bench", f"pass-{number}", total=verdicts, cached=0)
    answers = list(make_answers(number, verdicts))
    with TemporaryDirectory(prefix="pollux-bench-ledger-") as folder:
        began = time.perf_counter()
        evaluate(answers, evaluation, server=server, ledger=Ledger(Path(folder)), progress=lambda _: None, log=print)
        return time.perf_counter() - began


def compare(options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of both kinds of passes and their ratio."""
    criteria = read_criteria()
    without = packaged_profile("demo")
    judges = {"without": without, "with": replace(without, request=replace(without.request, distributes_score=True))}
    seconds: dict[str, list[float]] = {name: [] for name in judges}
    with judge_server(options) as server:
        for number in range(-1, options.rounds):
            for name in judges if number % 2 == 0 else reversed(judges):
                took = seconds_of(2 * number + (name == "with") + 10, options.verdicts, criteria, server, judges[name])
                if number >= 0:  # the first round warms the engine up
                    seconds[name].append(took)
            print({name: round(each[-1], 2) for name, each in seconds.items() if each})
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    return {**medians, "ratio": medians["with"] / medians["without"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="a vLLM server to attach to instead of starting one")
    parser.add_argument("--verdicts", type=int, default=500, help="requests in a pass, a multiple of five")
    parser.add_argument("--rounds", type=int, default=4)
    parser.set_defaults(engine=True, profile="demo")
    print(json.dumps(compare(parser.parse_args())))
