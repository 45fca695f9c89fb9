"""`pollux doctor`: what it says about each landing file, without a home, and the landing.toml that it proposes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pollux_dagster.app.doctor import examine_landing
from pollux_dagster.cli import app
from tests.ingest.landing_world import instruction

STRANGE = {"meta": {"id": 1}, "result": {"response": ["Ответ"]}, "seconds": 3}


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "landing"
    folder.mkdir()
    (folder / "instructions.jsonl").write_text(json.dumps(instruction(1)))
    (folder / "m.csv").write_bytes("prompt_id;answer\n1;Да\n99;Нет\n".encode("cp1251"))
    (folder / "x.jsonl").write_text(json.dumps(STRANGE))
    return folder


def test_every_file_is_named_with_what_became_of_it(landing: Path) -> None:
    found = {file.path: file for file in examine_landing(landing).files}
    assert list(found) == ["instructions.jsonl", "m.csv", "x.jsonl"]
    table = found["m.csv"]
    assert (table.format, table.rows, table.accepted, table.rejected) == ("answers", 2, 1, 1)
    assert table.refusals[0].startswith('row 2: unknown_prompt: no instruction has prompt_id "99"')
    assert table.notes[0].startswith("encoding: read as Windows-1251")
    assert found["x.jsonl"].format == "unknown" and found["x.jsonl"].refusals


def test_what_it_proposes_for_an_unknown_file_reads_that_file(landing: Path) -> None:
    proposal = examine_landing(landing).proposal
    (entry,) = tomllib.loads(proposal)["files"]
    assert entry["fields"] == {"prompt_id": "meta.id", "answer": "result.response[0]"}
    assert "# fields.model_id" in proposal and "seconds" in proposal
    (landing / "landing.toml").write_text(proposal)
    (file,) = (file for file in examine_landing(landing).files if file.path == "x.jsonl")
    assert (file.format, file.accepted) == ("answers", 1)


def test_files_that_are_known_to_hold_no_answers_are_not_proposed(landing: Path) -> None:
    (landing / "x.jsonl").write_text(json.dumps({"adapter_spec": {"model": "m"}, "scenario_spec": {}, "name": "x"}))
    (landing / "train.jsonl").write_text(json.dumps({"prompt": "2+2?", "response": "4"}))
    found = examine_landing(landing)
    assert found.proposal == ""
    assert [file.path for file in found.files if file.refusals] == ["m.csv", "train.jsonl", "x.jsonl"]


@pytest.mark.slow
def test_names_that_would_break_toml_do_not(landing: Path) -> None:
    row = {'a"\n=x': {"id": 1}, 'a"]\n[x': 1, 'b\\"\u2028': {"answer\u0007": "x"}, "text": "a\n[[files]]\nb"}
    (landing / "x.jsonl").unlink()
    (landing / 'strange "name"\n.jsonl').write_text(json.dumps(row))
    (entry,) = tomllib.loads(examine_landing(landing).proposal)["files"]
    assert entry["match"] == 'strange "name"\n.jsonl'
    assert entry["fields"]["prompt_id"] == 'a"\n=x.id'
    (landing / "instructions.jsonl").unlink()  # the same as a comment
    assert tomllib.loads(examine_landing(landing).proposal) == {}


def _completed(proposal: str, **paths: str) -> str:
    """The proposal as its owner completes it: without the first "# " of each line of an entry, and with these paths."""
    entry = proposal[proposal.index("# [[files]]") :]
    text = "\n".join(line.removeprefix("# ") for line in entry.splitlines())
    for target, path in paths.items():
        text = text.replace(f'fields.{target} = "…"', f'fields.{target} = "{path}"')
    return text


@pytest.mark.slow
def test_fields_of_unknown_names_are_left_to_fill_in_once_for_all_files_that_have_them(landing: Path) -> None:
    (landing / "x.jsonl").unlink()
    (landing / "runs").mkdir()
    for name in ("a", "b"):
        row = {"item": {"ref": 1}, "gen": [{"txt": "Ответ"}], "engine": {"name": "x"}}
        (landing / "runs" / f"{name}.jsonl").write_text(json.dumps(row))
    before = examine_landing(landing)
    assert tomllib.loads(before.proposal) == {}
    assert before.proposal.count("[[files]]") == 1 and '# match = "runs/*.jsonl"' in before.proposal
    assert 'format = "answers"' in before.proposal and "item.ref, gen[0].txt, engine.name" in before.proposal
    (landing / "landing.toml").write_text(before.proposal)
    assert [file for file in examine_landing(landing).files if file.path != "landing.toml"] == list(before.files)
    text = _completed(before.proposal, prompt_id="item.ref", answer="gen[0].txt", model_id="engine.name")
    (landing / "landing.toml").write_text(text)
    found = {file.path: file for file in examine_landing(landing).files}
    assert (found["runs/a.jsonl"].format, found["runs/a.jsonl"].accepted) == ("answers", 1)
    assert found["instructions.jsonl"].accepted == 1


def test_an_entry_by_which_no_row_would_be_used_is_no_entry(landing: Path) -> None:
    (landing / "x.jsonl").write_text(json.dumps(STRANGE | {"meta": {"id": 99}}))
    proposal = examine_landing(landing).proposal
    assert tomllib.loads(proposal) == {}
    assert 'no instruction has prompt_id "99"' in proposal and '# fields.prompt_id = "meta.id"' in proposal


@pytest.mark.parametrize(
    ("unknown", "known", "globs"),
    [
        (("runs/a.jsonl", "runs/b.jsonl"), (), ["runs/*.jsonl"]),
        pytest.param(("runs/1/a.jsonl", "runs/2/b.jsonl"), (), ["runs/**/*.jsonl"], marks=pytest.mark.slow),
        pytest.param(("run-a.jsonl", "run-b.jsonl"), ("m.jsonl",), ["run-*.jsonl"], marks=pytest.mark.slow),
        pytest.param(("p/run-a.jsonl", "q/run-b.jsonl"), (), ["**/*.jsonl"], marks=pytest.mark.slow),
        (("a.jsonl", "b.jsonl"), ("m.jsonl",), ["a.jsonl", "b.jsonl"]),
        (("a/x.jsonl", "aa/x.jsonl"), ("b/m.jsonl", "a/m.jsonl"), ["a**/x.jsonl"]),
    ],
)
def test_files_of_the_same_fields_share_a_glob_that_no_other_file_matches(
    tmp_path: Path, unknown: Sequence[str], known: Sequence[str], globs: Sequence[str]
) -> None:
    (tmp_path / "instructions.csv").write_text("prompt_id,instruction\n1,Вопрос\n")
    rows = [*((path, STRANGE) for path in unknown), *((path, {"prompt_id": 1, "answer": "а"}) for path in known)]
    for path, row in rows:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(row))
    assert [entry["match"] for entry in tomllib.loads(examine_landing(tmp_path).proposal)["files"]] == globs


def test_the_exit_code_says_that_there_is_a_fault(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--landing", str(tmp_path / "nowhere"), "--profile", "demo", "--json"])
    assert "fault" in {finding["state"] for finding in json.loads(done.output)["machine"]}
    assert done.exit_code == 1


def test_the_command_writes_only_when_asked(landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["doctor", "--landing", str(landing), "--profile", "demo"])
    assert done.exit_code == 0 and "m.csv: row 2: unknown_prompt" in done.output and "[[files]]" in done.output
    assert sorted(tmp_path.rglob("*")) == before
    said = json.loads(CliRunner().invoke(app, ["doctor", "--landing", str(landing), "--json"]).stdout)
    assert [file["path"] for file in said["files"]] == ["instructions.jsonl", "m.csv", "x.jsonl"]
    assert CliRunner().invoke(app, ["doctor", "--landing", str(landing), "--profile", "demo", "--write"]).exit_code == 0
    assert (landing / "landing.toml").read_text().startswith("# A beginning")
    assert "x.jsonl" in json.loads(json.dumps(said))["proposal"]


def test_it_does_not_write_over_a_landing_toml(landing: Path) -> None:
    (landing / "landing.toml").write_text("")
    done = CliRunner().invoke(app, ["doctor", "--landing", str(landing), "--write"])
    assert done.exit_code == 1 and (landing / "landing.toml").read_text() == ""
