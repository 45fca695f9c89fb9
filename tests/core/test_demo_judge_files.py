"""The shipped demonstration judge is small, complete, readable by any user, and says what it is.

No server and no weights run here: these are the checks that must hold before anything is worth starting.
"""

import hashlib
import json
import stat
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.prompts import render
from tools import demo_items, demo_rules

ROOT = Path(__file__).resolve().parents[2]
JUDGE = ROOT / "pollux_dagster" / "demo" / "judge"
CRITERIA = json.loads((ROOT / "pollux_dagster" / "taxonomy" / "criteria.json").read_text(encoding="utf-8"))


def read(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((JUDGE / name).read_text(encoding="utf-8"))
    return content


def test_the_checkpoint_is_at_most_eight_megabytes_and_readable_by_everyone() -> None:
    files = [path for path in JUDGE.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert all(path.stat().st_mode & stat.S_IROTH for path in files)


def test_the_configuration_is_a_tied_qwen3_that_fits_its_vocabulary() -> None:
    config = read("config.json")
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["tie_word_embeddings"] is True
    assert config["vocab_size"] == 1024
    assert config["max_position_embeddings"] == 4096


def test_engines_with_transformers_4_read_the_same_judge() -> None:
    # vLLM 0.19 knows neither the tokenizer class of transformers 5 nor `rope_parameters`.
    config = read("config.json")
    assert config["rope_parameters"] == {"rope_theta": config["rope_theta"], "rope_type": "default"}
    assert config["torch_dtype"] == config["dtype"]
    assert read("tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_the_stated_revision_is_that_of_these_weights() -> None:
    weights = hashlib.sha256((JUDGE / "model.safetensors").read_bytes()).hexdigest()
    tokenizer = hashlib.sha256((JUDGE / "tokenizer.json").read_bytes()).hexdigest()
    stated = packaged_profile("demo").identity().weights_revision
    assert (weights, tokenizer, stated[:8]) == (
        "ef4d3b5d5a5a8444e069cf8eb11d17c98b17a6ca3338bca42888c4ed35c648de",
        "d0445b74112ad8178236c9396f21a1d09beb14f7a261c46737a2e4e5a56b68aa",
        "dfca15da",
    )


def test_the_model_card_says_in_its_first_line_that_this_is_a_demonstration() -> None:
    assert "DEMONSTRATION" in (JUDGE / "README.md").read_text(encoding="utf-8").splitlines()[0]
    assert "DEMONSTRATION" in str(read("held_out.json")["note"])


@pytest.mark.parametrize("key", CRITERIA)
def test_every_criterion_of_the_taxonomy_is_judged_well_enough(key: str) -> None:
    measured = read("held_out.json")["criteria"]
    assert isinstance(measured, dict)
    assert measured[key]["n"] >= 200
    assert measured[key]["exact"] >= 0.9


def test_the_tokenizer_gives_back_what_it_reads() -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="comes with the vllm extra")
    tokenizer = tokenizers.Tokenizer.from_file(str(JUDGE / "tokenizer.json"))
    for text in ("Ответ: 1 961 год, «Восток»…\n\n- пункт\t№2", "however 的 👍 Ёж", "<think>\nда\n</think>\n\n2"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_a_word_has_the_same_tokens_wherever_it_stands() -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="comes with the vllm extra")
    tokenizer = tokenizers.Tokenizer.from_file(str(JUDGE / "tokenizer.json"))
    word = tokenizer.encode("Канберра").tokens
    assert tokenizer.encode("это Канберра.").tokens[-len(word) - 1 : -1] == word
    assert tokenizer.encode("«Канберра»").tokens[-len(word) - 1 : -1] == word
    assert tokenizer.encode("1961").tokens == ["1", "9", "6", "1"]


def test_think_marks_survive_a_server_that_drops_special_tokens() -> None:
    added = {token["content"]: token["special"] for token in read("tokenizer.json")["added_tokens"]}  # type: ignore[attr-defined]
    assert added["<think>"] is False
    assert added["</think>"] is False
    assert added["<|im_end|>"] is True


def test_the_chat_template_wraps_the_prompt_that_the_client_renders() -> None:
    jinja2 = pytest.importorskip("jinja2")
    name, rubrics = demo_rules.load_criteria()["reference_agreement"]
    content = render(packaged_profile("demo").template, "Сколько {N}?", "8", "Восемь.", name, rubrics)
    template = jinja2.Environment().from_string((JUDGE / "chat_template.jinja").read_text(encoding="utf-8"))
    text = template.render(messages=[{"role": "user", "content": content}], add_generation_prompt=True)
    assert text == f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("answer", "repetition", "foreign", "ending"),
    [
        ("Столица Австралии — Канберра.", "2", "2", "1"),
        ("Река впадает в море. Река впадает в море.", "1", "2", "1"),
        ("да да да да да да", "0", "2", "0"),
        ("Это город, it is nice, и туда едут tourists.", "2", "0", "1"),
        ("В XIX веке формула x = 5 была известна", "2", "2", "0"),
        ("Канберра", "2", "2", "1"),
        ("1. хлеб\n2. сыр", "2", "2", "1"),
        ("Он вышел из дома и", "2", "2", "0"),
        ("Он вышел из дома…", "2", "2", "0"),
        ("", "2", "2", "0"),
    ],
)
def test_the_rules_read_plain_answers_as_a_person_would(
    answer: str, repetition: str, foreign: str, ending: str
) -> None:
    assert demo_rules.rule_on_repetition(answer)[1] == repetition
    assert demo_rules.rule_on_foreign(answer)[1] == foreign
    assert demo_rules.rule_on_ending(answer)[1] == ending


def test_generated_items_depend_on_the_seed_alone_and_score_within_their_rubrics() -> None:
    criteria = demo_rules.load_criteria()
    items = [demo_items.make_item(rng, criteria) for rng in [Random("a")] for _ in range(200)]
    again = [demo_items.make_item(rng, criteria) for rng in [Random("a")] for _ in range(200)]
    assert items == again
    for item in items:
        assert "\x01" not in f"{item.instruction}{item.reference}{item.answer}"
        for ruling in item.rulings:
            assert any(line.startswith(ruling.score) for line in ruling.rubrics.splitlines())


@pytest.mark.slow
def test_a_criterion_branch_of_a_training_row_gives_the_logits_of_its_own_prompt() -> None:
    torch = pytest.importorskip("torch", reason="comes with the vllm extra")
    transformers = pytest.importorskip("transformers", reason="comes with the vllm extra")
    from tools import train_demo_judge as trainer
    from tools.demo_branches import BRANCHES
    from tools.demo_checkpoint import chat_parts

    tokenizer = transformers.AutoTokenizer.from_pretrained(JUDGE)
    model = transformers.Qwen3ForCausalLM.from_pretrained(JUDGE, dtype=torch.float32)
    item = demo_items.make_item(Random("branch"), demo_rules.load_criteria())
    row = trainer.encode(item, tokenizer, Random(2), is_abridged=False)
    assert max(row.branch) >= 3
    learned = [i for i, (branch, weight) in enumerate(zip(row.branch, row.learn, strict=True)) if branch and weight]
    with torch.no_grad():
        separate = 0.0
        for ruling in item.rulings:
            prompt = "".join(
                chat_parts(tokenizer, item.instruction, item.reference, item.answer, ruling.name, ruling.rubrics)
            )
            reply = f"<think>\n{ruling.rationale}\n</think>\n\n{ruling.score}<|im_end|>"
            tokens = tokenizer(prompt + reply, add_special_tokens=False, return_tensors="pt")["input_ids"]
            count = len(tokenizer(reply, add_special_tokens=False)["input_ids"])
            if tokens[0, -count:].tolist() not in _replies(row):
                continue
            logits = model(input_ids=tokens).logits[0, -count - 1 : -1]
            separate += torch.nn.functional.cross_entropy(logits, tokens[0, -count:], reduction="sum").item()
        row.learn[:] = [weight if i in learned else 0.0 for i, weight in enumerate(row.learn)]
        model.set_attn_implementation(BRANCHES)
        together = trainer.loss_of(model, [row]).item()
    assert together == pytest.approx(separate, rel=1e-3)


def _replies(row: Any) -> list[list[int]]:
    """The learned tokens of every branch of a training row."""
    return [
        [t for t, b, w in zip(row.tokens, row.branch, row.learn, strict=True) if b == number and w]
        for number in range(1, max(row.branch) + 1)
    ]
