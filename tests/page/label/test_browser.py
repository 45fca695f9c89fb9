"""Labelling as a person does it: a real home, the command, a browser, a kill, and the run that reads the scores."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollux_dagster.settings import Settings
from tests.fakes.instant_judge import InstantJudge
from tests.flow.flow_world import execute, flow_settings, land_instructions, land_model, published
from tests.page.chromium import PATIENCE_S, Tab, browser
from tests.pipeline_world import REFUSAL, REPETITION, write_jsonl
from tests.security.hostile import HOSTILE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SCREENS = [(1440, "ru-RU", False), (390, "en-GB", True)]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser") / "profile") as tab:
        yield tab


@pytest.fixture(scope="module")
def judge() -> Iterator[InstantJudge]:
    with InstantJudge() as judge:
        yield judge


@pytest.fixture(scope="module")
def settings(judge: InstantJudge, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two models that answered plainly, and one whose every answer is hostile."""
    made = flow_settings(tmp_path_factory.mktemp("labelled"), judge.url, POLLUX_MINIMUM_COVERAGE="0.5")
    land_instructions(made)
    land_model(made, "alpha")
    land_model(made, "beta")
    texts = [text[:5_000] for text in HOSTILE.values()]
    write_jsonl(made.landing / "hostile.jsonl", [
        {"prompt_id": f"h{place}", "instruction": text, "answer": text, "reference_answer": text, "model_id": "hostile",
         "task_type": "враждебное", "criteria": [REFUSAL, REPETITION]}
        for place, text in enumerate(texts)
    ])  # fmt: skip
    assert execute(made)
    return made


