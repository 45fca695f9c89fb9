"""Numbers walked back: every step adds up to the published number, and what does not belong together is said."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pollux_dagster.cli import app
from pollux_dagster.core.profile_files import packaged_profile, read_profile
from pollux_dagster.core.prompts import prompt_hash, render
from pollux_dagster.core.verdicts import verdict_key as key_of
from pollux_dagster.explain.answer import ExplainedAnswer
from pollux_dagster.explain.comparison import compare_models
from pollux_dagster.explain.mean import ExplainedMean, explain_mean
from pollux_dagster.explain.printed import print_walk
from pollux_dagster.explain.selection import (
    Row,
    SelectionError,
    chosen_criterion,
    chosen_judges,
    publication,
    rows,
)
from pollux_dagster.explain.verdict import explain_verdict
from pollux_dagster.explain.walk import Walked, Wanted, compare, walk_back
from pollux_dagster.ingest.resolve import _PROMPT_HASH
from pollux_dagster.publication_access import open_publication
from tests.security.hostile import HOSTILE
from tests.warehouse.tiny_world import (
    ALPHA,
    BETA,
    CRITERIA,
    GAMMA,
    JUDGE,
    MODELS,
    OTHER_JUDGE,
    PROMPTS,
    TRIPPED,
    answer_text,
    criterion_id,
    planned,
    verdict_key,
)

SHARED = verdict_key(JUDGE, ALPHA, "p2", "accuracy")  # alpha and beta answered p2 with the same words


@pytest.fixture
def con(published: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_publication(published) as reader:
        yield reader


@pytest.fixture
def changed(published: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A home whose publication somebody has changed by a statement of SQL."""

    def change(sql: str) -> Path:
        target = tmp_path / "published" / "pollux.duckdb"
        target.parent.mkdir()
        shutil.copyfile(published, target)
        with duckdb.connect(str(target)) as writer:
            writer.execute(sql)
        return tmp_path

    return change


def test_an_answer_has_what_people_gave_it_beside_the_judges_scores(changed: Callable[[str], Path]) -> None:
    home = changed(
        "INSERT INTO raw.human_scores (prompt_id, model_id, sample_index, criteria_name, annotator, score, feedback, "
        "file_path, row_number) SELECT 'p2', 'alpha', 0, 'Стиль', a, s, NULL, 'h.jsonl', 1 "
        "FROM (VALUES ('anna', 4), ('oleg', 5)) given(a, s)"
    )
    wanted = ["explain", ALPHA, "--prompt-id", "p2", "--home", str(home), "--judge", OTHER_JUDGE]
    told = " ".join(CliRunner().invoke(app, wanted).output.split())
    assert "Стиль 5 4, 5 1 to 5 1.000" in told
    found = json.loads(CliRunner().invoke(app, [*wanted, "--json"]).output)
    (judged,) = found["answer"]["judged"]
    given = {row["criteria_name"]: [(p["annotator"], p["score"]) for p in row["people"]] for row in judged["requests"]}
    assert given == {"Отказ": [], "Точность": [], "Стиль": [("anna", 4.0), ("oleg", 5.0)]}


