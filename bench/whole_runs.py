"""What whole evaluations cost: the first, one without news, one with a model more, one with a changed rubric.

    python -m bench.whole_runs --models 67 --prompts 500 --criteria 4      # 134,000 requests
    python -m bench.whole_runs --models 1000 --prompts 4 --criteria 1      # as many partitions

Each is a `pollux run` in a process of its own: seconds, CPU seconds (user and system, imports included), peak resident
memory. Answers have about 1,500 characters and are all distinct. Real: everything but the judge, a server that answers
at once. The verdicts of the first evaluation are written into the ledger, by the writer of segments, after a run that
found no judge had made the requests: its figures are those of ingest, requests and work order, and those of the run
after it are loading, tables and publication. With --judged they come from the server.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from bench.ingest import write_answers, write_corpus
from pollux_dagster.ledger.segments import seal

NOBODY = "http://127.0.0.1:9/v1"
SEGMENT_VERDICTS = 20_000
REASONING = "Ответ раскрывает суть вопроса и не содержит ошибок, но одно утверждение не подкреплено примером. " * 3


@contextmanager
def instant_server() -> Iterator[str]:
    """The URL of a judge that answers at once."""
    with subprocess.Popen([sys.executable, "-m", "bench.instant_server"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        server.kill()


def measure(what: str, command: list[str], environment: dict[str, str], *, fails: bool = False) -> float:
    """Run the command to its end, print what it cost and return its seconds."""
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if bool(process.returncode) != fails:
        raise RuntimeError(f"{what} ended with {process.returncode}:\n{printed[-3_000:]}")
    cpu_s, peak_mib = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(f"{what}: {seconds:.1f} s, {cpu_s:.1f} s CPU, {peak_mib:.0f} MiB", flush=True)
    return cpu_s


def write_verdicts(home: Path) -> int:
    """An ok verdict for every request of the home that has none, into its ledger; returns how many."""
    chance, written = random.Random(20261127), 0
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        keys = con.execute("SELECT DISTINCT verdict_key, judge_id FROM judging.requests ORDER BY ALL")
        while rows := keys.fetchmany(SEGMENT_VERDICTS):
            verdicts = [_verdict(key, judge_id, chance.choice((0.0, 1.0, 2.0))) for key, judge_id in rows]
            seal(verdicts, _segments(home), f"bench-{written:08}")
            written += len(rows)
    return written


def _segments(home: Path) -> Path:
    folder = home / "ledger" / "segments"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _verdict(key: str, judge_id: str, score: float) -> dict[str, object]:
    return {
        "verdict_key": key, "judge_id": judge_id, "status": "ok", "score": score, "rationale": f"{key} {REASONING}",
        "raw_text": f"{key} {REASONING}{score:g}", "error": None, "finish_reason": "stop", "prompt_tokens": 900,
        "completion_tokens": 200, "cached_tokens": 700, "attempts": 1, "latency_s": 1.0, "engine": "instant",
        "engine_version": "0", "system_fingerprint": None, "server": "s", "run_id": "bench",
        "created_at": datetime.now(UTC).isoformat(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=67)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--criteria", type=int, default=4)
    parser.add_argument("--judged", action="store_true", help="ask the instant server for the first verdicts too")
    parser.add_argument("--folder", type=Path, help="a new folder for landing files and home, which stays")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="bench-runs-") as scratch, instant_server() as url:
        folder = given.folder or Path(scratch)
        landing, home = folder / "landing", folder / "home"
        landing.mkdir(parents=True)
        write_corpus(landing, given.models, given.prompts, criteria=given.criteria)
        environment = {**os.environ, "POLLUX_JUDGE_SERVED_MODEL": "instant", "POLLUX_JUDGE_API_KEY": "none"}
        run = ["-m", "pollux_dagster.cli", "run", "--landing", str(landing), "--home", str(home), "--judge-url"]
        print(f"{given.models} models, {given.models * given.prompts * given.criteria:,} requests")
        base = measure('python -c "import dagster"', ["-c", "import dagster"], environment)
        if not given.judged:
            measure("requests, without a judge", [*run, NOBODY], environment, fails=True)
            print(f"{write_verdicts(home):,} verdicts written into the ledger")
        measure("the first evaluation", [*run, url], environment)
        nothing = measure("nothing new", [*run, url], environment)
        print(f"nothing new is {nothing / base:.1f} x import dagster")
        write_answers(landing, given.models, given.prompts)
        measure("one model more", [*run, url], environment)
        text = (landing / "instructions.jsonl").read_text(encoding="utf-8")
        (landing / "instructions.jsonl").write_text(text.replace("1: частично", "1: не вполне", 1), encoding="utf-8")
        measure("one rubric changed", [*run, url], environment)


if __name__ == "__main__":
    main()
