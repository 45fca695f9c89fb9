"""Exact-score accuracy of the demo judge on generated items it was never trained on.

Generation only, no training. The idea: the held-out items come from their own seed and are decoded greedily, so
the number in the model card can be measured again from the checkpoint alone.
"""

from random import Random

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from tools import demo_items, demo_rules
from tools.demo_checkpoint import chat_parts

BATCH = 64
REPLY_TOKENS = 200


def held_out_items(count: int, seed: int) -> list[demo_items.Item]:
    rng, criteria = Random(f"held out {seed}"), demo_rules.load_criteria()
    return [demo_items.make_item(rng, criteria) for _ in range(count)]


@torch.no_grad()
def measure(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, *, items: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return ``{criterion: {n, exact, valid}}``: shares of exact scores and of replies that are a level at all."""
    asked = [
        ("".join(chat_parts(tokenizer, item.instruction, item.reference, item.answer, r.name, r.rubrics)), r)
        for item in held_out_items(items, seed)
        for r in item.rulings
    ]
    asked.sort(key=lambda pair: len(pair[0]))
    found: dict[str, list[tuple[bool, bool]]] = {}
    tokenizer.padding_side = "left"
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        inputs = tokenizer([prompt for prompt, _ in batch], return_tensors="pt", padding=True, add_special_tokens=False)
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=REPLY_TOKENS,
            do_sample=False,
        )
        replies = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for (_, ruling), reply in zip(batch, replies, strict=True):
            score = reply.rpartition("</think>")[2].strip()
            levels = [line.replace(" — ", ":").split(":")[0] for line in ruling.rubrics.split("\n")]
            is_valid = any(score == level or level.startswith(f"{score}. ") for level in levels) and score != ""
            found.setdefault(ruling.criterion, []).append((score == ruling.score, is_valid))
    return {
        key: {
            "n": len(rows),
            "exact": sum(exact for exact, _ in rows) / len(rows),
            "valid": sum(valid for _, valid in rows) / len(rows),
        }
        for key, rows in sorted(found.items())
    }
