"""Any text as a rubric: a scale of at least two ascending finite levels, or an error that quotes the rubric."""

from __future__ import annotations

import math
from itertools import pairwise

from pollux_dagster.core.rubrics import MAX_LEVEL, MAX_LEVELS, UnreadableScaleError, read_scale

SEEDS = tuple(
    text.encode()
    for text in (
        "0: нет\n1: частично\n2: да",
        "- **1** — плохо\n- **2** — хорошо",
        "Оценка 1-3: слабо\nОценка 4-5: сильно",
        '{"0": "нет", "1": "да"}',
        '[{"score": 1, "text": "a"}, {"score": 2}]',
        "от 1 до 5 с шагом 0,5",
        "0 — нет, 1 — да; 2 — вполне",
        "Score 1: bad\nScore 2: good",
        "-1: хуже\n0: так же\n1: лучше",
        "Шкала 1..10",
        "по 10-балльной шкале, где 1 (плохо), 10 — отлично",
        "1 - плохо\n…\n5 — отлично\nшкала от 1 до 5 (шаг 0,5)",
        "Score 0, 1 or 2: half points allowed",
    )
)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        scale = read_scale(text)
    except UnreadableScaleError as error:
        assert len(str(error)) < 5_000
        return
    assert 2 <= len(scale.levels) <= MAX_LEVELS
    assert all(math.isfinite(level) and abs(level) <= MAX_LEVEL for level in scale.levels)
    assert all(low < high for low, high in pairwise(scale.levels))
