"""A file is read once, again when it changes, and forgotten when it goes."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pollux_dagster.core import duckdb_memory
from pollux_dagster.ingest import load, resolve
from pollux_dagster.ingest import sync as sync_module
from pollux_dagster.ingest.formats.context import context_of
from pollux_dagster.ingest.scan import LandingFile, fingerprint
from pollux_dagster.ingest.sync import sync
from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.schema import create_schema
from tests.ingest.landing_world import World, answer, instruction


def test_an_unchanged_file_is_not_opened_again(asked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.write("m.jsonl", answer(1))
    asked.sync()
    opened: list[str] = []
    open_ = LandingFile.open

    def noting(file: LandingFile) -> BufferedReader:
        opened.append(file.path)
        return open_(file)

    monkeypatch.setattr(LandingFile, "open", noting)
    report = asked.sync()
    assert (report.loaded, report.rehashed, opened) == ((), (), [])


def _written_in_place(path: Path, body: bytes) -> None:
    path.write_bytes(body)


def _renamed_over(path: Path, body: bytes) -> None:
    other = path.with_name(".new")
    other.write_bytes(body)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)


def _copied_with_its_times(path: Path, body: bytes) -> None:
    other = path.with_name(".new")
    other.write_bytes(body)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    subprocess.run(["cp", "-p", str(other), str(path)], check=True)
    other.unlink()


def _yes_to_not(body: bytes) -> bytes:
    """Another answer in as many bytes."""
    return body.replace(json.dumps("да").encode(), json.dumps("не").encode())


REPLACED = [_written_in_place, _renamed_over, _copied_with_its_times]


def _one_for_each(world: World) -> dict[Path, Callable[[Path, bytes], None]]:
    """A file with the answer «да» for each way of replacing it, which is also the name of its model."""
    return {world.write(f"{replace.__name__}.jsonl", answer(1, "да")): replace for replace in REPLACED}


NAMES = tuple(sorted(f"{replace.__name__}.jsonl" for replace in REPLACED))
ANOTHER_ANSWER = sorted((replace.__name__, "1", 0, "не") for replace in REPLACED)


def test_a_file_that_was_replaced_is_read_also_with_the_same_size_and_time(asked: World) -> None:
    paths = _one_for_each(asked)
    asked.sync()
    for path, replace in paths.items():
        body, info, before = path.read_bytes(), path.stat(), fingerprint(asked.landing)
        replace(path, _yes_to_not(body))
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (info.st_size, info.st_mtime_ns)
        assert fingerprint(asked.landing) != before
    assert asked.sync().loaded == NAMES
    assert asked.outputs() == ANOTHER_ANSWER


def _blind_to_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that keeps neither a time of change nor inodes."""
    of = LandingFile.of
    monkeypatch.setattr(LandingFile, "of", lambda *args: dataclasses.replace(of(*args), ctime_ns=0, inode=0))


