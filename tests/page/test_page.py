"""The report as a file: it asks nothing of anybody, says what the tables say, and shows hostile text as text."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner

from pollux_dagster.cli import app
from pollux_dagster.defs.publication import _make_report
from pollux_dagster.page import evidence, write
from pollux_dagster.page.figures import Figure
from pollux_dagster.page.history import FILE, MAX_LINES, past, remember
from pollux_dagster.page.summary import sentences
from pollux_dagster.page.write import UnknownModelError, renew_report, write_report
from pollux_dagster.runs.executor import Conclusion, conclude
from tests.page.pages import Page
from tests.security.hostile import HOSTILE, acts
from tests.warehouse.tiny_world import ALPHA, BETA, GAMMA, JUDGE, OTHER_JUDGE

PACKAGE = Path(write.__file__).parent


@pytest.fixture(scope="module")
def page(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    target = tmp_path_factory.mktemp("page") / "report.html"
    write_report(published, target)
    assert target.stat().st_mode & 0o777 == 0o600
    return Page(target)


@pytest.fixture(scope="module")
def poisoned(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    target = tmp_path_factory.mktemp("poisoned") / "report.html"
    write_report(hostile, target)
    return Page(target)


def sha256(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


@pytest.mark.parametrize("which", ["page", "poisoned"])
def test_nothing_but_its_own_script_and_style_may_run_or_load(which: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(which)
    policy = next(at["content"] for tag, at in page.elements if at.get("http-equiv") == "Content-Security-Policy")
    ((_, style),) = [content for content in page.contents if content[0] == "style"]
    script = page.contents[-1][1]
    own = f"script-src {sha256(script)}; style-src {sha256(style)}"
    assert policy == f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"
    kinds = [at.get("type", "") for tag, at in page.elements if tag == "script"]
    assert kinds == ["application/json", "application/json", ""]
    for tag, attributes in page.elements:
        assert tag not in {"img", "iframe", "link", "object", "embed", "base", "audio", "video", "use"}
        assert attributes.get("href", "#").startswith("#"), attributes
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "action")]


def test_the_script_writes_no_markup_and_asks_for_nothing() -> None:
    script = (PACKAGE / "page.js").read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval", "Function(", "fetch", "import("):
        assert word not in script


def test_hostile_text_is_text(page: Page, poisoned: Page) -> None:
    assert {tag for tag, _ in poisoned.elements} <= {tag for tag, _ in page.elements}
    assert not acts(poisoned.source.replace("\t", ""))
    assert "<script>alert(document.cookie)</script>" in poisoned.text
    carried = {answer["text"] for each in poisoned.evidence["instructions"] for answer in each["answers"]}
    assert len(carried) == 12
    assert all(any(whole.startswith(text) for whole in HOSTILE.values()) for text in carried)


def test_each_judge_has_figures_of_its_own(page: Page, published: Path) -> None:
    identifiers = [at["id"] for _, at in page.elements if "id" in at]
    assert len(identifiers) == len(set(identifiers))
    for number in range(2):
        for part in (
            *("short", "leaderboard", "tasks", "criteria", "differences", "length", "levels", "people", "outcome"),
            "cost",
        ):
            assert f"judge-{number}-{part}" in identifiers
    with duckdb.connect(str(published), read_only=True) as con:
        rows = con.sql(
            "SELECT mean_score, ci_low, ci_high FROM marts.leaderboard WHERE mean_score IS NOT NULL"
        ).fetchall()
    assert len(rows) == 6
    for mean, low, high in rows:
        assert f"{mean:.3f}" in page.text
        assert f"{low:.3f}–{high:.3f}" in page.text


def test_the_demonstration_judge_is_marked_and_the_other_is_not(page: Page) -> None:
    assert f"Demonstration. The judge profile@{JUDGE} is no judge of quality" in page.text
    assert f"Demonstration. The judge profile@{OTHER_JUDGE}" not in page.text


def test_the_sql_of_each_figure_runs_and_names_the_judge(page: Page, published: Path) -> None:
    queries = page.source.split('<pre tabindex="0"><code>SELECT')[1:]
    assert len(queries) > 15
    with duckdb.connect(str(published), read_only=True) as con:
        for query in queries:
            text = "SELECT" + query.split("</code>")[0].replace("&#39;", "'").replace("&gt;", ">").replace("&lt;", "<")
            con.execute(text)


def test_the_answers_have_every_verdict_of_every_judge(page: Page, published: Path) -> None:
    found = page.evidence
    with duckdb.connect(str(published), read_only=True) as con:
        expected = con.sql(
            "SELECT judge_name, model_id, prompt_id, criteria_name, status, score FROM staging.scores ORDER BY ALL"
        ).fetchall()
    carried = [
        (
            found["judges"][judge],
            found["models"][answer["model"]],
            each["id"],
            found["criteria"][criterion]["name"],
            status,
            score,
        )
        for each in found["instructions"]
        for answer in each["answers"]
        for judge, criterion, _, status, score, *_ in answer["verdicts"]
    ]
    assert sorted(carried, key=str) == sorted(expected, key=str)
    assert found["total"] == len(found["instructions"]) == 4


def test_what_does_not_fit_is_left_out_by_whole_instructions(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MAX_UNPACKED", 6_000)
    write_report(published, tmp_path / "small.html")
    found = Page(tmp_path / "small.html").evidence
    assert 0 < len(found["instructions"]) < found["total"] == 4
    assert all(len(each["answers"]) == 3 for each in found["instructions"])
    tasks = [each["task"] for each in found["instructions"]]
    assert len(set(tasks)) == len(tasks), "a second instruction of a task comes after the first of every task"


def test_the_whole_file_stays_under_its_size(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(published, tmp_path / "whole.html")
    limit = (tmp_path / "whole.html").stat().st_size - 100
    monkeypatch.setattr(write, "MAX_BYTES", limit)
    write_report(published, tmp_path / "smaller.html")
    assert (tmp_path / "smaller.html").stat().st_size <= limit
    assert len(Page(tmp_path / "smaller.html").evidence["instructions"]) < 4


@pytest.mark.parametrize("lacking", ["some", "most"])
def test_a_publication_of_an_earlier_version_has_a_report_of_what_it_has(
    changed: Callable[..., Path], lacking: str
) -> None:
    some = [
        *("DROP TABLE judging.admission", "DROP TABLE meta.staleness", "DROP TABLE raw.rejection_counts"),
        *("ALTER TABLE raw.human_scores DROP COLUMN sample_index", "DROP VIEW marts.calibrated_quality"),
    ]
    most = [
        *("DROP TABLE marts.task_quality", "DROP TABLE marts.judge_coverage", "DROP TABLE landing.files"),
        *("DROP VIEW marts.judge_agreement", "DROP VIEW marts.pairwise_comparison", "DROP TABLE staging.answers"),
    ]
    old = changed(*some, *(most if lacking == "most" else ()))
    write_report(old, old.with_name("report.html"))
    page = Page(old.with_name("report.html"))
    assert "Leaderboard" in page.text
    if lacking == "some":
        assert len(page.evidence["instructions"]) == 4
    else:
        assert "lacks what the browser of answers needs" in page.text


def test_the_report_of_a_publication_that_could_not_be_renewed_says_so(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    @dg.op
    def ask() -> None:
        raise RuntimeError("nobody answers")

    @dg.job
    def evaluate() -> None:
        ask()

    home = changed()
    home.with_name("report.html").write_text("an earlier report")
    with dg.DagsterInstance.ephemeral() as instance:
        ended = evaluate.execute_in_process(instance=instance, raise_on_error=False)
        at = Conclusion(home, tmp_path / "metrics", renew_report=renew_report)
        conclude(instance, evaluate, ended.run_id, ended.all_events, at)
    assert "Not current: not renewed since" in Page(home.with_name("report.html")).text
    assert "nobody answers" in Page(home.with_name("report.html")).text


@pytest.mark.parametrize("is_doubted", [True, False])
def test_labels_that_are_no_random_draw_are_told_beside_their_mean(
    changed: Callable[..., Path], is_doubted: bool
) -> None:
    told = changed(f"UPDATE statistics.calibrated_quality SET n_labelled = 20, is_doubtful = {is_doubted}")
    write_report(told, told.with_name("report.html"))
    page = Page(told.with_name("report.html"))
    assert "corrected by people's scores" in page.text
    assert ("do not look like a random draw" in page.text) is is_doubted


@pytest.mark.parametrize(
    ("slope", "chance", "said", "means_are_shown"),
    [
        (0.2, 0.4, "Length explains nothing: by no criterion do longer answers score higher or lower", False),
        (0.2, 0.01, "Longer answers score higher, beyond chance, by: ", True),
        (-0.2, 0.01, "Longer answers score lower, beyond chance, by: ", True),
        (0.2, None, "Whether length matters is not known", False),
    ],
)
def test_what_length_explains_is_said_in_words(
    slope: float, chance: float | None, said: str, means_are_shown: bool, changed: Callable[..., Path]
) -> None:
    told = changed(
        f"UPDATE statistics.length_effect SET slope = {slope}, ci_low = {slope} - 0.15, ci_high = {slope} + 0.15, "
        f"adjusted_p_value = {'NULL' if chance is None else chance}",
        "UPDATE statistics.length_controlled SET score = 0.625, ci_low = 0.375, ci_high = 0.875",
    )
    write_report(told, told.with_name("report.html"))
    text = Page(told.with_name("report.html")).text
    assert said in text
    assert f"{slope - 0.15:+.3f} – {slope + 0.15:+.3f}".replace("-", "−") in text
    assert ("0.625 0.375–0.875" in text) is means_are_shown


def test_a_huge_name_is_cut_wherever_it_stands(changed: Callable[..., Path]) -> None:
    long = "repeat('я', 300000)"
    huge = changed(
        *(
            f"UPDATE {table} SET task_type = {long} WHERE task_type = 'qa'"
            for table in ("raw.instructions", "marts.task_quality")
        ),
        f"UPDATE meta.judges SET judge_name = {long} || judge_name",
        f"UPDATE raw.criteria SET rubrics = {long}",
    )
    write_report(huge, huge.with_name("report.html"))
    assert huge.with_name("report.html").stat().st_size < 400_000
    assert len(Page(huge.with_name("report.html")).evidence["instructions"]) == 4


def test_a_publication_without_a_score_has_a_report_that_says_so(changed: Callable[..., Path]) -> None:
    empty = changed("DELETE FROM marts.model_quality", "DELETE FROM staging.scores", "DELETE FROM staging.answers")
    write_report(empty, empty.with_name("report.html"))
    assert "Nothing has been scored yet." in Page(empty.with_name("report.html")).text


def test_it_can_be_narrowed_to_some_models(published: Path, tmp_path: Path) -> None:
    write_report(published, tmp_path / "two.html", models=[GAMMA, BETA])
    page = Page(tmp_path / "two.html")
    assert set(page.evidence["models"]) == {BETA, GAMMA}
    assert "This report shows only:" in page.text
    assert "Of the models shown," in page.text
    assert "the best" not in page.text
    assert {at["data-model"] for _, at in page.elements if "data-model" in at} == {"0", "1"}
    with duckdb.connect(str(published), read_only=True) as con:
        shown = con.execute(
            "SELECT count(DISTINCT prompt_id), count(*), (SELECT count(DISTINCT verdict_key) FROM staging.scores "
            "JOIN judging.verdicts USING (verdict_key) WHERE model_id <> ?) FROM raw.model_outputs WHERE model_id <> ?",
            [ALPHA, ALPHA],
        ).fetchone()
    assert shown is not None
    for what, n in zip(("instructions", "answers", "verdicts"), shown, strict=True):
        assert f"{what} {TEXTS[f'count_{what}']['ru']} {n} " in page.text, what
    with pytest.raises(UnknownModelError, match=f"got nobody; it has .*{ALPHA}"):
        write_report(published, tmp_path / "none.html", models=["nobody"])
    assert not (tmp_path / "none.html").exists()


TEXTS = tomllib.loads((PACKAGE / "texts.toml").read_text())


def test_a_mean_without_an_interval_has_no_empty_brackets() -> None:
    [row] = board(("a", 0.5, 1, 1, []))
    (_, values), *_ = sentences([row | {"ci_low": None, "ci_high": None}], None, None, None)
    assert values["interval"] == ""
    (_, values), *_ = sentences([row], None, None, None)
    assert values["interval"] == " (0.400–0.600)"


@pytest.mark.parametrize(("tokens", "is_shown"), [(0, False), (7, True)])
def test_the_two_caches_are_told_apart(
    changed: Callable[..., Path], tmp_path: Path, tokens: int, is_shown: bool
) -> None:
    """A server's metrics tell of its prefix cache where its replies do not: no zero stands beside them."""
    details = "json_object('judge_id', judge_id, 'requested', 3, 'cached', 5, 'prefix_cache_hit_share', 0.435)"
    target = changed(
        f"INSERT INTO meta.runs SELECT 'r', 'judge', now(), now(), {details}, 9 FROM meta.judges",
        f"UPDATE judging.verdicts SET cached_tokens = {tokens}",
    )
    write_report(target, tmp_path / "cached.html")
    page = Page(tmp_path / "cached.html")
    assert "43.5 %" in page.text
    assert TEXTS["cache_hits"]["en"] in page.text and TEXTS["kept"]["en"] in page.text
    assert (TEXTS["cached_tokens"]["en"] in page.text) == is_shown


