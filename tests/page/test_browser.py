"""The report in a real browser: on a desk and on a phone, in both languages, every filter, and hostile text."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pollux_dagster.page.write import write_report
from tests.page.chromium import Tab, browser
from tests.page.pages import Page
from tests.warehouse.tiny_world import ALPHA, BETA, GAMMA, JUDGE, OTHER_JUDGE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCREENS = [(1440, "en-GB", False), (390, "ru-RU", True)]
MORE_INSTRUCTIONS = 8


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser") / "profile") as tab:
        yield tab


@pytest.fixture(scope="module")
def publication(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world with one suspicious answer, and with more instructions than a page of answers shows."""
    target = tmp_path_factory.mktemp("browsed") / "pollux.duckdb"
    shutil.copyfile(published, target)
    with duckdb.connect(str(target)) as con:
        con.execute(
            "UPDATE raw.model_outputs SET injection_suspected = TRUE, injection_reasons = ['addresses the judge'] "
            "WHERE model_id = ? AND prompt_id = 'p3'",
            [ALPHA],
        )
        for table in ("raw.instructions", "raw.model_outputs"):
            con.execute(
                f"INSERT INTO {table} SELECT rows.* REPLACE ('q' || i AS prompt_id) FROM {table} AS rows, "
                f"range({MORE_INSTRUCTIONS}) AS more(i) WHERE rows.prompt_id = 'p4'"
            )
    return target


@pytest.fixture(scope="module")
def report(publication: Path) -> Path:
    write_report(publication, publication.with_name("report.html"))
    return publication.with_name("report.html")


def choose(tab: Tab, field: str, value: str) -> None:
    tab.run(
        f"(() => {{ const field = document.getElementById('filters').elements[{json.dumps(field)}]; "
        f"field.value = {json.dumps(value)}; field.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
    )
    wait_ms = 300 if field == "text" else 30  # typing is waited for
    tab.run(f"new Promise(done => setTimeout(done, {wait_ms}))")


def shown(tab: Tab) -> list[str]:
    """The ids of the instructions on the page, in order."""
    return [
        str(each)
        for each in tab.run("[...document.querySelectorAll('.item h3')].map(e => e.textContent.split(' ')[0])")
    ]


def reset(tab: Tab) -> None:
    tab.run("document.querySelector('#filters button[type=reset]').click()")


