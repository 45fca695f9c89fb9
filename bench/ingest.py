"""What ingest costs in CPU and memory, beside DuckDB's own reader of JSON lines, which checks nothing.

    python -m bench.ingest --models 67 --prompts 500
    python -m bench.ingest --landing FOLDER

Every figure is of a process of its own and is the least of --rounds, in which ingest and rival take turns: CPU seconds
(user and system, imports included) and peak resident memory. The rival, `INSERT … SELECT * FROM read_json`, only gets
the generated answers into a table of one DuckDB file. With --landing an existing folder is read, without a rival.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

SYNC = """
import sys, pathlib
from pollux_dagster.ingest.sync import sync
from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.schema import create_schema
con = connect(pathlib.Path(sys.argv[1]))
create_schema(con)
print(sync(con, pathlib.Path(sys.argv[2]), run_id="bench", taxonomy=None))
"""
RIVAL = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], config={"memory_limit": "2GB"})
files = sys.argv[2] + "/model*.jsonl"
reader = "read_json(?, filename = true, format = 'newline_delimited')"
con.execute(f"CREATE TABLE answers AS SELECT * FROM {reader}", [files])
print(con.execute("SELECT count(*) FROM answers").fetchone()[0], "rows")
"""
TEXT = (
    "ответ модели на вопрос о том как устроен мир и почему вода кипит при ста градусах answer of a model with code "
    "`x = 1` and a list - one - two - three"
)


def write_corpus(folder: Path, models: int, prompts: int, criteria: int = 2) -> None:
    """Instructions with so many criteria, and for each model a file of answers of 1,500 characters, all distinct."""
    rubrics = "0: нет\n1: частично\n2: да"
    asked = [{"criteria_name": f"Критерий {number}", "rubrics": rubrics} for number in range(criteria)]
    instructions = [{"prompt_id": n, "instruction": f"Вопрос {n}?", "criteria": asked} for n in range(prompts)]
    _write(folder / "instructions.jsonl", instructions)
    for model in range(models):
        write_answers(folder, model, prompts)


def write_answers(folder: Path, model: int, prompts: int) -> None:
    """The file of one model."""
    chance = random.Random(20261126 + model)
    _write(folder / f"model{model:04}.jsonl", [_answer(chance, model, n) for n in range(prompts)])


def _answer(chance: random.Random, model: int, prompt: int) -> dict[str, object]:
    return {"prompt_id": prompt, "answer": f"{model} {prompt} " + " ".join(chance.choices(TEXT.split(), k=250))}


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def cost(code: str, database: Path, landing: Path) -> tuple[float, float, str]:
    """CPU seconds, peak memory in MiB and the last line printed by a process that runs `code` to its end."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(database), str(landing)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the measured process ended with {process.returncode}; its message stands above")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, printed.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=67)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--landing", type=Path)
    given = parser.parse_args()
    figures: dict[str, list[tuple[float, float]]] = {}
    with TemporaryDirectory(prefix="bench-ingest-") as scratch:
        landing = given.landing
        if landing is None:
            landing = Path(scratch, "landing")
            landing.mkdir()
            write_corpus(landing, given.models, given.prompts)
        for turn in range(given.rounds):
            home = Path(scratch, str(turn))
            home.mkdir()
            steps = [("a first sync", SYNC, "w.duckdb"), ("nothing new", SYNC, "w.duckdb")]
            if given.landing is None:
                steps.append(("rival", RIVAL, "rival.duckdb"))
            for name, code, database in steps:
                cpu_s, peak_mib, said = cost(code, home / database, landing)
                figures.setdefault(name, []).append((cpu_s, peak_mib))
                print(f"{turn + 1}: {name}: {cpu_s:.2f} s CPU, {peak_mib:.0f} MiB; {said}", flush=True)
            shutil.rmtree(home)
    least = {name: tuple(map(min, zip(*of_it, strict=True))) for name, of_it in figures.items()}
    for name, (cpu_s, peak_mib) in least.items():
        beside = f", {cpu_s / least['rival'][0]:.1f} x the rival's CPU" if "rival" in least and name != "rival" else ""
        print(f"{name}: {cpu_s:.2f} s CPU, {peak_mib:.0f} MiB{beside}")


if __name__ == "__main__":
    main()
