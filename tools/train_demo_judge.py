"""Train the demonstration judge: tokenizer and a 1.8M-parameter Qwen3 from scratch on generated Russian items.

Run ``python tools/train_demo_judge.py --out pollux_dagster/demo/judge --seed 0``. Items come from ``demo_items``,
the criteria from the package's taxonomy. The one idea: the five prompts of an answer differ only after the answer,
so an item is one row whose criteria are branches that all see the shared text and never each other; this halves
the tokens of a step and leaves every prompt exactly as the server will see it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import Queue, get_context
from pathlib import Path
from random import Random
from typing import cast

import demo_items
import demo_rules
import demo_words
import torch
from demo_checkpoint import build_tokenizer, chat_parts, save_checkpoint
from demo_copying import plant_copying_heads
from demo_held_out import measure
from torch.autograd.function import FunctionCtx, NestedIOFunction
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CONTEXT, KEY_GROUPS, ROPE_BASE = 4096, 2, 1e6
ROW_TOKENS = 3_000  # tokens in a step, padding included
SAVE_EVERY, WARMUP = 1850, 60  # steps
DRILLS = 80  # comparisons in the one step of a pool that has nothing else
POOL = 96  # items that are sorted by length together before they are cut into steps
# How often a criterion's branch is trained: comparing with a reference is the hard one, the rest come early.
PRACTICE = {
    "reference_agreement": 1.0,
    "no_repetition": 0.6,
    "no_foreign_artifacts": 0.45,
    "completeness_of_ending": 0.3,
    "refusal_stub": 0.4,
    "unknown": 1.0,
}
COPY_LESSONS, SHORT_LESSONS = 90, 900  # steps: only copying; answers that grow to their full length


@dataclass(frozen=True, slots=True)
class Row:
    """One item as tokens. ``branch`` is 0 for the shared text; ``learn`` weighs the tokens to be learned."""

    tokens: list[int]
    branch: list[int]
    position: list[int]
    learn: list[float]


def encode(item: demo_items.Item, tokenizer: PreTrainedTokenizerFast, rng: Random) -> Row:
    """Encode an item: shared text once, then one branch a criterion, with positions as in the separate prompts.

    One row in eight gets a gap in the positions of its shared text, so that distances of long prompts are learned
    from short ones.
    """

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def body(ruling: demo_items.Ruling) -> tuple[str, str]:
        return chat_parts(tokenizer, item.instruction, item.reference, item.answer, ruling.name, ruling.rubrics)

    shared = ids(body(item.rulings[0])[0])
    row = Row(shared, [0] * len(shared), positions(len(shared), rng), repeated(shared))
    start = row.position[-1] + 1
    for number, ruling in enumerate(item.rulings, start=1):
        share = PRACTICE[ruling.criterion]
        if item.reference is None and ruling.criterion == "reference_agreement":
            share = 0.2
        if rng.random() >= share:
            continue
        question = ids(body(ruling)[1])
        reply = ids(f"<think>\n{ruling.rationale}\n</think>\n\n{ruling.score}<|im_end|>")
        length = len(question) + len(reply)
        row.tokens.extend(question + reply)
        row.branch.extend([number] * length)
        row.position.extend(range(start, start + length))
        row.learn.extend([0.0] * len(question) + [1.0] * len(reply))
    return row


def positions(length: int, rng: Random) -> list[int]:
    """Positions of a shared text: consecutive, but in one row of eight with a gap of up to 2,000 somewhere."""
    result = list(range(length))
    if rng.random() < 1 / 8:
        spot, gap = rng.randrange(8, length), rng.randint(50, 2000)
        result[spot:] = [position + gap for position in result[spot:]]
    return result


def copy_row(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Row:
    """A row of the first lessons: words, then the same words from some word on. Only the repeat is learned.

    Quoting rests on copying: here the planted heads become exact before there is anything else to learn.
    """
    words = [demo_words.any_noun(rng).in_case(rng.choice(demo_words.CASES)) for _ in range(rng.randint(8, 30))]
    if rng.random() < 0.3:
        words = [demo_items.number(rng) for _ in words]
    start = rng.randrange(len(words) - 4)
    text = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    head = tokenizer("\n«" + words[start], add_special_tokens=False)["input_ids"]
    tail = tokenizer("".join(f" {word}" for word in words[start + 1 :]) + "»", add_special_tokens=False)["input_ids"]
    tokens = text + head + tail
    learn = [0.0] * (len(text) + len(head)) + [1.0] * len(tail)
    return Row(tokens, [0] * len(tokens), positions(len(tokens), rng), learn)


def drill_row(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Row:
    """A row that is only a comparison: two quotes as in a rationale, and the one word that compares them is learned."""
    said, true, agrees = demo_items.make_pair(rng)
    quotes = tokenizer(f"\nВ ответе: «{said}». В эталоне: «{true}». ", add_special_tokens=False)["input_ids"]
    verdict = tokenizer("Совпало" if agrees else "Не", add_special_tokens=False)["input_ids"]
    tokens = quotes + verdict
    return Row(tokens, [0] * len(tokens), list(range(len(tokens))), [0.0] * len(quotes) + [1.0] * len(verdict))


def repeated(tokens: list[int], size: int = 5) -> list[float]:
    """Weigh the tokens that end a run of ``size`` tokens seen before: they can be predicted by copying alone.

    Learning them too gives the copying heads, on which all quoting rests, far more practice than replies do.
    """
    seen: set[tuple[int, ...]] = set()
    marks = [0.0] * len(tokens)
    for end in range(size, len(tokens) + 1):
        run = tuple(tokens[end - size : end])
        marks[end - 1] = 0.1 if run in seen else 0.0
        seen.add(run)
    return marks


def steps(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[list[Row]]:
    """Yield the rows of every step; a function of the seed alone. The first lessons are copying and short answers."""
    rng, criteria, done = Random(f"train {seed}"), demo_rules.load_criteria(), 0
    while True:
        pool = [
            copy_row(tokenizer, rng)
            if done < COPY_LESSONS
            else encode(demo_items.make_item(rng, criteria, min(1.0, done / SHORT_LESSONS)), tokenizer, rng)
            for _ in range(POOL)
        ]
        pool.sort(key=lambda row: len(row.tokens))
        batches: list[list[Row]] = [[]]
        for row in pool:
            if batches[-1] and len(row.tokens) * (len(batches[-1]) + 1) > ROW_TOKENS:
                batches.append([])
            batches[-1].append(row)
        if done >= COPY_LESSONS:
            batches.append([drill_row(tokenizer, rng) for _ in range(DRILLS)])
        rng.shuffle(batches)
        for batch in batches:
            yield batch
            done += 1


def put_steps(queue: Queue[list[Row]], tokenizer: PreTrainedTokenizerFast, seed: int, total: int) -> None:
    for rows in islice(steps(tokenizer, seed), total):
        queue.put(rows)


def steps_ahead(tokenizer: PreTrainedTokenizerFast, seed: int, total: int) -> Iterator[list[Row]]:
    """The same steps, made by another process while this one computes: making rows keeps one core of two waiting."""
    context = get_context("fork")
    queue: Queue[list[Row]] = context.Queue(maxsize=50)
    context.Process(target=put_steps, args=(queue, tokenizer, seed, total), daemon=True).start()
    for _ in range(total):
        yield queue.get()


def loss_of(model: Qwen3ForCausalLM, rows: list[Row]) -> torch.Tensor:
    """Cross-entropy summed over the tokens to be learned, by weight."""
    width = max(len(row.tokens) for row in rows)

    def padded(lists: Sequence[Sequence[float]], filler: int) -> torch.Tensor:
        return torch.tensor([[*values, *[filler] * (width - len(values))] for values in lists])

    tokens = padded([row.tokens for row in rows], 0)
    branch = padded([row.branch for row in rows], -1)
    weight = padded([row.learn for row in rows], 0)[:, 1:]
    learned = weight > 0
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    visible = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    hidden = model.model(
        input_ids=tokens,
        attention_mask=torch.zeros(()).where(causal & visible, -torch.inf)[:, None],
        position_ids=padded([row.position for row in rows], 0),
        use_cache=False,
    ).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][learned])
    losses = torch.nn.functional.cross_entropy(logits, tokens[:, 1:][learned], reduction="none")
    return losses @ weight[learned]


def accumulate(model: Qwen3ForCausalLM, rows: list[Row], pool: ThreadPoolExecutor) -> float:
    """Add the gradients of a step, half the rows a thread; returns the mean loss of a learned token.

    Each thread computes with one core and they meet once a step: on a shared machine that wastes far less than two
    cores that meet at every operation. Two summands give the same sum in either order, so the step is reproducible.
    """
    learned = sum(sum(row.learn[1:]) for row in rows)

    def half(part: list[Row]) -> float:
        torch.set_num_threads(1)
        loss = loss_of(model, part) / learned
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    return sum(pool.map(half, [part for part in (rows[::2], rows[1::2]) if part]))


class _HalfPrecisionProduct(torch.autograd.Function):
    """``x @ weight.T`` with factors rounded to bfloat16, as the checkpoint will be; sums and results in float32.

    With the AVX512-BF16 or AMX instructions of a processor this halves the time of the products, half of a step.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        return (x @ weight.T).float()

    @staticmethod
    def backward(ctx: NestedIOFunction, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradient.bfloat16()
        by_weight = gradient.flatten(0, -2).T @ x.flatten(0, -2)
        return (gradient @ weight).float(), by_weight.float()


class _TrainingLinear(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, _HalfPrecisionProduct.apply(x, self.weight))  # type: ignore[no-untyped-call]


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        num_attention_heads=6,
        num_key_value_heads=KEY_GROUPS,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.03,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]
    plant_copying_heads(model, seed, key_groups=KEY_GROUPS, rope_base=ROPE_BASE)
    for layer in model.model.layers.modules():
        if type(layer) is torch.nn.Linear:
            layer.__class__ = _TrainingLinear
    return model


