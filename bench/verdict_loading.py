"""How long the ledger takes to load into a new warehouse: many verdicts in many small segments.

    python -m bench.verdict_loading --verdicts 1000000 --segments 5000

Verdicts have texts of the length that a judge writes; one in twenty is in two segments, as after a cut-off compaction.
DuckDB gets the 2 GB it has everywhere. Segments are written once into --folder and found there by the next call.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pollux_dagster.ledger.segments import seal
from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.verdicts import load_verdicts

START = datetime(2026, 1, 1, tzinfo=UTC)


def write_segments(folder: Path, verdicts: int, segments: int) -> list[Path]:
    """`segments` sealed files of equal length; each repeats a twentieth of the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    each = verdicts // segments
    for number in range(len(list(folder.glob("*.parquet"))), segments):
        repeated = range(max(0, number * each - each // 20), number * each)
        rows = [record(key) for key in (*repeated, *range(number * each, (number + 1) * each))]
        seal(rows, folder, f"segment-{number:05}")
    return sorted(folder.glob("*.parquet"))


def record(number: int) -> dict[str, object]:
    """A verdict as an active file holds it, with 600 characters of reasoning that compress like text."""
    key = hashlib.sha256(str(number).encode()).hexdigest()
    words = " ".join(key[at : at + 5] for at in range(0, 60, 5))
    return {
        "verdict_key": key, "judge_id": "judge", "status": "ok", "score": float(number % 3),
        "rationale": f"{words} " * 8, "raw_text": f"{words} " * 9, "error": None, "finish_reason": "stop",
        "prompt_tokens": 900, "completion_tokens": 200, "cached_tokens": 700, "attempts": 1, "latency_s": 1.0,
        "engine": "vllm", "engine_version": "0", "system_fingerprint": None, "server": "s", "run_id": "run",
        "created_at": (START + timedelta(seconds=number)).isoformat(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--segments", type=int, default=5_000)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    started = time.monotonic()
    segments = write_segments(given.folder / f"{given.verdicts}-{given.segments}", given.verdicts, given.segments)
    written = sum(segment.stat().st_size for segment in segments)
    print(f"{len(segments)} segments, {written / 2**20:.0f} MiB, ready after {time.monotonic() - started:.0f} s")
    warehouse = given.folder / "warehouse.duckdb"
    for left in given.folder.glob(f"{warehouse.name}*"):
        left.unlink()
    con = connect(warehouse)
    create_schema(con)
    for what in ("into a new warehouse", "again, nothing new"):
        started = time.monotonic()
        changed = load_verdicts(con, segments)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{what}: {changed} verdicts in {time.monotonic() - started:.1f} s, peak RSS {peak:.0f} MiB")
    started = time.monotonic()
    load_verdicts(con, segments[:-1])  # one was damaged and set aside
    print(f"all of it again, after a segment was set aside: {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
