"""The scales people write, and the ones that must be refused instead of guessed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pollux_dagster.core.rubrics import UnreadableScaleError, read_scale


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
        ("0: нет; 1: частично; 2: да", (0, 1, 2)),
        ("Оцените ответ: 0 = нет, 1 = да", (0, 1)),
        ("0: нет 1: частично 2: да", (0, 1, 2)),
        ("Score 1: bad. Score 2: good.", (1, 2)),
        ("от 1 до 5", (1, 2, 3, 4, 5)),
        ("Оцените по шкале от 1 до 5.", (1, 2, 3, 4, 5)),
        ("Шкала 1–10", tuple(range(1, 11))),
        ("On a scale of 0 to 2, where 2 is best", (0, 1, 2)),
        ("от 0 до 1 с шагом 0,5", (0, 0.5, 1)),
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
    ],
)
def test_a_scale_nobody_can_read_is_refused_with_the_rubric_in_the_message(rubrics: str) -> None:
    with pytest.raises(UnreadableScaleError) as error:
        read_scale(rubrics)
    assert repr(rubrics[:400])[1:-1] in str(error.value)


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


@settings(max_examples=300, deadline=None)
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


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='01239:-—.,)*| \nабвОценка{}"[]', max_size=80))
def test_any_text_gives_a_scale_or_the_typed_error(text: str) -> None:
    try:
        scale = read_scale(text)
    except UnreadableScaleError:
        return
    assert len(scale.levels) >= 2
    assert list(scale.levels) == sorted(set(scale.levels))
