"""Watching a landing folder: every change is seen, and nobody waits for a folder of millions of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollux_dagster.ingest import watch
from pollux_dagster.ingest.scan import fingerprint, scan
from pollux_dagster.ingest.watch import FolderWatch


def settle(folder: FolderWatch) -> str:
    while (state := folder.state()) is None:
        pass
    return state


def test_a_small_folder_is_looked_at_within_the_call(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    assert FolderWatch(tmp_path).state() == fingerprint(tmp_path)


def test_a_look_that_takes_longer_than_the_callers_patience_is_handed_to_a_later_call_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "slow"
    os.mkfifo(fifo)
    # The look stands still until somebody writes to the pipe: a folder that takes as long as this test wants.
    slow = FolderWatch(tmp_path, patience_s=0.01, free_s=0.0)

    def look(folder: Path, *, trust_times: bool) -> str:
        with fifo.open():
            return fingerprint(folder, trust_times=trust_times)

    monkeypatch.setattr(watch, "fingerprint", look)
    assert slow.state() is None
    assert slow.state() is None
    (tmp_path / "late.jsonl").write_text("{}")
    with fifo.open("w"):
        pass
    assert settle(slow) == fingerprint(tmp_path)
    assert slow.state() is None, "after a look it rests"


def test_a_folder_that_is_gone_is_told_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "landing"
    watched = FolderWatch(folder)
    with pytest.raises(NotADirectoryError):
        watched.state()
    folder.mkdir()
    assert settle(watched) == fingerprint(folder)


def test_a_look_does_not_depend_on_the_order_in_which_the_system_lists_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{folder}/{i}.jsonl" for folder in ("b", "a", "a.b", "a/c") for i in range(20)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = fingerprint(tmp_path)
    walk = os.walk

    def backwards(*arguments: Any, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, subfolders, files in walk(*arguments, **options):
            subfolders.sort(reverse=True)
            files.sort(reverse=True)
            yield folder, subfolders, files

    monkeypatch.setattr(os, "walk", backwards)
    assert fingerprint(tmp_path) == found
    assert [file.path for file in scan(tmp_path).files] == sorted(names)


def test_a_single_file_is_a_folder_that_holds_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text("{}")
    real = tmp_path / "real.jsonl"
    real.write_text("{}")
    (tmp_path / ".one.jsonl").symlink_to(real)
    found = scan(tmp_path / ".one.jsonl")
    assert [(file.path, file.open().read()) for file in found.files] == [(".one.jsonl", b"{}")]
    assert (found.ignored, found.unreadable) == ((), frozenset())
    before = fingerprint(real)
    (tmp_path / "other.jsonl").write_text("{ }")
    assert fingerprint(real) == before
    real.write_text("{  }")
    assert fingerprint(real) != before