def board(*models: tuple[str, float, int, int, list[str]]) -> list[dict[str, object]]:
    return [
        dict(
            zip(
                ("model_id", "mean_score", "rank_low", "rank_high", "tied_with", "ci_low", "ci_high"),
                (*model, model[1] - 0.1, model[1] + 0.1),
                strict=True,
            )
        )
        | {"coverage": 1.0, "same_items": True}
        for model in models
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (board(), "sum_nothing"),
        (board(("a", 0.5, 1, 1, [])), "sum_only"),
        (board(("a", 0.5, 1, 1, []), ("b", 0.4, 2, 2, [])), "sum_best"),
        (board(("a", 0.5, 1, 2, ["b"]), ("b", 0.4, 1, 2, ["a"])), "sum_tied"),
        (board(("a", 0.5, 2, 3, []), ("b", 0.4, 1, 1, [])), "sum_ranked"),
        (board(("a", 0.5, 2, 3, []), ("b", 0.4, 1, 3, [])), "sum_highest"),
    ],
)
def test_the_first_sentence_claims_no_more_than_the_ranks_do(rows: list[dict[str, object]], expected: str) -> None:
    assert sentences(rows, None, None, None)[0][0] == expected


def test_what_the_first_sentence_cannot_say_is_said_after_it() -> None:
    rows = board(("a", 0.5, 1, 1, []), ("b", 0.4, 2, 2, []))
    assert [name for name, _ in sentences(rows, None, None, None)] == ["sum_best"]
    unscored = {"model_id": "c", "mean_score": None, "coverage": 0.0, "same_items": True}
    assert sentences([*rows, unscored], None, None, None)[1] == ("sum_unscored", {"models": "c"})
    assert sentences([rows[0], unscored], None, None, None)[0][0] == "sum_only_scored"
    assert [name for name, _ in sentences([rows[0] | {"coverage": 0.05}, rows[1]], None, None, None)] == [
        "sum_best",
        "sum_coverage",
    ]
    assert sentences([rows[0] | {"same_items": False}, rows[1]], None, None, None)[1:] == [("not_same_items", {})]


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ({"t1": (0.9, 0.8), "t2": (0.7, 0.6)}, "sum_leads_all"),
        ({"t1": (0.9, 0.8), "t2": (0.6, 0.7)}, "sum_leads"),
        ({"t1": (0.9, 0.8), "t2": (1.0, 1.0)}, "sum_leads_alone"),
        ({"t1": (1.0, 1.0), "t2": (1.0, 1.0)}, None),
        ({"t1": (0.9, None), "t2": (0.7, 0.6)}, None),
    ],
)
def test_a_model_leads_on_a_task_where_it_alone_has_the_highest_mean(
    means: dict[str, tuple[float, float | None]], expected: str | None
) -> None:
    rows = [
        {"model_id": model, "task_type": task, "mean": mean}
        for task, both in means.items()
        for model, mean in zip("ab", both, strict=True)
    ]
    said = sentences(board(("a", 0.5, 1, 1, []), ("b", 0.4, 2, 2, [])), Figure("", rows), None, None)
    assert [name for name, _ in said if name.startswith("sum_leads")] == ([expected] if expected else [])