@contextmanager
def reading(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_publication(home / "published" / "pollux.duckdb") as reader:
        yield reader


def one(con: duckdb.DuckDBPyConnection, sql: str, **values: str) -> Row:
    (row,) = rows(con, sql, **values)
    return row


def mean_of(
    con: duckdb.DuckDBPyConnection, model: str, task: str | None = None, code: str | None = None
) -> ExplainedMean:
    (judge,) = chosen_judges(con, JUDGE)
    criterion = chosen_criterion(con, model, criterion_id(code) if code else None)
    found = explain_mean(con, judge, model, task, criterion, 5)
    assert found is not None
    return found


def printed(con: duckdb.DuckDBPyConnection, walked: Walked, home: Path) -> str:
    out = io.StringIO()
    print_walk(Console(file=out, width=120), walked, publication(con), home)
    return out.getvalue()


@pytest.mark.parametrize("model", MODELS)
def test_what_takes_points_off_adds_up_to_the_published_mean(con: duckdb.DuckDBPyConnection, model: str) -> None:
    found = mean_of(con, model)
    quality = one(con, "FROM marts.model_quality WHERE judge_id = $j AND model_id = $m", j=JUDGE, m=model)
    assert found.published is not None
    assert found.recomputed["agrees"]
    assert (found.published["mean_score"], found.published["n"]) == (quality["mean_score"], quality["n"])
    assert sum(row["off_the_mean"] for row in found.losses) == pytest.approx(1 - quality["mean_score"])
    assert sum(row["n"] for row in found.losses) == quality["n"]
    assert sum(row["n"] for row in found.unscored) == quality["n_requests"] - quality["n"]
    (gate,) = found.gates
    assert gate["n_tripped"] == sum(planned(JUDGE, model, prompt, "gate")[1] == 1.0 for prompt in ("p1", "p2", "p3"))


@pytest.mark.parametrize("model", MODELS)
def test_the_worst_answers_are_those_of_the_mart(con: duckdb.DuckDBPyConnection, model: str) -> None:
    query = "FROM marts.worst_answers WHERE judge_id = $j AND model_id = $m ORDER BY place LIMIT 5"
    names = ("prompt_id", "answer_score", "worst_criterion", "worst_score", "verdict_key", "answer_excerpt")
    expected = [[row[name] for name in names] for row in rows(con, query, j=JUDGE, m=model)]
    assert [[row[name] for name in names] for row in mean_of(con, model).worst] == expected
    assert expected


def test_a_part_of_a_model_has_the_mean_of_its_mart(con: duckdb.DuckDBPyConnection) -> None:
    of_task = mean_of(con, BETA, task="qa")
    mart = "FROM marts.task_quality WHERE judge_id = $j AND model_id = 'beta' AND task_type = 'qa'"
    expected = one(con, mart, j=JUDGE)
    assert (of_task.source, of_task.published) == ("marts.task_quality", expected)
    assert {row["task_type"] for row in of_task.losses} == {"qa"}
    of_criterion = mean_of(con, BETA, code="accuracy")
    assert of_criterion.source == "marts.criterion_quality"
    assert of_criterion.recomputed["agrees"]
    of_both = mean_of(con, BETA, task="qa", code="accuracy")
    scores = [planned(JUDGE, BETA, prompt, "accuracy")[1] for prompt in ("p2",)]  # the gate of p1 is undecided
    assert of_both.published is None
    assert of_both.recomputed["mean_score"] == pytest.approx(sum(score or 0 for score in scores) / 2 / len(scores))
    assert [row["reason"] for row in of_both.unscored] == ["gate unknown"]


def test_a_gate_is_walked_back_to_the_answers_that_tripped_it(con: duckdb.DuckDBPyConnection) -> None:
    found = mean_of(con, ALPHA, code="gate")
    assert found.recomputed["mean_score"] is None
    assert found.recomputed["agrees"]
    assert {(ALPHA, row["prompt_id"]) for row in found.worst} == {each for each in TRIPPED if each[0] == ALPHA}


def test_a_mean_that_its_scores_do_not_give_is_said_to_be_wrong(changed: Callable[[str], Path]) -> None:
    home = changed("UPDATE marts.model_quality SET mean_score = 0.99 WHERE model_id = 'beta'")
    with reading(home) as con:
        found = mean_of(con, BETA)
        text = printed(con, [found], home)
    assert not found.recomputed["agrees"]
    assert "NOT EQUAL to what staging.scores gives" in text
    assert "computed again: equal" not in text


def test_a_publication_that_could_not_be_renewed_is_said_to_be_old(changed: Callable[[str], Path]) -> None:
    home = changed("INSERT INTO meta.staleness VALUES (now(), now(), 'r', 'the judge drifted')")
    with reading(home) as con:
        assert "NOT CURRENT: published 20" in (text := printed(con, [mean_of(con, BETA)], home))
    assert "the judge drifted" in text


def test_a_verdict_has_its_reply_its_texts_and_the_way_to_its_file(con: duckdb.DuckDBPyConnection) -> None:
    found = explain_verdict(con, SHARED[:12])
    assert found.verdict == one(con, "FROM judging.verdicts WHERE verdict_key = $k", k=SHARED)
    assert (found.key.recomputed, found.key.is_equal, found.contradictions) == (SHARED, True, [])
    assert [(row["model_id"], row["file_path"], row["row_number"]) for row in found.requests] == [
        (ALPHA, "answers/alpha.jsonl", 2),
        (BETA, "answers/beta.jsonl", 2),
    ]
    name, rubrics, *_ = CRITERIA["accuracy"]
    texts = {"instruction": "вопрос p2", "reference_answer": None, "answer": answer_text(ALPHA, "p2")}
    assert found.texts == {**texts, "criteria_name": name, "rubrics": rubrics}


def test_the_keys_of_published_requests_are_computed_again_and_equal(con: duckdb.DuckDBPyConnection) -> None:
    keys = [
        row["verdict_key"]
        for row in rows(con, "SELECT DISTINCT verdict_key FROM staging.scores ORDER BY verdict_key LIMIT 20")
    ]
    assert all(explain_verdict(con, key).key.is_equal for key in keys)


@pytest.mark.parametrize(
    ("tampered", "said"),
    [
        (
            "UPDATE raw.model_outputs SET answer = answer || '!' WHERE model_id = 'beta'",
            "beta, p2: the published answer",
        ),
        ("UPDATE raw.instructions SET instruction = 'другой'", "alpha, p2: the published instruction"),
        ("UPDATE raw.instructions SET reference_answer = 'x'", "alpha, p2: the published reference_answer"),
        ("UPDATE raw.criteria SET rubrics = '0: нет'", "alpha, p2: the published rubrics"),
        ("UPDATE staging.scores SET repeat_index = 1", "alpha, p2: each text has its recorded hash"),
    ],
)
def test_a_text_that_was_changed_gives_another_key_and_is_named(
    changed: Callable[[str], Path], tampered: str, said: str
) -> None:
    home = changed(tampered)
    with reading(home) as con:
        found = explain_verdict(con, SHARED, home)
        text = printed(con, found, home)
    assert not found.key.is_equal
    assert found.key.recomputed != SHARED
    assert said in found.key.differences[0]
    assert "Key: NOT EQUAL" in text
    assert said in text


def test_a_score_that_is_not_the_verdicts_is_said(changed: Callable[[str], Path]) -> None:
    home = changed("UPDATE staging.scores SET score = 7 WHERE model_id = 'beta'")
    with reading(home) as con:
        found = explain_verdict(con, SHARED, home)
        assert "NOT EQUAL: beta, p2: staging.scores has ('ok', 7.0)" in printed(con, found, home)


def test_a_request_without_a_verdict_and_a_file_without_a_record_are_said(con: duckdb.DuckDBPyConnection) -> None:
    found = explain_verdict(con, verdict_key(JUDGE, GAMMA, "p4", "style"))
    text = printed(con, found, Path("home"))
    assert found.verdict is None
    assert "no score, status missing; it is in no mean" in text
    assert "Reply: none." in text
    assert "the publication has no record of this file" in text
    assert "does not say which template" in text
    assert "answer:\n> ответ модель" in text


def test_a_prompt_is_made_again_with_the_template_of_the_judges_identity(changed: Callable[[str], Path]) -> None:
    profile = packaged_profile("demo")
    identity = {"template_hash": profile.template.template_hash, "decoding_constraint": '{"system_message": "Судите."}'}
    home = changed(f"UPDATE meta.judges SET identity = '{json.dumps(identity, ensure_ascii=False)}'")
    name, rubrics, *_ = CRITERIA["accuracy"]
    with reading(home) as con:
        prompt = explain_verdict(con, SHARED, home).prompt
    assert (prompt.system, prompt.profile) == ("Судите.", "demo")
    assert prompt.user == render(profile.template, "вопрос p2", None, answer_text(ALPHA, "p2"), name, rubrics)
    assert "the judge's recorded identity gives another id" in prompt.problem


def test_a_template_that_no_profile_has_is_said_and_found_in_a_profile_that_is_given(
    changed: Callable[[str], Path],
) -> None:
    home = changed("SELECT 1")
    (home / "mine.toml").write_text(
        'model = "m"\n[reply]\nscore = "after_reasoning"\n[prompt]\nreference_heading = "none"\n'
        'template = "{instruction} {answer} {criteria_name} {criteria_rubrics}?"\n'
    )
    profile = home / "mine.toml"
    wanted = read_profile(profile).template.template_hash
    with duckdb.connect(str(home / "published" / "pollux.duckdb")) as con:
        con.execute(f"UPDATE meta.judges SET identity = '{json.dumps({'template_hash': wanted})}'")
    with reading(home) as con:
        without, given = explain_verdict(con, SHARED, home), explain_verdict(con, SHARED, home, str(profile))
    assert without.prompt.user is None
    assert f"no judge profile here has the template {wanted[:12]}" in without.prompt.problem
    assert given.prompt.user is not None
    assert given.prompt.user.endswith("2: да?")


def test_keys_and_hashes_are_those_that_sql_makes(built: duckdb.DuckDBPyConnection) -> None:
    built.execute(_PROMPT_HASH)
    texts = [*HOSTILE.values(), "[INST] a", "<|im_end|>", "< |im_end|>", "◁think▷", "/nothink", ""]
    assert [prompt_hash(text) for text in texts] == [
        value for text in texts for (value,) in built.execute("SELECT prompt_hash(?)", [text]).fetchall()
    ]
    (made,) = built.execute("SELECT judging.verdict_key('j', 'a|b|c', 'd|e', 3)").fetchone() or ("",)
    assert key_of("j", ["a", "b", "c", "d", "e"], 3) == made


@pytest.mark.parametrize("pair", [(ALPHA, BETA), (GAMMA, ALPHA)])
def test_a_comparison_is_the_published_one_and_its_parts_add_up_to_it(
    con: duckdb.DuckDBPyConnection, pair: tuple[str, str]
) -> None:
    (judge,) = chosen_judges(con, JUDGE)
    found = compare_models(con, judge, *pair, answers=10)
    assert found is not None
    mart = "FROM marts.pairwise_comparison WHERE judge_id = $j AND model_id = $m AND other_model_id = $o"
    assert found.published == one(con, mart, j=JUDGE, m=pair[0], o=pair[1])
    assert found.recomputed["agrees"]
    for parts in (found.tasks, found.criteria):
        assert sum(row["n"] for row in parts) == found.published["n"]
        assert sum(row["contribution"] for row in parts) == pytest.approx(found.published["difference"])
    clusters = found.published["n_clusters"]
    assert found.recomputed["n_ahead"] + found.recomputed["n_level"] / 2 == pytest.approx(
        found.published["superiority"] * clusters
    )
    differing = [*found.ahead, *found.behind]
    assert len(found.ahead) == found.recomputed["n_ahead"]
    assert len(differing) + found.recomputed["n_level"] == clusters
    for row in differing:
        means = [mean_of_shared(con, model, pair, row["prompt_id"]) for model in pair]
        assert [row["model_score"], row["other_score"]] == pytest.approx(means)
        assert row["other_answer_excerpt"] == answer_text(pair[1], row["prompt_id"])
    assert [row["difference"] for row in found.ahead] == sorted((r["difference"] for r in found.ahead), reverse=True)


def mean_of_shared(con: duckdb.DuckDBPyConnection, model: str, pair: tuple[str, str], prompt: str) -> float:
    """The mean of one model's scores on an instruction, on the criteria on which both have one."""
    scores = {
        (row["model_id"], row["criterion_id"]): row["final_score"]
        for row in rows(con, "FROM staging.scores WHERE judge_id = $j AND prompt_id = $p", j=JUDGE, p=prompt)
        if row["final_score"] is not None
    }
    shared = [code for (name, code) in scores if name == pair[0] and (pair[1], code) in scores]
    return float(sum(scores[model, code] for code in shared) / len(shared))


def test_a_published_difference_that_the_scores_do_not_give_is_said(changed: Callable[[str], Path]) -> None:
    home = changed("UPDATE statistics.pairwise_comparison SET difference = 0.5, adjusted_p_value = 0.01")
    with reading(home) as con:
        text = printed(con, compare(con, ALPHA, BETA, JUDGE, 1), home)
    assert "alpha - beta: 0.500" in text
    assert "NOT EQUAL to what staging.scores gives" in text


def invoke(published: Path, *words: str) -> Any:
    return CliRunner().invoke(app, [*words, "--home", str(published.parent.parent)])


def test_every_judge_has_a_section_of_its_own(published: Path) -> None:
    both = invoke(published, "compare", ALPHA, GAMMA)
    assert both.exit_code == 0, both.output
    demonstration, other = both.output.split(f"Judged by profile@{OTHER_JUDGE}")
    assert f"DEMONSTRATION: judged by profile@{JUDGE}" in demonstration
    for part in (demonstration, other):
        assert part.count("adjusted p") == 1
    alone = invoke(published, "explain", ALPHA, "--judge", OTHER_JUDGE)
    assert (alone.exit_code, JUDGE in alone.output) == (0, False)


def test_the_walk_goes_on_from_step_to_step_by_the_commands_it_prints(published: Path) -> None:
    mean = json.loads(invoke(published, "explain", GAMMA, "--judge", JUDGE, "--json").output)
    assert mean["publication"]["run_id"] == "run-1"
    (section,) = mean["means"]
    worst = section["worst"][0]
    said = invoke(published, "explain", GAMMA, "--prompt-id", worst["prompt_id"]).output
    assert worst["verdict_key"][:12] in said
    assert answer_text(GAMMA, worst["prompt_id"]) in said
    verdict = json.loads(invoke(published, "explain", worst["verdict_key"][:12], "--json").output)["verdict"]
    assert verdict["key"] == {"recomputed": worst["verdict_key"], "is_equal": True, "differences": []}
    text = invoke(published, "explain", worst["verdict_key"][:12]).output
    assert "Key: computed again from the published texts, equal." in text
    assert "raw reply:\n> текст" in text


def test_showing_and_explaining_wait_for_no_library_of_data_frames_and_for_nothing_of_dagster(published: Path) -> None:
    code = (
        "import sys; from pollux_dagster.cli import app\n"
        f"for words in {[['show'], ['explain', ALPHA], ['explain', SHARED], ['compare', ALPHA, BETA]]!r}:\n"
        f"    app([*words, '--home', {str(published.parent.parent)!r}], standalone_mode=False)\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pandas", "polars", "pyarrow", "scipy", "dagster"}.isdisjoint(ran.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain", "alfa"], "the publication has no model 'alfa'; did you mean 'alpha'?"),
        (["explain", ALPHA, "--judge", "pollux"], "no judge 'pollux'"),
        (["explain", ALPHA, "--task", "sumary"], "did you mean 'summary'?"),
        (["explain", ALPHA, "--criterion", "Точность"], "2 criteria are called 'Точность', with different rubrics"),
        (
            ["explain", ALPHA, "--prompt-id", "p9"],
            "to the instruction 'p9'; the nearest of its instructions: 'p1', 'p2', 'p3'",
        ),
        (["explain", ALPHA, "--prompt-id", "p1", "--task", "qa"], "give it alone"),
        (["explain", "0123456789abcdef"], "no published request has a verdict key that begins with 0123456789abcdef"),
        (["explain", SHARED, "--task", "qa"], "is no model of the publication"),
        (["explain", SHARED, "--judge", OTHER_JUDGE], f"the verdict is one of profile@{JUDGE}, not of {OTHER_JUDGE}"),
        (["compare", ALPHA, ALPHA], "expected two models to compare"),
        (["compare", ALPHA, "bета"], "no model 'bета'"),
    ],
)
def test_what_is_not_there_is_one_sentence_with_what_comes_near(published: Path, words: list[str], said: str) -> None:
    result = invoke(published, *words)
    assert result.exit_code == 1
    assert said in result.output
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1


