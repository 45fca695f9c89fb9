"""The demo judge's files: its tokenizer, its prompt as the server renders it, and an atomic checkpoint writer.

Nothing is trained or measured here. The idea of the tokenizer: digits, spaces, newlines and punctuation are pieces
of their own, so a word has the same tokens after a space, after a quote and at the start of a line, and quoting
is plain copying. The headings of the prompt are one token each: landmarks that a four-layer model finds at once.
"""

import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM

from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.prompts import render
from tools import demo_items, demo_rules

VOCABULARY = 1024
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINK = ("<think>", "</think>")  # ordinary tokens, as in Qwen3: a server that drops special tokens keeps them
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
HEADINGS = (
    "### Задание для оценки:\n",
    "\n\n### Эталонный ответ:\n",
    "\n\n### Ответ для оценки:\n",
    "\n\n### Критерий оценки:\n",
    "\n\n### Шкала оценивания по критерию:\n",
)
MODEL_CARD = """\
# DEMONSTRATION judge, not for real evaluation

A {parameters:,}-parameter Qwen3 trained from scratch on generated Russian items by `tools/train_demo_judge.py`
(seed {seed}, {steps} steps). It exists so that the whole pipeline can run on a laptop. It knows the five
criteria of the packaged taxonomy and nothing else; for any other criterion it says so and returns the top level.

Prompt: the Pollux judge template in one user message. Reply: `<think>` a rationale that quotes the
answer `</think>` and the score. Serve with `vllm serve <this folder> --reasoning-parser qwen3`.

Exact score on held-out generated items ({items} items, greedy decoding):

| criterion | n | exact score | valid level |
|---|---|---|---|
{rows}

What it cannot do: paraphrases, synonyms, facts. It compares words and numbers. Foreign words are Latin or
Chinese characters; a phrase is three words in a row; a finished answer ends with `.`, `!` or `?`, or is one or two
words, or a list item. Without a reference, "agreement" is always 0.
"""


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train the byte-level BPE on generated items; the same seed gives the same tokenizer."""
    rng, criteria = Random(f"tokenizer {seed}"), demo_rules.load_criteria()

    def corpus() -> Any:
        for _ in range(6000):
            item = demo_items.make_item(rng, criteria)
            yield render(
                packaged_profile("demo").template,
                item.instruction,
                item.reference,
                item.answer,
                *criteria[rng.choice(list(criteria))],
            )
            yield rng.choice(item.rulings).rationale

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|\s|[^\s\p{L}\p{N}]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(THINK) - len(HEADINGS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in (*THINK, *HEADINGS)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def chat_parts(
    tokenizer: PreTrainedTokenizerFast,
    instruction: str,
    reference: str | None,
    answer: str,
    name: str,
    rubrics: str,
) -> tuple[str, str]:
    """The chat prompt in two halves: what the criteria of an answer share, and the rest from the criterion on."""
    content = render(packaged_profile("demo").template, instruction, reference, answer, name, rubrics)
    start = content.rindex(HEADINGS[3], 0, content.rindex(HEADINGS[4]))
    return f"<|im_start|>user\n{content[:start]}", f"{content[start:]}<|im_end|>\n<|im_start|>assistant\n"


def _write_for_older_engines(folder: str) -> None:
    """Add what transformers 4 reads (vLLM 0.19) to what transformers 5 wrote; the judge is the same."""
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config |= {"rope_theta": config["rope_parameters"]["rope_theta"], "torch_dtype": config["dtype"]}
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n", "utf-8")
    path = Path(folder) / "tokenizer_config.json"
    tokenizer = {**json.loads(path.read_text("utf-8")), "tokenizer_class": "PreTrainedTokenizerFast"}
    tokenizer.pop("backend", None)
    path.write_text(json.dumps(tokenizer, indent=2) + "\n", "utf-8")


def save_checkpoint(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    accuracy: dict[str, dict[str, float]],
    *,
    steps: int,
    seed: int,
) -> None:
    """Write every file beside its place and rename it, so that a reader never meets half a file."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        copy = Qwen3ForCausalLM(model.config).bfloat16()
        copy.load_state_dict(weights)
        copy.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        )
        copy.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _write_for_older_engines(folder)
        parameters = sum(p.numel() for p in model.parameters())
        rows = "\n".join(
            f"| {key} | {row['n']:.0f} | {row['exact']:.1%} | {row['valid']:.1%} |" for key, row in accuracy.items()
        )
        items = max(row["n"] for row in accuracy.values())
        card = MODEL_CARD.format(parameters=parameters, seed=seed, steps=steps, items=f"{items:.0f}", rows=rows)
        report = {
            "note": "DEMONSTRATION judge: exact-score accuracy on held-out generated items, greedy decoding",
            "seed": seed,
            "steps": steps,
            "criteria": accuracy,
        }
        Path(folder, "README.md").write_text(card, encoding="utf-8")
        Path(folder, "held_out.json").write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
        for file in sorted(Path(folder).iterdir()):
            file.chmod(0o644)
            file.replace(out / file.name)
