"""What a person scores is kept at once, once, with its probability; what they are asked depends on nobody's scores."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pollux_dagster.explain.selection import SelectionError, chosen_judges
from pollux_dagster.label.draws import DrawError, Wanted, _candidates, find_draw
from pollux_dagster.label.labels import LabelsError, file_name
from pollux_dagster.label.session import AnswerRefused, Pair, Session
from tests.ingest.landing_world import Files
from tests.page.label.conftest import Place
from tests.warehouse.tiny_world import ALPHA, JUDGE, MODELS, PROMPTS

ANSWERS = len(MODELS) * len(PROMPTS)


def asked(session: Session) -> Pair:
    pair, _ = session.next()
    assert pair is not None
    return pair


def score_all(session: Session, at_most: int = 1_000) -> int:
    """Give the lowest level everywhere; how many were given."""
    for given in range(at_most):
        pair, _ = session.next()
        if pair is None:
            return given
        session.score(pair, session.criterion(pair).levels[0])
    return at_most


def written(place: Place, annotator: str = "anna") -> list[dict[str, Any]]:
    file = place.landing / "labels" / f"{annotator}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_score_is_a_row_of_human_scores_with_its_probability(place: Place) -> None:
    session = place.session(draw=place.draw(Wanted("uniform", answers=6)))
    pair = asked(session)
    item, criterion = session.item(pair), session.criterion(pair)
    session.score(pair, criterion.levels[-1], "со\0мнительно \ud800")
    (row,) = written(place)
    assert row.pop("labelled_at").startswith("20")
    assert row == {
        "prompt_id": item.drawn.key.prompt_id,
        "model_id": item.drawn.key.model_id,
        "sample_index": 0,
        "criteria_name": criterion.name,
        "annotator": "anna",
        "score": criterion.levels[-1],
        "feedback": "сомнительно ?",
        "sampling_probability": 0.5,
        "sampling_design": "uniform",
        "sampling_round": session.draw.round,
        "judge_was_shown": False,
    }
    files = Files(place.landing)
    files.read()
    assert files.formats["labels/anna.jsonl"].name == "human_scores"


def test_a_file_that_was_changed_meanwhile_is_not_overwritten(place: Place) -> None:
    session = place.session(draw=place.draw(Wanted("uniform", answers=6)))
    pair = asked(session)
    session.score(pair, session.criterion(pair).levels[0])
    file = place.landing / "labels" / "anna.jsonl"
    changed = file.read_text().replace('"annotator": "anna"', '"annotator":"anna"')
    file.write_text(changed)
    pair = asked(session)
    with pytest.raises(OSError, match="changed by something else"):
        session.score(pair, session.criterion(pair).levels[0])
    assert file.read_text() == changed


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_the_scores_is_what_the_umask_says(place: Place, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        session = place.session(draw=place.draw(Wanted("uniform", answers=6)))
        pair = asked(session)
        session.score(pair, session.criterion(pair).levels[0])
    finally:
        os.umask(before)
    assert (place.landing / "labels" / "anna.jsonl").stat().st_mode & 0o777 == mode


def test_the_next_session_goes_on_where_the_last_was_killed(place: Place) -> None:
    first = place.session()
    for _ in range(3):
        pair = asked(first)
        first.score(pair, first.criterion(pair).levels[0])
    first.skip(asked(first), "unsure")
    following, progress = first.next()
    again = place.session()  # from the files alone
    assert again.next() == (following, progress)
    assert (progress.done, progress.skipped) == (4, 1)
    assert find_draw(place.draws, None) == first.draw
    assert place.draw(Wanted()) == first.draw
    assert place.draw(Wanted(seed=2), [a.key for a in first.draw.answers[:3]]).population == ANSWERS - 3


def test_what_is_taken_back_is_no_row_any_more_and_is_asked_again(place: Place) -> None:
    session = place.session()
    first = asked(session)
    session.score(first, session.criterion(first).levels[0])
    second = asked(session)
    session.skip(second, "rubric", "о чём это?")
    assert session.undo() == (second, None)
    assert asked(session) == second
    undone = session.undo()
    assert undone is not None
    assert undone[0] == first
    assert session.undo() is None
    assert not (place.landing / "labels" / "anna.jsonl").exists(), "a file without rows would be refused"
    again = place.session()
    again.score(asked(again), again.criterion(first).levels[-1])
    assert [row["judge_was_shown"] for row in written(place)] == [True], "it was seen before the second score"


def test_what_cannot_be_kept_is_refused_and_changes_nothing(place: Place) -> None:
    session = place.session()
    pair = asked(session)
    for wrong in (99, "1", True, None, float("nan"), 10**400):
        with pytest.raises(AnswerRefused, match="expected a level of the rubric"):
            session.score(pair, wrong)
    for wrong_id in ("", "0", "0.99", "99.0", "-1.0", "1" * 40 + ".0", None, {"a": 1}):
        with pytest.raises(AnswerRefused, match="another session"):
            session.find(wrong_id)
    with pytest.raises(AnswerRefused, match="expected a reason"):
        session.skip(pair, "bored")
    with pytest.raises(AnswerRefused, match="at most 4000"):
        session.score(pair, session.criterion(pair).levels[0], "я" * 4_001)
    assert written(place) == []
    session.score(pair, session.criterion(pair).levels[0])
    with pytest.raises(AnswerRefused, match="already"):
        session.score(pair, session.criterion(pair).levels[-1])
    assert len(written(place)) == 1


def test_gates_come_first_and_after_a_tripped_one_the_answer_is_left(place: Place) -> None:
    session = place.session()
    while not session.criterion(pair := asked(session)).is_gate:
        session.score(pair, session.criterion(pair).levels[0])
    total = session.next()[1].total
    session.score(pair, 1.0)
    following, progress = session.next()
    assert following is None or following.item != pair.item
    assert progress.total == total - 2


def test_two_people_overlap_on_the_stated_share_and_do_the_rest_once(place: Place) -> None:
    draw = place.draw(Wanted("uniform", answers=ANSWERS, overlap=0.4))
    shared = {answer.key for answer in draw.answers if answer.is_shared}
    assert 0 < len(shared) < ANSWERS
    anna, boris = place.session("anna", draw), place.session("борис", draw)
    assert [i.drawn.key for i in anna._items] != [i.drawn.key for i in boris._items], "each in an order of their own"
    while score_all(anna, 2) + score_all(boris, 3):
        pass
    scorers = Counter(
        (row["prompt_id"], row["model_id"])
        for name in ("anna", "борис")
        for row in {(r["prompt_id"], r["model_id"]): r for r in written(place, file_name(name))}.values()
    )
    assert len(scorers) == ANSWERS, "everything is scored"
    twice = {key for key, people in scorers.items() if people == 2}
    assert {(key.prompt_id, key.model_id) for key in shared} <= twice
    assert len(twice) <= len(shared) + 1, "two may have begun the same answer at once"


def test_a_share_of_none_or_all_is_just_that(place: Place) -> None:
    for overlap, expected in ((0.0, set[bool]([False])), (1.0, {True})):
        draw = place.draw(Wanted(overlap=overlap))
        assert {answer.is_shared for answer in draw.answers} == expected


def test_only_answers_that_nobody_has_scored_are_drawn(place: Place, place_after: Callable[..., Place]) -> None:
    scored = place_after(
        "INSERT INTO raw.human_scores BY NAME SELECT 'p1' AS prompt_id, 'alpha' AS model_id, 0 AS sample_index, "
        "'Стиль' AS criteria_name, 'вера' AS annotator, 1 AS score, 'x' AS file_path, 1 AS row_number"
    )
    draw = scored.draw()
    assert draw.population == ANSWERS - 1
    assert (ALPHA, "p1") not in {(answer.key.model_id, answer.key.prompt_id) for answer in draw.answers}
    with pytest.raises(DrawError, match="expected answers that nobody has scored"):
        place.draw(Wanted(seed=9), [answer.key for answer in place.draw(Wanted(seed=8)).answers])


def test_a_draw_is_of_one_judge_and_of_the_criteria_that_were_named(place: Place) -> None:
    session = place.session(draw=place.draw(Wanted(criteria=("Стиль",), judge=JUDGE)))
    assert session.draw.judge_id == JUDGE
    assert {criterion.name for item in session._items for criterion in item.criteria} == {"Стиль"}
    with pytest.raises(SelectionError, match="no criterion 'Стыль'; did you mean 'Стиль'"):
        place.draw(Wanted(criteria=("Стыль",)))
    with pytest.raises(SelectionError, match="no judge 'nobody'"):
        place.draw(Wanted(judge="nobody"))


def test_answers_whose_texts_have_changed_are_asked_no_more(place: Place, place_after: Callable[..., Place]) -> None:
    draw = place.draw()
    later = place_after(
        "UPDATE raw.model_outputs SET answer_hash = 'other' WHERE prompt_id = 'p2' AND model_id = 'beta'"
    )
    assert len(later.items(draw)) == ANSWERS - 1


def test_an_informative_draw_is_in_proportion_to_how_uncertain_the_scores_are(
    place_after: Callable[..., Place],
) -> None:
    """alpha p4: no score (¼) and a score at an end (0). beta p4: half at either end (¼), and no score (¼)."""
    world = place_after(
        "UPDATE staging.scores SET level_probabilities = [0.5, 0, 0, 0, 0.5], expected_score = 3 "
        "WHERE model_id = 'beta' AND prompt_id = 'p4' AND criteria_name = 'Стиль'"
    )
    (judge,) = chosen_judges(world.con, JUDGE)
    found = {(row["model_id"], row["prompt_id"]): row["spread"] for row in _candidates(world.con, judge, Wanted())}
    assert len(found) == ANSWERS
    assert found["alpha", "p4"] == pytest.approx((0.25 / 2) ** 0.5)
    assert found["beta", "p4"] == pytest.approx(0.5)
    draw = world.draw(Wanted("informative", answers=4, judge=JUDGE))
    total = sum(found.values())
    for answer in draw.answers:
        spread = found[answer.key.model_id, answer.key.prompt_id]
        assert answer.probability == pytest.approx(4 * (0.5 / ANSWERS + 0.5 * spread / total))


def test_an_id_that_two_data_sets_have_lands_beside_its_own(place: Place, place_after: Callable[..., Place]) -> None:
    world = place_after(
        "UPDATE raw.instructions SET dataset = 'арена/b', source_prompt_id = '81' WHERE prompt_id = 'p4'",
    )
    score_all(world.session())
    rows = [json.loads(line) for line in (place.landing / "арена" / "b" / "labels" / "anna.jsonl").open()]
    assert {row["prompt_id"] for row in rows} == {"81"}
    assert {row["prompt_id"] for row in written(place)} == {"p1", "p2", "p3"}
    outside = place_after("UPDATE raw.instructions SET dataset = '../x' WHERE prompt_id = 'p4'")
    with pytest.raises(LabelsError, match="no folder that can be landed"):
        outside.session(draw=outside.draw(Wanted(seed=3)))


def test_a_landing_folder_that_would_not_read_them_is_refused(place: Place, tmp_path: Path) -> None:
    toml = place.landing / "landing.toml"
    toml.write_text('[[files]]\nmatch = "**/*.jsonl"\nformat = "answers"\n')
    with pytest.raises(LabelsError, match=r'match = "\*\*/labels/\*.jsonl"'):
        place.session()
    toml.write_text('[[files]]\nmatch = "**/labels/*.jsonl"\nformat = "human_scores"\n' + toml.read_text())
    place.session()
    toml.unlink()
    draw = place.draw()
    with pytest.raises(LabelsError, match="none of the files of these answers"):
        Session(draw, place.items(draw), tmp_path, place.draws, "anna")
    (place.landing / "labels").rmdir()
    (place.landing / "labels").touch()
    with pytest.raises(LabelsError, match="make it writable"):
        place.session()


def test_files_that_are_not_ours_are_named_and_left(place: Place) -> None:
    session = place.session()
    session.skip(asked(session), "other")
    state = place.draws / session.draw.round / "anna.json"
    state.write_text("{")
    with pytest.raises(LabelsError, match="what was skipped is asked again"):
        place.session()
    state.unlink()
    labels = place.landing / "labels" / "anna.jsonl"
    labels.write_text('{"prompt_id": 1}\n')
    with pytest.raises(LabelsError, match=r"anna.jsonl, line 1: expected a label"):
        place.session()
    assert labels.read_text() == '{"prompt_id": 1}\n'
    (place.draws / "9.json").write_text("[]")
    with pytest.raises(DrawError, match="expected a draw that"):
        find_draw(place.draws, None)


def test_every_person_has_a_file_of_their_own() -> None:
    names = ["anna", "Анна", "a/b", "a_b", "..", ".anna", "a b", "a\u00a0b", "x" * 300, "x" * 301]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(len(file) < 80 and not file.startswith(".") and "/" not in file for file in files)