def test_a_home_without_a_publication_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["compare", ALPHA, BETA, "--home", str(tmp_path)])
    assert (result.exit_code, "expected a publication at" in result.output) == (1, True)


def test_a_model_that_was_left_out_is_said_with_the_reason(changed: Callable[[str], Path]) -> None:
    home = changed(f"INSERT INTO judging.admission VALUES ('{JUDGE}', 'delta', 5, 0, 0, FALSE, 'no usable verdict')")
    with reading(home) as con, pytest.raises(SelectionError, match="delta is left out of every table: no usable"):
        walk_back(con, Wanted("delta"), home, "demo")


def test_an_answer_is_shown_with_every_judges_verdicts_apart(con: duckdb.DuckDBPyConnection) -> None:
    found = walk_back(con, Wanted(ALPHA, prompt_id="p1"), Path("home"), "demo")
    assert isinstance(found, ExplainedAnswer)
    for judged in found.judged:
        statuses = {row["criteria_name"]: (row["status"], row["score"]) for row in judged.requests}
        judge = judged.judge.judge_id
        assert statuses == {CRITERIA[c][0]: planned(judge, ALPHA, "p1", c) for c in ("accuracy", "style", "gate")}
        assert judged.requests[0]["is_gate"]
    assert len(found.judged) == 2
    assert PROMPTS["p1"] == found.instruction["task_type"]