def take_all(tab: Tab) -> None:
    """Put all models side by side."""
    while tab.run("!document.getElementById('add').hidden"):
        tab.run(
            "(() => { const add = document.getElementById('add'); add.value = add.options[1].value; "
            "add.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )


def prompts(publication: Path, condition: str, *values: object) -> list[str]:
    query = f"SELECT DISTINCT prompt_id FROM staging.scores WHERE {condition} ORDER BY ALL"
    with duckdb.connect(str(publication), read_only=True) as con:
        return [prompt for (prompt,) in con.execute(query, list(values)).fetchall()]


@pytest.mark.parametrize(("width", "language", "dark"), SCREENS)
def test_it_opens_without_a_complaint_and_fits_the_screen(
    tab: Tab, report: Path, tmp_path: Path, width: int, language: str, dark: bool
) -> None:
    tab.open(report, width=width, language=language, dark=dark)
    spoken = language[:2]
    assert tab.run("document.documentElement.lang") == spoken
    for chosen in ("en", "ru"):
        tab.run(f"document.querySelector('[data-set-language={chosen}]').click()")
        hidden = "ru" if chosen == "en" else "en"
        assert tab.run("document.documentElement.lang") == chosen
        assert tab.run(f"getComputedStyle(document.querySelector('h1 [lang={hidden}]')).display") == "none"
        assert tab.run("document.documentElement.scrollWidth") <= width
        tab.run("for (const each of document.querySelectorAll('details')) each.open = true")
        assert tab.run("document.documentElement.scrollWidth") <= width, "with every detail open"
    tab.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000
    assert tab.complaints == []
    assert {address for address in tab.requested if not address.startswith("file:")} == set()


@pytest.mark.parametrize(("width", "language", "dark"), SCREENS)
def test_axe_finds_nothing_serious(tab: Tab, report: Path, width: int, language: str, dark: bool) -> None:
    found = importlib.util.find_spec("axe_core_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-core-python of requirements/dev.in")
    tab.open(report, width=width, language=language, dark=dark)
    tab.run(Path(found.origin).with_name("axe.min.js").read_text() + "; 0")
    violations = tab.run(
        "axe.run(document).then(found => found.violations.map(v => [v.impact, v.id, v.nodes[0].html]))"
    )
    assert [each for each in violations if each[0] in ("serious", "critical")] == []


def test_every_filter_finds_what_a_query_finds(tab: Tab, report: Path, publication: Path) -> None:
    tab.open(report, width=1440, language="en")
    take_all(tab)
    choose(tab, "order", "as_is")
    carried = Page(report).evidence
    task = str(carried["tasks"].index("qa"))
    named = {(each["name"], len(each["levels"])): str(place) for place, each in enumerate(carried["criteria"])}
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"task": task}, prompts(publication, "task_type = 'qa'")),
        ({"criterion": named["Отказ", 2]}, prompts(publication, "is_gate")),
        ({"result": "truncated"}, prompts(publication, "status = 'truncated'")),
        ({"result": "missing"}, prompts(publication, "status = 'missing'")),
        ({"result": "not_ok"}, prompts(publication, "status <> 'ok'")),
        ({"result": "gate"}, prompts(publication, "is_gate AND score = 1")),
        ({"score": "lowest"}, prompts(publication, "NOT is_gate AND normalized_score = 0")),
        ({"score": "low_half"}, prompts(publication, "NOT is_gate AND normalized_score < 0.5")),
        ({"score": "highest", "criterion": named["Точность", 2]}, ["p4"]),
        ({"suspicion": "suspected"}, ["p3"]),
        ({"text": "ЭТАЛОН"}, ["p1"]),
        ({"text": f"ответ {GAMMA} на p2"}, ["p2"]),
        ({"text": "nowhere"}, []),
        ({"judge": "1", "result": "not_ok"}, prompts(publication, "judge_id = ? AND status <> 'ok'", OTHER_JUDGE)),
        ({"judge": "0", "result": "truncated"}, prompts(publication, "judge_id = ? AND status = 'truncated'", JUDGE)),
    ]
    for filters, expected in cases:
        for field, value in filters.items():
            choose(tab, field, value)
        assert sorted(shown(tab)) == expected, filters
        assert tab.run("document.getElementById('found').textContent").startswith(f"{len(expected)} of 12 ")
        for field in filters:
            choose(tab, field, "")
    choose(tab, "suspicion", "unsuspected")
    assert tab.run("document.getElementById('found').textContent").startswith("12 of 12 ")
    reset(tab)
    assert tab.complaints == []


def test_answers_stand_side_by_side_with_the_words_of_every_judge(tab: Tab, report: Path) -> None:
    tab.open(report, width=1440, language="en")
    take_all(tab)
    choose(tab, "text", "эталон")
    assert tab.run("[...document.querySelectorAll('.answer h4')].map(e => e.firstChild.textContent).sort()") == sorted(
        [ALPHA, BETA, GAMMA]
    )
    words = tab.run("document.querySelector('.answer .verdicts').innerText")
    assert f"profile@{JUDGE}" in words
    assert f"profile@{OTHER_JUDGE}" in words
    assert "потому что" in words
    tab.run("document.querySelector('#chosen button').click()")
    assert tab.run("document.querySelectorAll('.answer').length") == 2
    lefts = tab.run("[...document.querySelectorAll('.answer')].map(e => e.getBoundingClientRect().left)")
    assert lefts[0] < lefts[1], "beside each other on a desk"
    reset(tab)
    choose(tab, "order", "difference")
    spread = tab.run(
        "[...document.querySelectorAll('.item')].map(item => [...item.querySelectorAll('h4 > span:last-child')]"
        ".map(e => parseFloat(e.textContent)).filter(n => !isNaN(n))).filter(n => n.length > 1)"
        ".map(n => Math.max(...n) - Math.min(...n))"
    )
    assert spread == sorted(spread, reverse=True)