def test_every_text_is_there_in_both_languages_and_used() -> None:
    texts = tomllib.loads((PACKAGE / "texts.toml").read_text())
    script = texts.pop("script")
    code = "".join((PACKAGE / name).read_text() for name in ("page.html.j2", "write.py", "summary.py"))
    built = ("metric_", "calibration_", "n_", "from_", "count_", "check_", "finding_")
    for key, both in texts.items():
        assert set(both) == {"en", "ru"}, key
        assert f'"{key}"' in code or f"texts.{key}." in code or key.startswith(built), f"{key} is used nowhere"
        assert set(_fields(both["en"])) == set(_fields(both["ru"])), key
    in_script = (PACKAGE / "page.js").read_text()
    for key, both in script.items():
        assert set(both) == {"en", "ru"}
        assert f'"{key}"' in in_script, f"{key} is used nowhere"
        assert set(_fields(both["en"])) == set(_fields(both["ru"])), key


def _fields(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("{")[1:]]


@pytest.mark.parametrize(
    ("share", "shown"), [(1 / 67, "1.5 %"), (18 / 67, "26.9 %"), (0.99996, "99.9 %"), (1.0, "100.0 %"), (0.0, "0.0 %")]
)
def test_a_share_is_rounded_and_100_percent_means_all(share: float, shown: str) -> None:
    assert write._share(share) == shown