@pytest.mark.parametrize(
    ("mart", "options"),
    [
        ("marts.task_quality", {"task": ""}),
        ("marts.criterion_quality", {"criterion": criterion_id("style")}),
    ],
)
def test_a_row_that_a_mart_has_lost_is_missed(
    changed: Callable[[str], Path], con: duckdb.DuckDBPyConnection, mart: str, options: dict[str, str]
) -> None:
    if "task" in options:
        first = rows(con, "SELECT task_type FROM marts.task_quality WHERE grain = 'model_task'")[0]
        options = {"task": first["task_type"]}
    home = changed(f"DELETE FROM {mart} WHERE model_id = '{ALPHA}'")
    with reading(home) as lossy:
        wanted = Wanted(ALPHA, JUDGE, options.get("task"), options.get("criterion"))
        walked = walk_back(lossy, wanted, home, "pollux-4b")
        said = " ".join(printed(lossy, walked, home).split())
    assert f"MISSING: {mart} has no row of it, though staging.scores has" in said
    assert "do not use this publication" in said
    assert f"; {mart}" not in said
    assert isinstance(walked, list) and not walked[0].recomputed["agrees"]


def test_a_pair_that_the_comparison_has_lost_is_missed(changed: Callable[[str], Path]) -> None:
    with (
        reading(changed("DELETE FROM statistics.pairwise_comparison")) as lossy,
        pytest.raises(SelectionError, match=r"marts\.pairwise_comparison has no row of .* scored both"),
    ):
        compare(lossy, ALPHA, BETA, None, 5)


