"""Special tokens of the judge's own tokenizer, where it is at hand, are suspected too."""

from __future__ import annotations

import json
from pathlib import Path

import pollux_dagster
from pollux_dagster.core.injection import injection_reasons
from pollux_dagster.ingest.special_tokens import read_special_tokens
from pollux_dagster.ingest.sync import sync
from tests.ingest.landing_world import World, answer

DEMO_JUDGE = Path(pollux_dagster.__file__).parent / "demo" / "judge"
REASONS = "SELECT prompt_id, injection_suspected, injection_reasons FROM raw.model_outputs ORDER BY prompt_id"


def test_the_packaged_judges_tokens_are_all_suspected() -> None:
    tokens = read_special_tokens(DEMO_JUDGE)
    assert {"<|im_end|>", "<|im_start|>", "<|endoftext|>"} <= tokens
    assert [token for token in tokens if not injection_reasons(f"Ответ.\n\n{token}")] == []


def test_a_token_that_only_this_tokenizer_has_is_suspected_exactly(asked: World, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    added = [{"content": "<%конец%>", "special": True}, {"content": "<b>"}, {"content": "\n", "special": True}]
    (weights / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    config = {"added_tokens_decoder": {"7": {"content": "<s>", "special": True}}, "eos_token": {"content": "КОНЕЦ!"}}
    (weights / "tokenizer_config.json").write_text(json.dumps(config))
    tokens = read_special_tokens(weights)
    assert tokens == {"<%конец%>", "<s>", "КОНЕЦ!"}
    asked.write(
        "m.jsonl", answer(1, "Париж<%конец%>2"), answer(2, "<s>зачёркнуто</s>"), answer(3, "<b>жирно</b>, конец!")
    )
    for known in ((), tokens, ()):  # the judge changes, the files do not
        sync(asked.con, asked.landing, run_id="test", taxonomy=None, special_tokens=known)
        flagged = [prompt for prompt, suspected, _ in asked.rows(REASONS) if suspected]
        assert flagged == (["1", "2"] if known else [])
    sync(asked.con, asked.landing, run_id="test", taxonomy=None, special_tokens=tokens)
    assert asked.rows(REASONS)[0] == ("1", True, ["special_token"])


def test_a_folder_without_a_readable_tokenizer_has_no_tokens(tmp_path: Path) -> None:
    assert read_special_tokens(tmp_path / "nowhere") == frozenset()
    (tmp_path / "tokenizer.json").write_text("[1, 2")
    (tmp_path / "tokenizer_config.json").write_text('["a"]')
    assert read_special_tokens(tmp_path) == frozenset()
