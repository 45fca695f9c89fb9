"""The fuzz targets on their seeds and on what hypothesis makes of them: quick, and without atheris."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_targets import TARGETS

ROOT = Path(__file__).parents[2]
FINDINGS = sorted((Path(__file__).parent / "findings").glob("*/*"))
TOKENS = (b"\x00", b"\xff", b"\n", b'"', b"{", b"[", b":", b"\\ud800", b"1e999", b"-0", b"\xd0", b"*/", b"\x1f", b"NaN")


@st.composite
def damaged(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with up to four edits: a piece cut out, a token put in, a piece repeated, a byte changed."""
    body = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 12))
        match draw(st.integers(0, 3)):
            case 0:
                del body[at : at + length]
            case 1:
                body[at:at] = draw(st.sampled_from(TOKENS) | st.binary(max_size=4))
            case 2:
                body[at:at] = body[at : at + length] * draw(st.integers(1, 20))
            case 3 if body:
                body[at % len(body)] = draw(st.integers(0, 255))
    return bytes(body)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_reader_keeps_its_promises_on_its_seeds(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_reader_keeps_its_promises_on_damaged_input(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(damaged(tuple(target.seeds)) | st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
    def keeps_its_promises(data: bytes) -> None:
        target.check(data)

    keeps_its_promises()


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_the_fuzzer_found_once_stays_mended(finding: Path) -> None:
    TARGETS[finding.parent.name].check(finding.read_bytes())


@pytest.mark.slow
def test_a_finding_can_be_replayed_without_the_fuzzer(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"0: a\n1: b")
    command = [sys.executable, "-m", "tests.fuzz.fuzz", "rubrics", "--replay", str(tmp_path / "input")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "nothing wrong" in done.stdout