def test_a_key_is_named_by_any_digits_that_only_it_begins_with(con: duckdb.DuckDBPyConnection) -> None:
    keys = sorted(row["verdict_key"] for row in rows(con, "SELECT DISTINCT verdict_key FROM staging.scores"))
    digits = next(each for each in range(4, 64) if sum(key.startswith(SHARED[:each]) for key in keys) == 1)
    for given in (SHARED[:digits], SHARED[:digits].upper()):
        assert explain_verdict(con, given.lower()).verdict_key == SHARED
        walked = walk_back(con, Wanted(given), Path("home"), "pollux-4b")
        assert getattr(walked, "verdict_key", None) == SHARED
    with pytest.raises(SelectionError) as raised:
        explain_verdict(con, "")
    first, *listed = str(raised.value).splitlines()
    assert first == f"the keys of {len(keys)} verdicts begin with ; give more of it:"
    assert listed[0].startswith(f"{keys[0][:16]}  ") and listed[-1] == f"and {len(keys) - 8} more"
    with pytest.raises(SelectionError, match="a verdict key that begins with beef, and no model has that name"):
        walk_back(con, Wanted("beef"), Path("home"), "pollux-4b")


def test_a_table_in_a_file_is_as_wide_as_its_rows(published: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pollux_dagster.cli", "explain", ALPHA, "--judge", JUDGE, "--home", str(tmp_path)]
    (tmp_path / "published").symlink_to(published.parent)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    start = next(at for at, line in enumerate(said) if line.startswith("Worst answers"))
    table = said[start + 3 : said.index("", start + 1) if "" in said[start:] else None]
    assert all(line[:1] != " " for line in table if line), table  # no row goes on in a second line