def test_a_trend_needs_two_publications_that_differ(changed: Callable[..., Path]) -> None:
    newer = changed()
    folder = newer.parent
    remember(newer)
    remember(newer)
    assert len(past(folder)) == 1
    write_report(newer, folder / "report.html")
    assert "judge-0-trend" not in (folder / "report.html").read_text()
    with duckdb.connect(str(newer)) as con:
        con.execute("UPDATE marts.model_quality SET mean_score = 0.25 WHERE model_id = ?", [ALPHA])
        con.execute("UPDATE meta.publication SET published_at = published_at + INTERVAL 1 DAY")
    with (folder / FILE).open("a") as file:
        file.write("not json\n[1]\n")
        for published_at, mean in (("0001-01-01T00:00:00+14:00", 0.5), ("2026-01-01T00:00:00+00:00", 1e308)):
            file.write(json.dumps({"published_at": published_at, "means": {JUDGE: {ALPHA: mean}}}) + "\n")
    remember(newer)
    first, second = past(folder)
    assert second.means[JUDGE][ALPHA] == 0.25 != first.means[JUDGE][ALPHA]
    write_report(newer, folder / "report.html")
    change = 0.25 - first.means[JUDGE][ALPHA]
    assert f"{change:+.3f}".replace("-", "−") in Page(folder / "report.html").text