def optimizers_of(model: Qwen3ForCausalLM) -> list[tuple[torch.optim.Optimizer, float]]:
    """Optimizers and their peak rates: Muon for the layers' matrices in two halves, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in name)]
    return [
        *((torch.optim.Muon(half, weight_decay=0.02), 0.018) for half in (matrices[::2], matrices[1::2])),
        (torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0), 2e-3),
    ]


def update(optimizer: torch.optim.Optimizer) -> None:
    torch.set_num_threads(1)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def train(out: Path, seed: int, total: int) -> None:
    """Train for ``total`` steps, printing the progress and leaving a checkpoint in ``out`` now and then."""
    torch.set_num_threads(2)
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(seed)
    model = new_model(tokenizer, seed)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    optimizers = optimizers_of(model)
    started, seen, running, pool = time.monotonic(), 0, 0.0, ThreadPoolExecutor(2)
    for step, rows in enumerate(steps_ahead(tokenizer, seed, total), start=1):
        share = min(step / WARMUP, 1.0) * (1 - (step - 1) / total)
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * share
        loss = accumulate(model, rows, pool)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        list(pool.map(update, [optimizer for optimizer, _ in optimizers]))
        seen += sum(len(row.tokens) for row in rows)
        running = loss if step == 1 else 0.96 * running + 0.04 * loss
        if step % 25 == 0 or step == total:
            spent = time.monotonic() - started
            print(
                f"step {step}/{total}  loss {running:.4f}  {seen / spent:,.0f} tokens/s  "
                f"{spent:.0f} s, {spent / step * (total - step):.0f} s left",
                flush=True,
            )
        if step % SAVE_EVERY == 0 or step == total:
            accuracy = measure(model, tokenizer, items=400 if step == total else 40, seed=seed)
            print("held out: " + json.dumps(accuracy, ensure_ascii=False), flush=True)
            save_checkpoint(model, tokenizer, out, accuracy, steps=step, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demonstration judge.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=7000)
    args = parser.parse_args()
    train(args.out, args.seed, args.steps)


if __name__ == "__main__":
    main()
