"""`pollux doctor`: what it says about each landing file, without a home, and the landing.toml that it proposes."""

from __future__ import annotations

import json
import tomllib
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


def test_names_that_would_break_toml_do_not(tmp_path: Path) -> None:
    row = {'a"]\n[x': {"id": 1}, 'b\\"\u2028': {"answer\u0007": "x"}, "text": "a\n[[files]]\nb"}
    (tmp_path / 'strange "name"\n.jsonl').write_text(json.dumps(row))
    (entry,) = tomllib.loads(examine_landing(tmp_path).proposal)["files"]
    assert entry["match"] == 'strange "name"\n.jsonl'
    assert entry["fields"]["prompt_id"] == 'a"]\n[x.id'


def test_the_command_writes_only_when_asked(landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["doctor", "--landing", str(landing)])
    assert done.exit_code == 0 and "m.csv: row 2: unknown_prompt" in done.output and "[[files]]" in done.output
    assert sorted(tmp_path.rglob("*")) == before
    said = json.loads(CliRunner().invoke(app, ["doctor", "--landing", str(landing), "--json"]).stdout)
    assert [file["path"] for file in said["files"]] == ["instructions.jsonl", "m.csv", "x.jsonl"]
    assert CliRunner().invoke(app, ["doctor", "--landing", str(landing), "--write"]).exit_code == 0
    assert (landing / "landing.toml").read_text().startswith("# A beginning")
    assert "x.jsonl" in json.loads(json.dumps(said))["proposal"]


def test_it_does_not_write_over_a_landing_toml(landing: Path) -> None:
    (landing / "landing.toml").write_text("")
    done = CliRunner().invoke(app, ["doctor", "--landing", str(landing), "--write"])
    assert done.exit_code == 1 and (landing / "landing.toml").read_text() == ""
