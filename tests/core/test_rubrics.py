"""The scales people write, and the ones that must be refused instead of guessed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pollux_dagster.core.rubrics import MAX_RUBRIC_CHARS, UnreadableScaleError, read_scale, reading


@pytest.mark.parametrize(
    ("rubrics", "levels"),
    [
        ("0: нет\n1: частично\n2: да", (0, 1, 2)),
        ("- 1: нет\n- 2: да", (1, 2)),
        ("2 — хорошо\n1 — средне\n0 — плохо", (0, 1, 2)),
        ("1. плохо\n2. средне\n3. хорошо", (1, 2, 3)),
        ("0.5: половина\n1: всё", (0.5, 1)),
        ("0,5: половина\n1,0: всё", (0.5, 1)),
        ("Score 1: bad\nScore 3: good", (1, 3)),
        ("Оценка 2: да\nОценка 0: нет", (0, 2)),
        ("Балл 1 - плохо\nБалл 2 - хорошо", (1, 2)),
        ("1 балл — плохо\n2 балла — средне\n5 баллов — хорошо", (1, 2, 5)),
        ("**0**: нет\n**1**: да", (0, 1)),
        ("**0:** нет\n**1:** да", (0, 1)),
        ("[0] нет\n[1] да", (0, 1)),
        ("(0) нет\n(1) да", (0, 1)),
        ("| 0 | нет |\n| 1 | да |", (0, 1)),
        ("### Оценка 0\nнет\n### Оценка 1\nда", (0, 1)),
        ("0:\nнет фактов\n1:\nфакты есть", (0, 1)),
        ("-1: хуже\n0: так же\n1: лучше", (-1, 0, 1)),
        ("−1: хуже\n0: так же\n+1: лучше", (-1, 0, 1)),
        ("- -1: хуже\n- 0: так же\n- 1: лучше", (-1, 0, 1)),
        ("0: нет\n    1: частично\n    2: да", (0, 1, 2)),
        ("1-3: плохо\n4-7: средне\n8-10: хорошо", tuple(range(1, 11))),
        ('{"0": "нет", "1": "да"}', (0, 1)),
        ('{"ru": {"0": "нет", "0,5": "почти", "1": "да"}}', (0, 0.5, 1)),
        ('[{"score": 1, "text": "a"}, {"score": 2, "text": "b"}]', (1, 2)),
        ("0 — нет, 1 — да", (0, 1)),
        ("1-3 — плохо, 4-7 — средне, 8-10 — хорошо", tuple(range(1, 11))),
        ("0: нет; 1: частично; 2: да", (0, 1, 2)),
        ("Оцените ответ: 0 = нет, 1 = да", (0, 1)),
        ("0: нет 1: частично 2: да", (0, 1, 2)),
        ("Score 1: bad. Score 2: good.", (1, 2)),
        ("от 1 до 5", (1, 2, 3, 4, 5)),
        ("Оцените по шкале от 1 до 5.", (1, 2, 3, 4, 5)),
        ("Шкала 1–10", tuple(range(1, 11))),
        ("On a scale of 0 to 2, where 2 is best", (0, 1, 2)),
        ("от 0 до 1 с шагом 0,5", (0, 0.5, 1)),
        ("1 (Poor): bad\n2 (Good): fine", (1, 2)),
        ("0 (плохо): нет\n1 (хорошо): да", (0, 1)),
        ("[Score 1] bad\n[Score 2] good", (1, 2)),
        ("от 1 (плохо) до 5 (отлично)", (1, 2, 3, 4, 5)),
        ("Rate the answer between 1 and 3", (1, 2, 3)),
        ("0 или 1", (0, 1)),
        ("Оценка: 0, 1 или 2.", (0, 1, 2)),
        ("Score 0 or 1", (0, 1)),
        ("Баллы: 0, 1, 2", (0, 1, 2)),
        ("Шкала от 0.0 до 1.0\n0: нет\n0.5: частично\n1: да", (0, 0.5, 1)),
    ],
)
def test_a_stated_scale_is_read(rubrics: str, levels: tuple[float, ...]) -> None:
    assert read_scale(rubrics).levels == levels


@pytest.mark.parametrize(
    "rubrics",
    [
        "",
        "Оцените качество ответа.",
        "0: только один уровень",
        '{"плохо": "нет", "хорошо": "да"}',
        "Текст должен содержать от 100 до 500 слов",
        "от 1 до 5, а с бонусом от 0 до 10",
        "1: плохо\n1: хорошо\n2: отлично",
        "- 1: плохо\n0: средне\n1: хорошо",
        "0: плохо, потому что:\n1. нет фактов\n2. нет логики",
        "9" * 400 + ": много\n1: мало",
        "Оценка по 10-балльной шкале",
        "Оценка: 0,1 или 2",
        "Длина между 1 и 5",
    ],
)
def test_a_scale_nobody_can_read_is_refused_with_the_rubric_in_the_message(rubrics: str) -> None:
    with pytest.raises(UnreadableScaleError) as error:
        read_scale(rubrics)
    assert repr(rubrics[:400])[1:-1] in str(error.value)


ONE_TO_FIVE, ONE_TO_TEN = tuple(range(1, 6)), tuple(range(1, 11))


@pytest.mark.parametrize(
    ("rubrics", "levels"),
    [
        ("Оцените по шкале от 1 до 5, где 1 — очень плохо, а 5 — отлично.", ONE_TO_FIVE),
        ("Шкала от 1 до 10: 1 — ужасно, 10 — идеально", ONE_TO_TEN),
        ("On a scale from 1 to 5, where 1 = bad and 5 = great", ONE_TO_FIVE),
        ("Шкала 1–10 (1 — плохо, 5 — средне, 10 — отлично)", ONE_TO_TEN),
        ("Шкала 1—10 (1 — плохо, 10 — отлично)", ONE_TO_TEN),
        ("По шкале от 1 до 5 насколько ответ полезен: 1 — нет, 5 — да", ONE_TO_FIVE),
        ("1: ужасно\n10: идеально\n(шкала от 1 до 10)", ONE_TO_TEN),
        ("1: ужасно\n10: идеально (шкала от 1 до 10)", ONE_TO_TEN),
        ("Оценка 1–5\n1: ужасно\n5: идеально", ONE_TO_FIVE),
        ("По 10-балльной шкале, где 1 — плохо, 10 — отлично", ONE_TO_TEN),
        ("По 10-балльной шкале, где 0 — плохо, 10 — отлично", tuple(range(11))),
        ("По пятибалльной шкале, где 1 — плохо, а 5 — отлично", ONE_TO_FIVE),
        ("5-point scale: 1 = bad, 5 = good", ONE_TO_FIVE),
        ("Трёхбалльная шкала\n0: нет\n1: частично\n2: да", (0, 1, 2)),
        ("Шкала от 0 до 1, шаг 0,5\n0: плохо\n1: хорошо", (0, 0.5, 1)),
        ("Шкала от 0 до 1\n0: нет\n0,5: частично\n1: да", (0, 0.5, 1)),
        ("1 — плохо\n...\n5 — отлично", ONE_TO_FIVE),
        ("5 — отлично\n4 — хорошо\n…\n1 — плохо", ONE_TO_FIVE),
        ("1 — плохо, ..., 5 — отлично", ONE_TO_FIVE),
    ],
)
def test_a_range_between_the_described_ends_is_the_scale(rubrics: str, levels: tuple[float, ...]) -> None:
    assert read_scale(rubrics).levels == levels


@pytest.mark.parametrize(
    ("rubrics", "why"),
    [
        ("1: ужасно\n5: идеально\n(шкала от 1 до 10)", "states 1 to 10"),
        ("Оцените от 0 до 2: 0 — нет, 1 — да", "states 0 to 2"),
        ("Шкала от 0 до 10\n0: нет\n1: частично\n2: да", "states 0 to 10"),
        ("Оценка 1–10:\n1: плохо\n5: отлично", "states 1 to 10"),
        ("Шкала: от 1 до 5\nШаг 1: прочитайте.\nШаг 2: оцените.\n1: a\n2: b", "states 1 to 5"),
        ("По 10-балльной шкале, где 1 — плохо, 5 — отлично", "10 points"),
        ("Шкала от 0 до 3\n0: нет\n0,5: частично\n3: да", "do not fit"),
        ("Шаги:\n1. Прочитайте ответ.\n2. Оцените его от 1 до 5.", "states 1 to 5"),
        ("1-3. Плохо\n4: средне\n5: хорошо", "written in another way"),
        ("1: плохо\n5: отлично (от 1 до 5)", "may be the scale's or not"),
        ("0: нет\n1: да\n...", "leaves levels out"),
        ("0: нет\n2: да\n...\n6: вполне", "leaves levels out"),
        ("1 — плохо... 5 — отлично", "leaves levels out"),
        ("Шкала: 0, 1, 2, где 0 — нет, 2 — да", "choice"),
        ("Оценка: 0 или 3.\n0: нет\n1: частично\n2: да", "choice"),
    ],
)
def test_a_range_that_the_described_levels_contradict_is_refused(rubrics: str, why: str) -> None:
    with pytest.raises(UnreadableScaleError, match=re.escape(why)):
        read_scale(rubrics)


@pytest.mark.parametrize(
    "rubrics",
    [
        "0: нет ошибок\n1: ошибок от 1 до 5;\n2: ошибок больше 5, до 10",
        "Объём — от 5 до 10.\n0: нет\n1: частично\n2: да",
        "0: нет\n1: частично\n2: да\nВ ответе 3 примера, 5 — максимум.",
        "0 — нет, 1 — частично, 2 — да",
    ],
)
def test_numbers_in_prose_say_nothing_about_levels_described_without_a_gap(rubrics: str) -> None:
    assert read_scale(rubrics).levels == (0, 1, 2)


@pytest.mark.parametrize(
    "rubrics",
    [
        "0 - Нет\n1 — Частично\n2 — Да",
        "0 – нет;\n1 — частично;\n2 — полностью.",
        "0 ‒ нет\n1 - частично\n2: да",
        "0: нет\n1 - частично\n2: да",
        "0: нет\n 1: частично\n2: да",
        "  0: нет\n1: частично\n2: да",
        "\t0: нет\n\t1: частично\n\t2: да",
        "0 - нет, 1 — частично, 2 — да",
    ],
)
def test_lines_that_differ_in_dash_or_by_a_column_are_one_scale(rubrics: str) -> None:
    assert read_scale(rubrics).levels == (0, 1, 2)


@pytest.mark.parametrize(
    "rubrics",
    [
        "0: нет\n1. частично\n2: да",
        "0. нет\n1: частично\n2: да",
        "0: нет\n1: частично\n2. да",
        "0: нет\n  1: частично\n2: да",
        "0: нет\n1: частично\n  2: да",
        "Оценка 0: нет\n1: частично\nОценка 2: да",
        "0: нет\n1: частично\n3 - да",
        "0: плохо\n1 - нет фактов\n2 - нет логики\n1: хорошо",
        "0: нет; 1: частично\n2: да",
        "0: нет 1: частично, 2: да",
        "0 (нет), 1 — частично, 2 — да",
    ],
)
def test_a_level_in_another_form_is_never_dropped(rubrics: str) -> None:
    with pytest.raises(UnreadableScaleError):
        read_scale(rubrics)


@pytest.mark.parametrize(
    "text",
    [
        "Оцените от 0 до 5 (шаг 0,5)",
        "Оцените от 0 до 5 с шагом в 0,5",
        "от 0 до 5, шаг 0.5",
        "Шкала 0–5, шаг: 0,5 балла",
        "from 0 to 5 in steps of 0.5",
        "Шкала 0–5 с точностью до 0,5",
        "Rate from 0 to 5 in increments of 0.5",
        "Оцените от 0 до 5 с шагом 0,5, где 0 — плохо, 5 — отлично",
    ],
)
def test_a_stated_step_is_taken(text: str) -> None:
    assert read_scale(text).levels == tuple(n / 2 for n in range(11))


@pytest.mark.parametrize(
    "text",
    [
        "На шкале 0–10, допускаются половинки",
        "Шкала 1–5. Можно ставить дробные оценки",
        "Rate from 1 to 5, half points allowed",
        "Rate from 1 to 5. Decimals are fine.",
        "Оцените от 1 до 5, выбрав подходящий шаг",
        "Оцените от 1 до 5, где 1 — плохо, 5 — отлично; допускаются половинки",
        "1: плохо\n3: средне\n5: хорошо\nДопускаются промежуточные оценки",
        "Шкала от 1 до 5 с шагом 0,3",
        "Оцените от 0 до 1 (можно 0,5)",
        "Шкала 0.0–1.0",
        "от 0,0 до 1,0, где 0,0 — плохо, 1,0 — хорошо",
        "Шкала 0–5 с точностью до десятых",
        "Шкала от 1 до 5, шаг 0,5 или с шагом 0,25",
    ],
)
def test_levels_between_whole_numbers_without_a_usable_step_are_refused(text: str) -> None:
    with pytest.raises(UnreadableScaleError):
        read_scale(text)


def test_half_of_something_in_a_description_is_not_half_a_level() -> None:
    assert read_scale("Шкала от 1 до 3\n1: половина верна\n3: всё верно").levels == (1, 2, 3)
    assert read_scale("Шкала от 1 до 3: 1 — половина неверна, 3 — всё верно").levels == (1, 2, 3)


RUNS = [
    "\n", " ", "\t", "\u00a0", "1", "-", "—", ".", "…", "(", "|", "*", "#", "1 ", "1,", "1,1", "1-", "1\n", "1: а\n",
    "1. а\n", "0-1000:\n", "от ", "от 1 ", "от 1 до 5. ", "шкала ", "шкала 1-5. ", "оценка", "score ", "1 — ",
    "1 или ", "1 (а) ", "шаг ", "можно а ", "...\n", "2-балл",
]  # fmt: skip


@pytest.mark.timeout(15)  # half a second of work at most; where a pattern is quadratic it is longer than this
@pytest.mark.parametrize(
    "run",
    [pytest.param(run, marks=() if at % 5 == 0 else pytest.mark.slow, id=repr(run)) for at, run in enumerate(RUNS)],
)
@pytest.mark.parametrize(("before", "after"), [("нет шкалы", ""), ("0: а\n", "\n1: б")], ids=["prose", "levels"])
def test_no_text_makes_reading_slow(run: str, before: str, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # More than is read otherwise, so that the deadline tells squares from lines.
    length = MAX_RUBRIC_CHARS * 3 // 2
    monkeypatch.setattr(reading, "MAX_RUBRIC_CHARS", length)
    room = length - len(before) - len(after)
    with contextlib.suppress(UnreadableScaleError):
        read_scale(before + run * (room // len(run)) + after)


def test_a_numbered_list_inside_a_description_is_not_a_level() -> None:
    rubrics = "0: плохо:\n1. нет фактов\n2. нет логики\n3. нет вывода\n1: средне\n2: хорошо"
    assert read_scale(rubrics).levels == (0, 1, 2)


def test_an_indented_list_in_the_same_style_is_not_a_level() -> None:
    assert read_scale("0: плохо\n   7: пример\n   8: пример\n1: хорошо").levels == (0, 1)


def test_a_list_before_the_levels_is_not_the_scale() -> None:
    assert read_scale("Смотрите на:\n1. факты\n2. логику\n3. стиль\n0: плохо\n1: хорошо").levels == (0, 1)


def test_a_stated_range_fills_in_the_levels_between_the_described_ones() -> None:
    assert read_scale("Шкала от 1 до 5\n1: плохо\n3: средне\n5: хорошо").levels == (1, 2, 3, 4, 5)


def test_described_levels_alone_are_the_whole_scale() -> None:
    assert read_scale("1: плохо\n3: средне\n5: хорошо").levels == (1, 3, 5)


def test_a_dash_glued_to_every_number_is_a_minus_unless_a_line_says_minus_zero() -> None:
    assert read_scale("-2: хуже\n-1: чуть хуже").levels == (-2, -1)
    assert read_scale("-0: нет\n-1: частично\n-2: да").levels == (0, 1, 2)


def _point(x: float) -> str:
    return f"{x:g}"


def _comma(x: float) -> str:
    return f"{x:g}".replace(".", ",")


LINE_STYLES: dict[str, Callable[[float, str], str]] = {
    "colon": lambda x, t: f"{_point(x)}: {t}",
    "colon, decimal comma": lambda x, t: f"{_comma(x)}: {t}",
    "bullet": lambda x, t: f"- {_point(x)}: {t}",
    "round bullet": lambda x, t: f"• {_comma(x)} — {t}",
    "em dash": lambda x, t: f"{_point(x)} — {t}",
    "en dash": lambda x, t: f"{_point(x)} – {t}",
    "hyphen": lambda x, t: f"{_point(x)} - {t}",
    "dot": lambda x, t: f"{_point(x)}. {t}",
    "parenthesis": lambda x, t: f"{_comma(x)}) {t}",
    "Score": lambda x, t: f"Score {_point(x)}: {t}",
    "Оценка": lambda x, t: f"Оценка {_comma(x)}: {t}",
    "Балл": lambda x, t: f"Балл {_comma(x)} - {t}",
    "bold": lambda x, t: f"**{_point(x)}**: {t}",
    "equals": lambda x, t: f"{_point(x)} = {t}",
}
TEXTS = st.text(alphabet="абвгдежзиклмнопрст ,.-«»()", min_size=1, max_size=40).map(lambda t: "т" + t)
LEVELS = st.lists(st.integers(-40, 40).map(lambda n: n / 2), min_size=2, max_size=9, unique=True)


@settings(max_examples=100, deadline=None)
@given(levels=LEVELS, style=st.sampled_from(sorted(LINE_STYLES)), data=st.data())
def test_any_levels_in_any_line_style_and_order_are_read_back(
    levels: list[float], style: str, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(TEXTS, min_size=len(levels), max_size=len(levels)))
    lines = [LINE_STYLES[style](x, t) for x, t in zip(levels, texts, strict=True)]
    rubrics = "\n".join(lines)
    assert read_scale(rubrics).levels == tuple(sorted(levels)), rubrics


@settings(max_examples=100, deadline=None)
@given(levels=LEVELS, data=st.data())
def test_any_json_object_of_levels_is_read_back(levels: list[float], data: st.DataObject) -> None:
    body = {_point(x): data.draw(TEXTS) for x in levels}
    assert read_scale(json.dumps(body, ensure_ascii=False)).levels == tuple(sorted(levels))


@settings(max_examples=100, deadline=None)
@given(low=st.integers(-20, 20), size=st.integers(1, 60))
def test_any_stated_range_of_whole_numbers_is_read_back(low: int, size: int) -> None:
    expected = tuple(float(x) for x in range(low, low + size + 1))
    for text in (f"от {low} до {low + size}", f"Шкала {low}–{low + size}", f"from {low} to {low + size}."):
        assert read_scale(text).levels == expected, text


MIXED_LINE = st.tuples(
    st.sampled_from(["", " ", "  ", "    "]),
    st.sampled_from(["", "- ", "**", "Оценка "]),
    st.sampled_from([": ", " - ", " — ", " – ", ". ", ") ", " (да): "]),
)


@settings(max_examples=150, deadline=None)
@given(levels=st.lists(st.integers(0, 12), min_size=2, max_size=6, unique=True), data=st.data())
def test_neighbouring_levels_are_all_read_or_all_refused(levels: list[int], data: st.DataObject) -> None:
    styles = data.draw(st.lists(MIXED_LINE, min_size=len(levels), max_size=len(levels)))
    first = min(levels)
    text = "\n".join(f"{a}{b}{first + i}{c}текст" for i, (a, b, c) in enumerate(styles))
    try:
        found = read_scale(text).levels
    except UnreadableScaleError:
        return
    assert found == tuple(range(first, first + len(levels))), text


@settings(max_examples=100, deadline=None)
@given(low=st.integers(0, 2), size=st.integers(1, 10), described=st.sampled_from(["ends", "low", "none", "all"]))
def test_a_range_is_read_whole_however_much_of_it_is_described(low: int, size: int, described: str) -> None:
    whole = range(low, low + size + 1)
    shown = {"ends": [low, low + size], "low": [low], "none": [], "all": list(whole)}[described]
    inline = ", ".join(f"{x} — текст" for x in shown)
    assert read_scale(f"Оцените от {low} до {low + size}, где {inline or 'больше — лучше'}.").levels == tuple(whole)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='01239:-—.,)*| \nабвОценка{}"[]', max_size=80))
def test_any_text_gives_a_scale_or_the_typed_error(text: str) -> None:
    try:
        scale = read_scale(text)
    except UnreadableScaleError:
        return
    assert len(scale.levels) >= 2
    assert list(scale.levels) == sorted(set(scale.levels))