def test_a_year_of_nights_is_drawn_whole(changed: Callable[..., Path]) -> None:
    published = changed()
    nights = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=night) for night in range(MAX_LINES)]
    lines = [{"published_at": night.isoformat(), "means": {JUDGE: {ALPHA: 0.5}}} for night in nights]
    (published.parent / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(published, published.with_name("report.html"))
    drawn = [at["points"] for tag, at in Page(published.with_name("report.html")).elements if tag == "polyline"]
    points = [point.split(",") for point in max(drawn, key=len).split()]
    assert len(points) == MAX_LINES
    assert [float(points[0][0]), float(points[-1][0])] == [5.0, 195.0]


def test_the_history_stays_small(changed: Callable[..., Path]) -> None:
    newer = changed()
    line = '{"published_at": "2026-01-01T00:00:00+00:00", "means": {}}\n'
    (newer.parent / FILE).write_text(line * (MAX_LINES + 50))
    remember(newer)
    assert len(past(newer.parent)) == MAX_LINES


def test_a_report_that_cannot_be_made_is_said_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pollux.duckdb").write_bytes(b"no database")
    (tmp_path / "report.html").write_text("of the publication before")
    _make_report(tmp_path / "pollux.duckdb", logging.getLogger("publication"))
    assert "published, but without its report" in caplog.text
    assert not (tmp_path / "report.html").exists()


def test_the_command_makes_it_again(changed: Callable[..., Path]) -> None:
    home = changed().parents[1]
    result = CliRunner().invoke(app, ["report", "--home", str(home)])
    assert (result.exit_code, result.output) == (0, f"Report: {home / 'published' / 'report.html'}\n")
    narrow = CliRunner().invoke(app, ["report", "--home", str(home), "--model", ALPHA, "--model", BETA])
    assert narrow.output == f"Report: {home / 'published' / 'report-narrowed.html'}\n"
    refused = CliRunner().invoke(app, ["report", "--home", str(home), "--model", "nobody"])
    assert refused.exit_code == 1
    assert "expected models of the publication, got nobody" in refused.output
    nowhere = CliRunner().invoke(app, ["report", "--home", str(home), "--output", str(home / "no" / "r.html")])
    assert nowhere.exit_code == 1
    assert "expected a folder at" in nowhere.output
    folder = CliRunner().invoke(app, ["report", "--home", str(home), "--output", str(home)])
    assert folder.exit_code == 1
    assert "expected the name of a file" in folder.output
    for command, way_on in {
        ("report", "--output", "/proc/r.html"): "--output",
        ("query", "FROM leaderboard", "--csv", "/proc/r.csv"): "--csv",
        ("export", "/proc/tables"): "another folder",
    }.items():  # where nobody can write, not even root
        refused = CliRunner().invoke(app, [*command, "--home", str(home)])
        assert refused.exit_code == 1
        assert f"could not be written to {command[-1]}: " in refused.stderr and way_on in refused.stderr
        assert "Errno" not in refused.stderr
    shown = CliRunner().invoke(app, ["show", "--home", str(home)])
    assert "Report:" in shown.output
