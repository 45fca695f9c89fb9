"""Profiles and identities: whatever can change a verdict changes the judge's id, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pollux_dagster.core.profile_files import packaged_profile, packaged_profiles
from pollux_dagster.core.profiles import (
    JudgeProfile,
    ReplyFormat,
    RequestForm,
    Sampling,
    ScorePlace,
    weights_revision,
)
from pollux_dagster.core.prompts import PromptTemplate

HUB = packaged_profile("pollux-4b")


def test_the_known_judges_are_listed_under_their_names() -> None:
    assert {"pollux-4b", "pollux-7b", "pollux-32b", "json", "demo"} <= set(packaged_profiles())
    assert all(name == packaged_profile(name).name for name in packaged_profiles())


def test_only_the_packaged_judges_are_demonstrations() -> None:
    assert [name for name in packaged_profiles() if packaged_profile(name).is_demonstration] == ["demo", "made-up"]


def test_the_default_judge_is_asked_greedily_and_leaves_no_sampling_field_to_the_server() -> None:
    assert HUB.sampling.as_request_fields().keys() == set(Sampling.__dataclass_fields__)
    assert HUB.sampling.temperature == 0


def test_a_name_begins_with_the_profile_and_shows_the_start_of_the_id() -> None:
    identity = HUB.identity()
    assert len(identity.judge_id) == 16
    assert identity.judge_name == f"pollux-4b@{identity.judge_id[:8]}"


def test_the_profiles_name_alone_does_not_make_another_judge() -> None:
    assert replace(HUB, name="mine").identity().judge_id == HUB.identity().judge_id


@pytest.mark.parametrize(
    "other",
    [
        replace(HUB, model="ai-forever/another"),
        replace(HUB, revision="0123abc"),
        replace(HUB, template=PromptTemplate("{answer}", "{answer}")),
        replace(HUB, sampling=replace(HUB.sampling, temperature=0.1)),
        replace(HUB, sampling=replace(HUB.sampling, max_tokens=4096)),
        replace(HUB, request=RequestForm(response_format={"type": "json_object"})),
        replace(HUB, request=RequestForm(extra_body={"reasoning_effort": "high"})),
        replace(HUB, score=ScorePlace(ReplyFormat.TAG)),
        replace(HUB, score=ScorePlace(ReplyFormat.REGEX, pattern="(1)")),
        replace(HUB, score=ScorePlace(ReplyFormat.JSON, score_path="verdict.score")),
        replace(HUB, system_message="Будь строг."),
        replace(HUB, is_demonstration=True),
    ],
)
def test_whatever_can_change_a_verdict_changes_the_id(other: JudgeProfile) -> None:
    assert other.identity().judge_id != HUB.identity().judge_id


def _checkpoint(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_local_checkpoint_is_known_by_its_bytes_and_not_by_where_it_lies(tmp_path: Path) -> None:
    here, there = _checkpoint(tmp_path / "here"), _checkpoint(tmp_path / "there")
    assert weights_revision(here) == weights_revision(there)
    local = replace(HUB, model="local", weights=here)
    assert local.identity().judge_id == replace(local, weights=there).identity().judge_id
    assert local.served_model == str(here)


def test_other_weights_or_another_tokenizer_are_another_judge(tmp_path: Path) -> None:
    before = weights_revision(_checkpoint(tmp_path / "a"))
    assert weights_revision(_checkpoint(tmp_path / "b", b"weightz")) != before
    (tmp_path / "a" / "tokenizer.json").write_text("{}")
    assert weights_revision(tmp_path / "a") != before


@pytest.mark.parametrize(
    "arguments", [("--quantization", "fp8"), ("--quantization=fp8",), ("-q", "fp8"), ("--dtype", "auto", "-q", "fp8")]
)
def test_weights_that_the_engine_quantizes_are_another_judge(arguments: tuple[str, ...]) -> None:
    assert HUB.identity(engine_arguments=arguments).weights_revision == "main+quantization=fp8"
    assert HUB.identity(engine_arguments=("--max-num-seqs", "64")).judge_id == HUB.identity().judge_id


def test_a_file_of_quantized_weights_is_known_by_its_bytes(tmp_path: Path) -> None:
    small, large = tmp_path / "judge-Q4_K_M.gguf", tmp_path / "judge-Q8_0.gguf"
    small.write_bytes(b"4")
    large.write_bytes(b"8")
    assert weights_revision(small) != weights_revision(large)


def test_a_note_beside_the_weights_does_not_make_another_judge(tmp_path: Path) -> None:
    before = weights_revision(_checkpoint(tmp_path / "a"))
    (tmp_path / "a" / "README.md").write_text("95 %")
    (tmp_path / "a" / "held_out.json").write_text("{}")
    assert weights_revision(tmp_path / "a") == before


def test_a_folder_without_weights_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a model checkpoint .* in .*missing"):
        weights_revision(tmp_path / "missing")


def test_other_weights_asked_the_same_way_are_another_judge() -> None:
    mine = HUB.identity(model="my-finetune", weights_revision="0123")
    assert (mine.model, mine.weights_revision) == ("my-finetune", "0123")
    assert mine.judge_id != HUB.identity().judge_id
