"""Builders of a tiny landing folder: instructions with two criteria, answers of three kinds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REFUSAL = {
    "criteria_name": "Отказ или заглушка вместо ответа",
    "criteria_group": "critical",
    "rubrics": "0: Ответ дан по существу.\n1: Вместо ответа отказ, заглушка или пустота.",
}
REPETITION = {
    "criteria_name": "Отсутствие повторов",
    "criteria_group": "general",
    "rubrics": "0: Одна и та же фраза встречается три раза или больше.\n"
    "1: Одна и та же фраза встречается дважды.\n2: Повторов нет.",
}
ANSWERS = (
    "Столица Франции — Париж.",
    "Это Лион. Это Лион. Это Лион. Это Лион.",
    "Я не могу ответить на этот вопрос.",
)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def write_instructions(landing: Path, count: int) -> Path:
    return write_jsonl(
        landing / "instructions.jsonl",
        [
            {
                "prompt_id": i,
                "instruction": f"Вопрос номер {i}: назови столицу Франции.",
                "reference_answer": "Париж",
                "task_type": "факты" if i % 2 else "счёт",
                "criteria": [REFUSAL, REPETITION],
            }
            for i in range(count)
        ],
    )


def write_answers(landing: Path, model_id: str, count: int, answer: Callable[[int], str | None]) -> Path:
    name = model_id if "/" not in model_id else "answers-" + hashlib.sha256(model_id.encode()).hexdigest()[:12]
    return write_jsonl(
        landing / f"{name}.jsonl",
        [{"prompt_id": i, "model_id": model_id, "answer": answer(i)} for i in range(count)],
    )
