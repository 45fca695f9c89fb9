"""One run over hostile answers, judged by an attached server over real HTTP: what it leaves behind, looked through.

The judge is the tests' fake peer. Its key is known, so that every byte a run leaves can be searched for it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from pollux_dagster.definitions import build_defs
from pollux_dagster.explain.printed import print_walk
from pollux_dagster.explain.selection import publication
from pollux_dagster.explain.verdict import explain_verdict
from pollux_dagster.explain.walk import Wanted, as_json, walk_back
from pollux_dagster.judge.server import AttachError, attached_server
from pollux_dagster.publication_access import open_publication
from pollux_dagster.report import print_report
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.runs.terminal import with_plain_lines
from pollux_dagster.settings import Settings
from tests.fakes.fake_judge import KEY, FakeJudge, replying
from tests.security.hostile import GATE, HOSTILE, SCALE, acts, write_jsonl

pytestmark = pytest.mark.timeout(300)
ANSWERS = {name: text for name, text in HOSTILE.items() if name != "huge line"} | {"long": "я " * 2_000}


@dataclass(frozen=True)
class Ran:
    """A finished run: where it wrote, what it logged, what the judge was sent."""

    settings: Settings
    succeeded: bool
    log: str
    prompts: tuple[str, ...]


def world(folder: Path, url: str) -> Settings:
    (folder / "landing").mkdir(parents=True)
    return Settings.from_environment(
        {
            "POLLUX_HOME": str(folder / "home"),
            "POLLUX_LANDING": str(folder / "landing"),
            "POLLUX_JUDGE_URL": url,
            "POLLUX_JUDGE_SERVED_MODEL": "judge",
            "POLLUX_MINIMUM_COVERAGE": "0.5",
        }
    )


def land(settings: Settings) -> None:
    """Every hostile text as an answer of one model, and once as the name of a model with an ordinary answer."""
    write_jsonl(
        settings.landing / "instructions.jsonl",
        [
            {"prompt_id": f"{name} ../{text[:80]}", "instruction": f"Вопрос {name}", "criteria": [GATE, SCALE]}
            for name, text in ANSWERS.items()
        ],
    )
    prompts = {name: f"{name} ../{text[:80]}" for name, text in ANSWERS.items()}
    write_jsonl(
        settings.landing / "answers.jsonl",
        [{"prompt_id": prompts[name], "model_id": "hostile", "answer": text} for name, text in ANSWERS.items()]
        + [
            {"prompt_id": prompts["html"], "model_id": text[:300], "answer": "Обычный ответ."}
            for text in ANSWERS.values()
        ],
    )  # fmt: skip


def run(settings: Settings) -> tuple[bool, str]:
    """Both jobs in this process, and what the console logger printed."""
    lines = io.StringIO()
    logger = logging.getLogger("pollux_dagster.run")
    kept, logger.handlers = logger.handlers, []
    defs = build_defs(settings)
    try:
        with open_instance(settings.dagster_home) as instance:
            plain = with_plain_lines({})
            ingest = defs.resolve_job_def("ingest")
            assert ingest.execute_in_process(instance=instance, run_config=plain, raise_on_error=False).success
            for handler in logger.handlers:
                assert isinstance(handler, logging.StreamHandler)
                handler.setStream(lines)
            job = defs.resolve_job_def("evaluate")
            done = job.execute_in_process(instance=instance, run_config=plain, raise_on_error=False)
    finally:
        logger.handlers = kept
    return done.success, lines.getvalue()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    umask = os.umask(0o022)  # the usual one: privacy must not depend on the user's
    with pytest.MonkeyPatch.context() as patch, FakeJudge(otherwise=replying(content="\n\n0")) as judge:
        patch.setenv("POLLUX_JUDGE_API_KEY", KEY)
        settings = world(tmp_path_factory.mktemp("hostile"), judge.url)
        land(settings)
        succeeded, log = run(settings)
        yield Ran(settings, succeeded, log, tuple(call.prompt for call in judge.calls))
    os.umask(umask)


def stored(ran: Ran, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(ran.settings.published), read_only=True) as con:
        return con.execute(query).fetchall()


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def holding(folder: Path, secret: str) -> list[str]:
    """The files that contain `secret`, and the tables too: DuckDB and Parquet compress what they store."""
    found = [str(path.relative_to(folder)) for path in files_under(folder) if secret.encode() in path.read_bytes()]
    for path in files_under(folder):
        if path.suffix == ".duckdb":
            with duckdb.connect(str(path)) as con:
                tables = con.execute("SELECT table_schema, table_name FROM information_schema.tables").fetchall()
                for schema, table in tables:
                    rows = con.execute(f'SELECT to_json(t)::VARCHAR FROM "{schema}"."{table}" AS t').fetchall()
                    found += [f"{path.name}:{schema}.{table}" for (row,) in rows if secret in row]
        if path.suffix == ".parquet":
            with duckdb.connect() as con:
                rows = con.execute("SELECT to_json(t)::VARCHAR FROM read_parquet(?) AS t", [str(path)]).fetchall()
                found += [path.name for (row,) in rows if secret in row]
    return found


def test_hostile_answers_are_judged_stored_and_published_byte_for_byte(ran: Ran) -> None:
    assert ran.succeeded
    answers = stored(ran, "SELECT answer FROM raw.model_outputs WHERE model_id = 'hostile'")
    assert {answer for (answer,) in answers} == set(ANSWERS.values())
    for answer in ANSWERS.values():
        assert sum(f"### Ответ для оценки:\n{answer}\n\n### Критерий" in prompt for prompt in ran.prompts) >= 2
    models = {model for (model,) in stored(ran, "SELECT model_id FROM marts.model_quality")}
    assert models == {"hostile"} | {text[:300] for text in ANSWERS.values()}
    assert stored(ran, "SELECT count(*) FROM staging.scores WHERE status <> 'ok'") == [(0,)]


def test_an_answer_that_addresses_the_judge_is_flagged_and_counted(ran: Ran) -> None:
    flagged = stored(ran, "SELECT answer, injection_reasons FROM raw.model_outputs WHERE injection_suspected")
    assert flagged == [(ANSWERS["injection"], ["asks_for_score", "prompt_heading"])]
    ((passed, rows, sample),) = stored(
        ran,
        "SELECT passed, failing_rows, sample FROM meta.check_results "
        "WHERE check_name = 'answers_do_not_address_the_judge'",
    )
    assert (passed, rows) == (False, 1)
    (row,) = json.loads(str(sample))
    assert row["model_id"] == "hostile"
    assert row["reasons"] == "asks_for_score, prompt_heading"
    effect = stored(ran, "SELECT n_flagged, n_unflagged FROM marts.injection_effect WHERE model_id = 'hostile'")
    assert effect == [(1, len(ANSWERS) - 1)]


def test_nothing_the_run_printed_can_move_the_cursor_or_pass_for_another_line(ran: Ran) -> None:
    assert "published" in ran.log
    for line in ran.log.splitlines():
        assert not acts(line)
        assert line[:8].count(":") == 2 or line.startswith(" " * 10), line
    out = io.StringIO()
    print_report(ran.settings.published, Console(file=out, width=200))
    assert not acts(out.getvalue())


def test_every_prompt_that_was_sent_is_made_again_and_shown_harmlessly(ran: Ran) -> None:
    home, sent = ran.settings.home, set(ran.prompts)
    keys = stored(ran, "SELECT verdict_key FROM staging.scores WHERE model_id = 'hostile' AND NOT is_gate")
    with open_publication(ran.settings.published) as con:
        made = publication(con)
        for (key,) in keys:
            found = explain_verdict(con, str(key), home)
            assert (found.key.is_equal, found.key.differences, found.prompt.problem) == (True, [], "")
            assert found.prompt.user in sent
            out = io.StringIO()
            print_walk(Console(file=out, width=200), found, made, home)
            assert not acts(out.getvalue() + (document := as_json(found, made)))
            assert json.loads(document)["verdict"]["texts"] == found.texts
        for wanted in (Wanted("hostile"), Wanted(ANSWERS["ansi clear"])):
            out = io.StringIO()
            print_walk(Console(file=out, width=200), walk_back(con, wanted, home, "demo"), made, home)
            assert not acts(out.getvalue())


def test_no_name_of_a_stranger_became_a_path(ran: Ran) -> None:
    home = ran.settings.home
    for path in home.rglob("*"):
        name = path.relative_to(home).as_posix()
        assert name.isascii() and name.isprintable(), name
        assert len(name) < 200
    assert sorted(path.name for path in home.parent.iterdir()) == ["home", "landing"]


def test_everything_under_a_home_is_private_to_its_owner(ran: Ran) -> None:
    open_to_others = [
        f"{stat.S_IMODE(path.stat().st_mode):o} {path.relative_to(ran.settings.home)}"
        for path in [ran.settings.home, *ran.settings.home.rglob("*")]
        if stat.S_IMODE(path.lstat().st_mode) & 0o077 and not path.is_symlink()
    ]
    assert open_to_others == []


def test_the_key_is_in_nothing_that_the_run_left_behind(ran: Ran) -> None:
    assert len(ran.prompts) >= len(ANSWERS) * 2, "the judge took the key, so it was sent"
    assert holding(ran.settings.home, KEY) == []
    assert KEY not in ran.log
    assert KEY not in repr(ran.settings)
    out = io.StringIO()
    print_report(ran.settings.published, Console(file=out, width=400))
    assert KEY not in out.getvalue()


@pytest.mark.slow
def test_a_refused_key_is_not_in_the_error_about_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "sk-wrong-and-never-to-be-seen"
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", wrong)
    with FakeJudge() as judge:
        settings = world(tmp_path, judge.url)
        write_jsonl(
            settings.landing / "instructions.jsonl",
            [{"prompt_id": 1, "instruction": "Вопрос", "criteria": [SCALE]}],
        )
        write_jsonl(settings.landing / "m.jsonl", [{"prompt_id": 1, "answer": "ответ"}])
        succeeded, log = run(settings)
        assert judge.calls == [], "the fake answers 401, quoting the key, before it counts a call"
    assert not succeeded
    assert wrong not in log
    assert holding(settings.home, wrong) == []


@pytest.mark.slow
def test_an_address_with_a_password_is_refused_without_being_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", KEY)
    with FakeJudge() as judge:
        plain = world(tmp_path, judge.url)
        settings = replace(plain, judge_url=judge.url.replace("127.0.0.1", "user:hunter2-secret@127.0.0.1"))
        write_jsonl(
            settings.landing / "instructions.jsonl",
            [{"prompt_id": 1, "instruction": "Вопрос", "criteria": [SCALE]}],
        )
        write_jsonl(settings.landing / "m.jsonl", [{"prompt_id": 1, "answer": "ответ"}])
        succeeded, log = run(settings)
        assert judge.paths == []
    assert not succeeded
    assert "password" in log
    assert "hunter2" not in log
    assert holding(settings.home, "hunter2") == []


def test_a_key_that_no_header_can_carry_is_refused_without_being_repeated() -> None:
    with FakeJudge() as judge:
        for key in ("sk-secret\n", "sk-secret\r\nX-Evil: 1", "sk secret", "sk-ключ"):
            with pytest.raises(AttachError) as error, attached_server(judge.url, key):
                pass
            assert "secret" not in str(error.value)
            assert "ключ" not in str(error.value)
        assert judge.paths == []