@contextmanager
def labelling(settings: Settings, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`pollux label`, killed at the end if it still runs; the process and the page's address."""
    command = [sys.executable, "-u", "-m", "pollux_dagster.cli", "label", "--no-open", *options]
    environment = {**os.environ, **settings.to_environment(), "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"Labelling page: (http\S+)", line):
                yield process, found[1]
                return
        raise AssertionError("".join(said))
    finally:
        process.kill()
        process.wait(30)


def show(tab: Tab, address: str, *, width: int = 1440, language: str = "en-GB", dark: bool = False) -> None:
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    tab.call("Emulation.setEmulatedMedia", features=scheme)
    tab.call("Emulation.setUserAgentOverride", userAgent="test", acceptLanguage=language)
    tab.call("Page.navigate", url="about:blank")
    tab._seen.clear()
    tab.call("Page.navigate", url=address)
    tab.until("document.documentElement && 'ready' in document.documentElement.dataset")


def text(tab: Tab, name: str) -> str:
    return str(tab.run(f"document.getElementById('{name}').textContent"))


def press(tab: Tab, key: str) -> None:
    code = f"Digit{key}" if key.isdigit() else f"Key{key.upper()}" if len(key) == 1 else key
    number = {"Enter": 13, "Escape": 27, "Tab": 9}.get(key) or ord(key.upper())
    words = "\r" if key == "Enter" else key if len(key) == 1 else ""
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=code, text=words, windowsVirtualKeyCode=number)


def score(tab: Tab, key: str) -> None:
    press(tab, key)
    tab.until("!document.getElementById('shown').hidden")


def go_on(tab: Tab) -> None:
    press(tab, "Enter")
    tab.until("document.getElementById('shown').offsetParent === null")


def here(tab: Tab) -> tuple[str, str, str]:
    return text(tab, "answer"), text(tab, "criterion"), text(tab, "done")


def test_scores_survive_a_kill_and_are_in_the_tables_after_the_next_run(
    tab: Tab, settings: Settings, tmp_path: Path
) -> None:
    with labelling(settings, "--annotator", "anna", "--answers", "8") as (process, address):
        show(tab, address)
        assert text(tab, "own-score") == text(tab, "judge-score") == ""
        score(tab, "0")
        assert text(tab, "judge-score").startswith("The judge gave")
        go_on(tab)
        press(tab, "c")
        tab.call("Input.insertText", text="неясно 1")  # a digit in a comment is no score
        press(tab, "Escape")
        score(tab, "1")
        press(tab, "u")
        tab.until("document.getElementById('shown').hidden")
        assert tab.run("document.getElementById('words').value") == "неясно 1"
        score(tab, "2")
        go_on(tab)
        press(tab, "s")
        press(tab, "4")
        tab.until("document.getElementById('done').textContent.includes('skipped')")
        before = here(tab)
        assert before[2].startswith("3 of ")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        press(tab, "0")
        tab.until("!document.getElementById('lost').hidden")
        assert here(tab) == before
    with labelling(settings, "--annotator", "anna") as (process, address):
        show(tab, address)
        assert here(tab) == before
        show(tab, address)  # a reload
        assert here(tab) == before
        score(tab, "0")
        with labelling(settings, "--annotator", "борис") as (_, other):
            show(tab, other)
            assert text(tab, "done").startswith("0 of ")
            score(tab, "0")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    assert execute(settings)
    rows = published(settings, "SELECT annotator, score, feedback FROM raw.human_scores ORDER BY annotator, row_number")
    assert rows == [("anna", 0.0, None), ("anna", 2.0, "неясно 1"), ("anna", 0.0, None), ("борис", 0.0, None)]
    assert published(settings, "SELECT * FROM raw.rejected_rows WHERE file_path LIKE 'labels/%'") == []
    agreed = published(settings, "SELECT sum(n) FROM marts.judge_agreement WHERE metric = 'exact_agreement'")
    assert agreed[0][0] > 0


@pytest.mark.parametrize(("width", "language", "dark"), SCREENS)
def test_it_fits_the_screen_in_both_languages_and_axe_finds_nothing_serious(
    tab: Tab, settings: Settings, tmp_path: Path, width: int, language: str, dark: bool
) -> None:
    found = importlib.util.find_spec("axe_core_python")
    with labelling(settings, "--annotator", f"screen-{width}") as (_, address):
        show(tab, address, width=width, language=language, dark=dark)
        assert tab.run("document.documentElement.lang") == language[:2]
        for moment in ("asked", "skipping", "shown"):
            if moment == "skipping":
                press(tab, "s")
            if moment == "shown":
                press(tab, "Escape")
                score(tab, "1")
            for spoken in ("en", "ru"):
                tab.run(f"document.querySelector('[data-set-language={spoken}]').click()")
                assert tab.run("document.documentElement.scrollWidth") <= width
            tab.picture(tmp_path / f"{moment}.png")
            assert (tmp_path / f"{moment}.png").stat().st_size > 10_000
            if found is not None and found.origin is not None:
                # By the debugger: the page's policy lets no script run that is not its own.
                tab.run(Path(found.origin).with_name("axe.min.js").read_text() + "; 0")
                violations = tab.run(
                    "axe.run(document).then(found => found.violations.map(v => [v.impact, v.id, v.nodes[0].html]))"
                )
                assert [each for each in violations if each[0] in ("serious", "critical")] == [], moment
        assert tab.complaints == []
        assert all(asked.startswith(address.partition("?")[0]) for asked in tab.requested)


def test_hostile_texts_are_shown_and_do_nothing(tab: Tab, settings: Settings) -> None:
    options = ("--annotator", "hostile", "--design", "uniform", "--answers", "1000", "--overlap", "1")
    seen: list[str] = []
    with labelling(settings, *options) as (_, address):
        show(tab, address, width=390)
        while not tab.run("document.getElementById('work').hidden") and len(seen) < 100:
            seen.append(text(tab, "answer"))
            assert tab.run("document.documentElement.scrollWidth") <= 390
            assert tab.run("document.querySelectorAll('main script, main img, main iframe, main a').length") == 0
            score(tab, "1")  # the gate: on to the next answer
            go_on(tab)
        assert tab.complaints == []
        assert all(asked.startswith(address.partition("?")[0]) for asked in tab.requested)
        assert text(tab, "finished").strip() != ""
    assert len(seen) >= len(HOSTILE), "the hostile answers are all among them"
    assert any("<script>alert(document.cookie)</script>" in each for each in seen)
    assert not any("\x1b" in each or "\u202e" in each for each in seen)


def test_everything_can_be_reached_by_tab(tab: Tab, settings: Settings) -> None:
    with labelling(settings, "--annotator", "keys") as (_, address):
        show(tab, address)
        reached = set()
        for _ in range(16):
            press(tab, "Tab")
            time.sleep(0.02)
            reached.add(tab.run("document.activeElement.id || document.activeElement.dataset.score || ''"))
        assert {"0", "1", "words", "skip"} <= reached
