"""Builds the Parquet file of a work order, as the warehouse would write it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pollux_dagster.core.work import Answer


def write_work(path: Path, answers: list[Answer]) -> Path:
    rows = [
        {
            "instruction": each.instruction,
            "reference_answer": each.reference_answer,
            "answer": each.answer,
            "requests": [{"verdict_key": key, "criterion_id": criterion} for key, criterion in each.requests],
        }
        for each in answers
    ]
    requests = pl.List(pl.Struct({"verdict_key": pl.String, "criterion_id": pl.String}))
    texts = dict.fromkeys(("instruction", "reference_answer", "answer"), pl.String)
    pl.DataFrame(rows, schema={**texts, "requests": requests}).write_parquet(path, row_group_size=2)
    return path


def answers_of(*requests: int) -> list[Answer]:
    return [
        Answer(f"Вопрос {n}", None, f"Ответ {n}", [(f"{n}-{k}", f"c{k}") for k in range(count)])
        for n, count in enumerate(requests)
    ]