def test_where_times_are_not_trusted_the_bytes_tell(asked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _blind_to_changes(monkeypatch)
    paths = _one_for_each(asked)
    first = sync(asked.con, asked.landing, run_id="r", taxonomy=None, trust_times=False)
    assert sorted(first.loaded) == sorted(("instructions.jsonl", *NAMES))
    before = fingerprint(asked.landing, trust_times=False)
    again = sync(asked.con, asked.landing, run_id="r", taxonomy=None, trust_times=False)
    assert (again.loaded, again.rehashed) == ((), ())
    assert fingerprint(asked.landing, trust_times=False) == before
    for path, replace in paths.items():
        body, info, before = path.read_bytes(), path.stat(), fingerprint(asked.landing, trust_times=False)
        replace(path, _yes_to_not(body))
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
        assert fingerprint(asked.landing, trust_times=False) != before
    assert sync(asked.con, asked.landing, run_id="r", taxonomy=None, trust_times=False).loaded == NAMES
    assert asked.outputs() == ANOTHER_ANSWER


def test_a_file_that_is_replaced_while_it_is_read_is_left_to_the_next_sync(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {path.name: (path, replace, path.read_bytes()) for path, replace in _one_for_each(asked).items()}

    def replaced_meanwhile(name: str, document: object) -> object:
        if name in paths:
            path, replace, body = paths[name]
            info = path.stat()
            replace(path, _yes_to_not(body))
            os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
        return context_of(name, document)

    with monkeypatch.context() as patch:
        patch.setattr(load, "context_of", replaced_meanwhile)
        report = asked.sync()
    assert tuple(path for path, _ in report.ignored) == NAMES
    assert asked.outputs() == []
    asked.sync()
    assert asked.outputs() == ANOTHER_ANSWER


def test_a_warehouse_of_before_inodes_were_kept_hashes_once_more_and_changes_nothing(asked: World) -> None:
    asked.write("m.jsonl", answer(1))
    asked.sync()
    asked.con.execute("ALTER TABLE landing.files DROP COLUMN ctime_ns; ALTER TABLE landing.files DROP COLUMN inode")
    create_schema(asked.con)
    before = asked.rows("FROM landing.resolution")
    report = asked.sync()
    assert (report.loaded, report.changed_models) == ((), ())
    assert "m.jsonl" in report.rehashed
    assert asked.sync().rehashed == ()
    assert asked.rows("FROM landing.resolution") == before


def test_a_file_with_a_new_time_and_the_same_content_is_hashed_and_not_parsed(asked: World) -> None:
    path = asked.write("m.jsonl", answer(1))
    asked.sync()
    os.utime(path, ns=(1, 1))
    report = asked.sync()
    assert (report.loaded, report.rehashed) == ((), ("m.jsonl",))
    assert asked.sync().rehashed == ()


def test_a_changed_file_replaces_its_own_rows_and_no_others(asked: World) -> None:
    asked.write("a.jsonl", answer(1, "старый"), answer(2))
    asked.write("b.jsonl", answer(1))
    asked.sync()
    asked.write("a.jsonl", answer(1, "новый ответ"))
    report = asked.sync()
    assert report.loaded == ("a.jsonl",)
    assert report.changed_models == ("a",)
    assert asked.outputs() == [("a", "1", 0, "новый ответ"), ("b", "1", 0, "ответ")]


def test_a_removed_file_is_reported_and_its_rows_go(asked: World) -> None:
    path = asked.write("a.jsonl", answer(1), "{broken")
    asked.sync()
    path.unlink()
    report = asked.sync()
    assert report.removed == ("a.jsonl",)
    assert report.changed_models == ("a",)
    assert asked.outputs() == []
    assert asked.rejected() == []
    assert asked.rows("SELECT status, row_count FROM landing.files WHERE file_path = 'a.jsonl'") == [("removed", 0)]
    assert asked.sync().removed == ()


def test_a_file_that_comes_back_is_read_again(asked: World) -> None:
    path = asked.write("a.jsonl", answer(1))
    asked.sync()
    body, info = path.read_bytes(), path.stat()
    path.unlink()
    asked.sync()
    path.write_bytes(body)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert asked.sync().loaded == ("a.jsonl",)
    assert len(asked.outputs()) == 1


def test_an_instruction_that_arrives_late_brings_its_answers_in(world: World) -> None:
    world.write("m.jsonl", answer(1))
    world.sync()
    assert world.rejected() == [("m.jsonl", 1, "unknown_prompt")]
    world.write("instructions.jsonl", instruction(1))
    report = world.sync()
    assert report.loaded == ("instructions.jsonl",)
    assert world.outputs() == [("m", "1", 0, "ответ")]
    assert world.rejected() == []


def test_nothing_new_changes_nothing(asked: World) -> None:
    asked.write("m.jsonl", answer(1))
    asked.sync()
    before = asked.rows("FROM landing.resolution")
    report = asked.sync()
    assert (report.loaded, report.removed, report.changed_models) == ((), (), ())
    assert asked.rows("FROM landing.resolution") == before


def test_a_sync_killed_before_resolving_is_finished_by_the_next(asked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.write("m.jsonl", answer(1))

    def killed(con: duckdb.DuckDBPyConnection, *, judge_reasoning: bool) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sync_module, "resolve_if_changed", killed)
        asked.sync()
    assert asked.outputs() == []
    assert asked.sync().loaded == ()
    assert asked.outputs() == [("m", "1", 0, "ответ")]


def test_the_order_in_which_files_came_does_not_matter(tmp_path: Path) -> None:
    names = ["a/one.jsonl", "b/one.jsonl", "instructions.jsonl"]
    rows = {
        names[0]: [answer(1, "первый", model_id="m"), answer(2, model_id="m")],
        names[1]: [answer(1, "второй", model_id="m"), answer(2, model_id="m")],
        names[2]: [instruction(1), instruction(2)],
    }
    results = []
    for order in (names, names[::-1]):
        landing = tmp_path / f"landing-{order[0].replace('/', '-')}"
        landing.mkdir()
        with duckdb.connect(config={"threads": 1}) as con:
            create_schema(con)
            world = World(landing, con)
            for name in order:
                world.write(name, *rows[name])
                sync(con, landing, run_id="r", taxonomy=None)
            results.append((world.outputs(), world.rejected()))
    assert results[0] == results[1]
    assert results[0][1] == [("b/one.jsonl", 1, "conflicting_duplicate"), ("b/one.jsonl", 2, "duplicate")]


def test_what_a_removed_file_alone_had_leaves_nothing_behind(asked: World) -> None:
    """Steps of the resolution that have nothing to do are skipped: what they left last time goes all the same."""
    asked.write("m.jsonl", answer(1))
    asked.sync()
    names = [name for (name,) in asked.rows("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'raw'")]
    before = {name: asked.rows(f"FROM raw.{name} ORDER BY ALL") for name in names}
    scored = {"prompt_id": 1, "model_id": "m", "criteria_name": "Польза", "annotator": "Анна"}
    failed = {"custom_id": "2", "response": None, "error": {"code": "batch_expired"}}
    others = [
        asked.write("scores.jsonl", scored | {"score": 1}, scored | {"prompt_id": 2, "score": 7}),
        asked.write("carried.jsonl", answer("c", instruction="Который час?"), answer("c", instruction="Кто там?")),
        asked.write("reference_answer/gold.jsonl", answer(1, "эталон"), answer(9, "эталон")),
        asked.write("batch.jsonl", failed),
    ]
    asked.sync()
    assert asked.rows("SELECT prompt_id, score FROM raw.human_scores") == [("1", 1.0)]
    assert ("c",) in asked.rows("SELECT prompt_id FROM raw.instructions")
    assert ("эталон",) in asked.rows("SELECT reference_answer FROM raw.instructions")
    assert {path for path, _, _ in asked.rejected()} == {path.relative_to(asked.landing).as_posix() for path in others}
    for path in others:
        path.unlink()
    asked.sync()
    assert {name: asked.rows(f"FROM raw.{name} ORDER BY ALL") for name in names} == before


def test_the_fingerprint_changes_with_names_sizes_and_times_only(asked: World) -> None:
    first = fingerprint(asked.landing)
    assert fingerprint(asked.landing) == first
    path = asked.write("m.jsonl", answer(1))
    second = fingerprint(asked.landing)
    os.utime(path, ns=(5, 5))
    third = fingerprint(asked.landing)
    path.unlink()
    assert len({first, second, third}) == 3
    assert fingerprint(asked.landing) == first


def test_links_that_leave_the_folder_and_hidden_or_half_copied_files_are_not_read(asked: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jsonl").write_text('{"prompt_id": 1, "answer": "секрет"}\n', "utf-8")
    (asked.landing / "link.jsonl").symlink_to(outside / "secret.jsonl")
    (asked.landing / "up.jsonl").symlink_to("../outside/secret.jsonl")
    (asked.landing / "folder").symlink_to(outside)
    (asked.landing / "nowhere.jsonl").symlink_to("missing.jsonl")
    os.mkfifo(asked.landing / "pipe.jsonl")
    asked.write(".hidden.jsonl", answer(1))
    asked.write(".cache/m.jsonl", answer(1))
    asked.write("m.jsonl.part", answer(1))
    for left_behind in ("desktop.ini", "Thumbs.db", "~$m.xlsx", "__MACOSX/m/m.jsonl"):
        asked.write(left_behind, answer(1))
    report = asked.sync()
    assert asked.outputs() == []
    assert [path for path, _ in report.ignored] == [
        "folder", "link.jsonl", "nowhere.jsonl", "pipe.jsonl", "up.jsonl"
    ]  # fmt: skip
    assert "not read: folder: a link to a folder is not followed" in str(report)


def test_a_link_inside_the_folder_is_read(asked: World) -> None:
    target = asked.write("store/answers-1.jsonl", answer(1, model_id="m"))
    target.rename(asked.landing / "store" / ".kept")
    (asked.landing / "m.jsonl").symlink_to(asked.landing / "store" / ".kept")
    asked.sync()
    assert asked.outputs() == [("m", "1", 0, "ответ")]


def test_a_missing_landing_folder_is_an_error_that_says_so(world: World, tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="landing folder"):
        world.sync(landing=tmp_path / "nowhere")


def _deny_folder(monkeypatch: pytest.MonkeyPatch, denied: Path) -> None:
    """As if the folder had mode 000, which says nothing to root."""
    scandir = os.scandir

    def listing(folder: str | Path) -> Any:
        if Path(folder) == denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", listing)


def _deny_file(monkeypatch: pytest.MonkeyPatch, denied: Path) -> None:
    open_, access = LandingFile.open, os.access

    def opened(file: LandingFile) -> BufferedReader:
        if file.absolute == denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(denied))
        return open_(file)

    monkeypatch.setattr(LandingFile, "open", opened)
    monkeypatch.setattr(os, "access", lambda path, mode: path != denied and access(path, mode))


def test_a_file_that_could_not_be_read_is_tried_again_at_each_sync(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asked.write("m.jsonl", answer(1))
    with monkeypatch.context() as patch:
        _deny_file(patch, path)
        asked.sync()
        assert asked.rejected() == [("m.jsonl", 0, "unreadable_file")]
        report = asked.sync()
        assert (report.loaded, report.rehashed, report.rejected) == ((), (), 1)
        denied = fingerprint(asked.landing)
    assert fingerprint(asked.landing) != denied
    assert asked.sync().loaded == ("m.jsonl",)
    assert (asked.outputs(), asked.rejected()) == ([("m", "1", 0, "ответ")], [])
    assert asked.sync().loaded == ()


def test_a_file_that_fails_in_the_middle_is_tried_again(asked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.write("m.jsonl", answer(1))

    def failing(path: str, document: object) -> object:
        if path == "m.jsonl":
            raise OSError(errno.EIO, "Input/output error")
        return context_of(path, document)

    with monkeypatch.context() as patch:
        patch.setattr(load, "context_of", failing)
        asked.sync()
    assert asked.rejected() == [("m.jsonl", 0, "unreadable_file")]
    asked.sync()
    assert (len(asked.outputs()), asked.rejected()) == (1, [])


def test_a_folder_that_cannot_be_listed_is_reported_and_its_files_are_kept(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asked.write("models/org/m.jsonl", answer(1))
    asked.write("models.jsonl", answer(1))
    asked.sync()
    with monkeypatch.context() as patch:
        _deny_folder(patch, path.parent.parent)
        (asked.landing / "models.jsonl").unlink()
        report = asked.sync()
    assert (report.loaded, report.removed) == ((), ("models.jsonl",))
    assert report.ignored == (("models", "cannot be looked at: Permission denied"),)
    assert "not read: models: cannot be looked at: Permission denied" in str(report)
    assert asked.outputs() == [("m", "1", 0, "ответ")]
    path.unlink()
    assert asked.sync().removed == ("models/org/m.jsonl",)


def test_a_landing_folder_that_cannot_be_listed_loses_nothing(asked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.write("m.jsonl", answer(1))
    asked.sync()
    _deny_folder(monkeypatch, asked.landing)
    report = asked.sync()
    assert (report.removed, [path for path, _ in report.ignored]) == ((), ["."])
    assert len(asked.outputs()) == 1


def test_a_file_in_a_folder_that_lists_but_does_not_let_in_is_kept(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asked.write("models/m.jsonl", answer(1))
    asked.sync()
    lstat = os.lstat

    def denied(looked_at: str, **options: object) -> os.stat_result:
        if looked_at == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", looked_at)
        return lstat(looked_at, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "lstat", denied)
    report = asked.sync()
    assert (report.removed, report.ignored) == ((), (("models/m.jsonl", "cannot be looked at: Permission denied"),))
    assert len(asked.outputs()) == 1


@pytest.mark.slow
def test_answers_too_long_for_little_memory_get_all_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_memory, "_KEPT_MB", 30)
    monkeypatch.setattr(duckdb_memory, "_LEAST_MB_A_THREAD", 0)
    ran_out = []

    @contextmanager
    def watched(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
        try:
            with duckdb_memory.memory_kept_low(con):
                yield
        except duckdb.OutOfMemoryException as error:
            ran_out.append(error)
            raise

    monkeypatch.setattr(resolve, "memory_kept_low", watched)
    (tmp_path / "landing").mkdir()
    with connect(tmp_path / "warehouse.duckdb", settings={"memory_limit": "600MB"}) as con:
        create_schema(con)
        world = World(tmp_path / "landing", con)
        world.write("instructions.jsonl", *map(instruction, range(40)))
        world.write("m.jsonl", *({**answer(n), "answer": str(n) * 1_000_000} for n in range(40)))
        world.sync()
        assert len(ran_out) == 1
        assert world.rows("SELECT count(*), min(length(answer)) FROM raw.model_outputs") == [(40, 1_000_000)]
        assert str(world.rows("SELECT current_setting('memory_limit')")[0][0]).startswith("572."), "rounded down"