def test_a_figure_leads_to_the_answers_behind_it(tab: Tab, report: Path) -> None:
    tab.open(report, width=1440, language="en")
    carried = Page(report).evidence
    beta, task = carried["models"].index(BETA), carried["tasks"].index("qa")
    tab.run(f'document.querySelector(\'a[data-model="{beta}"][data-task="{task}"][data-judge="1"]\').click()')
    state: Any = tab.run(
        "[...['judge', 'task'].map(name => document.getElementById('filters').elements[name].value), "
        "document.getElementById('chosen').textContent.replaceAll('×', '')]"
    )
    assert state == ["1", str(task), BETA]
    assert sorted(shown(tab)) == ["p1", "p2"]
    assert tab.run("document.activeElement.id") == "answers"
    tab.run("document.querySelector('.group a[data-criterion]').click()")
    assert tab.run("document.getElementById('filters').elements.criterion.value") != ""
    assert tab.run("document.getElementById('chosen').textContent.replaceAll('×', '')") == BETA, "it stays"
    tab.run(f"document.querySelector('a[data-other=\"{beta}\"]').click()")
    assert tab.run("document.getElementById('chosen').children.length") == 2


def test_the_answers_are_turned_page_by_page_with_the_keyboard(tab: Tab, report: Path) -> None:
    tab.open(report, width=390, language="en")
    first = shown(tab)
    assert len(first) == 5
    tab.run("document.getElementById('next').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    second = shown(tab)
    assert len(second) == 5
    assert not set(first) & set(second)


@pytest.mark.parametrize(("width", "language", "dark"), SCREENS)
def test_hostile_text_is_shown_and_does_nothing(tab: Tab, hostile: Path, width: int, language: str, dark: bool) -> None:
    target = hostile.with_name("report.html")
    write_report(hostile, target)
    tab.open(target, width=width, language=language, dark=dark)
    take_all(tab)
    choose(tab, "order", "as_is")
    carried = Page(target).evidence["instructions"]
    texts = tab.run("[...document.querySelectorAll('.answer > .text')].map(e => e.textContent)")
    assert len(texts) == sum(len(each["answers"]) for each in carried) == 12
    assert any("<script>alert(document.cookie)</script>" in text for text in texts)
    assert not any("\x1b" in text or "\u202e" in text for text in texts)
    assert (
        tab.run("document.querySelectorAll('main script, main img, main iframe, main a[href^=\"http\"]').length") == 0
    )
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.complaints == []
    assert {address for address in tab.requested if not address.startswith("file:")} == set()


def test_a_long_name_without_a_space_widens_no_page(tab: Tab, published: Path, tmp_path: Path) -> None:
    target = tmp_path / "pollux.duckdb"
    shutil.copyfile(published, target)
    with duckdb.connect(str(target)) as con:
        for table, column in con.execute(NAMED_BY_MODEL).fetchall():
            con.execute(f"UPDATE {table} SET {column} = repeat('я', 200) WHERE {column} = '{ALPHA}'")
        con.execute("UPDATE statistics.calibrated_quality SET n_labelled = 20")
    write_report(target, tmp_path / "report.html")
    for width in (1440, 390):
        tab.open(tmp_path / "report.html", width=width, language="en")
        take_all(tab)
        assert tab.run("document.documentElement.scrollWidth") <= width


NAMED_BY_MODEL = """
SELECT schema_name || '.' || table_name, column_name
FROM duckdb_columns() JOIN duckdb_tables() USING (database_name, schema_name, table_name)
WHERE column_name IN ('model_id', 'other_model_id')
"""
