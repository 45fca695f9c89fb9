"""Train the demonstration judge: tokenizer and a 1.8M-parameter Qwen3 from scratch on generated Russian items.

Run ``python -m tools.train_demo_judge --out pollux_dagster/demo/judge --seed 0``. Items come from ``demo_items``,
the criteria from the package's taxonomy. The one idea: the five prompts of an answer differ only after the answer,
so an item is one row whose criteria are branches that all see the shared text and never each other; this halves
the tokens of a step and leaves every prompt exactly as the server will see it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import Queue, get_context
from pathlib import Path
from random import Random
from typing import cast

import torch
from torch.autograd.function import FunctionCtx, NestedIOFunction
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from tools import demo_items, demo_rules, demo_words
from tools.demo_branches import BRANCHES, pieces_of
from tools.demo_checkpoint import HEADINGS, build_tokenizer, chat_parts, save_checkpoint
from tools.demo_copying import plant_copying_heads
from tools.demo_held_out import measure

CONTEXT, KEY_GROUPS, ROPE_BASE = 4096, 2, 1e6
STEP_WORK = 1_500  # work in half a step at least: tokens, each times one and its row's length over SQUARE_TOKENS
SQUARE_TOKENS = 1_500  # a token of a row so long costs as much for what it sees as for itself
SAVE_EVERY, WARMUP = 2200, 60  # steps
ABRIDGED, DRILLS = 0.5, 0.8  # abridged items among all, and comparisons for each item
# How often a criterion's branch is trained: comparing with a reference is the hard one, the rest come early.
PRACTICE = {
    "reference_agreement": 1.0,
    "no_repetition": 0.8,
    "no_foreign_artifacts": 0.45,
    "completeness_of_ending": 0.25,
    "refusal_stub": 0.3,
    "unknown": 1.0,
}
COPY_LESSONS, SHORT_LESSONS = 2_500, 9_000  # rows: only copying; then answers that grow to their full length


@dataclass(frozen=True, slots=True)
class Row:
    """One item as tokens. ``branch`` is 0 for the shared text; ``learn`` weighs the tokens to be learned."""

    tokens: list[int]
    branch: list[int]
    position: list[int]
    learn: list[float]


Step = tuple[list[Row], list[Row]]  # a half for each of two cores


def encode(item: demo_items.Item, tokenizer: PreTrainedTokenizerFast, rng: Random, *, is_abridged: bool) -> Row:
    """Encode an item: shared text once, then one branch a criterion, with positions as in the separate prompts.

    One row in eight gets a gap in the positions of its shared text, so that distances of long prompts are learned
    from short ones. An abridged item has no task and no rubrics, which say nothing about the five criteria: half the
    tokens, and all that there is to learn from them.
    """

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def body(ruling: demo_items.Ruling) -> tuple[str, str]:
        text, question = chat_parts(
            tokenizer, item.instruction, item.reference, item.answer, ruling.name, ruling.rubrics
        )
        if not is_abridged:
            return text, question
        task, rubrics = (
            f"{heading}{words}" for heading, words in ((HEADINGS[0], item.instruction), (HEADINGS[4], ruling.rubrics))
        )
        return text.replace(task, "", 1), question.replace(rubrics, "", 1)

    shared = ids(body(item.rulings[0])[0])
    row = Row(shared, [0] * len(shared), positions(len(shared), rng), repeated(shared))
    start = row.position[-1] + 1
    for number, ruling in enumerate(item.rulings, start=1):
        share = PRACTICE[ruling.criterion]
        if item.reference is None and ruling.criterion == "reference_agreement":
            share = 0.2
        if rng.random() >= share or (is_abridged and ruling.criterion == "unknown"):
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
        spot, gap = rng.randrange(min(8, length - 1), length), rng.randint(50, 2000)
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
    """A row that is only a comparison: two quotes as in a rationale; what compares them is learned."""
    said, true, agrees = demo_items.make_pair(rng)
    given, closing, compared = demo_rules.quotes(true, said).rpartition("».")
    quotes = tokenizer(f"\n{given}{closing}", add_special_tokens=False)["input_ids"]
    verdict = tokenizer(f"{compared} {'Совпало' if agrees else 'Не'}", add_special_tokens=False)["input_ids"]
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


def lessons(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Row]:
    """Yield rows without end; a function of the seed alone. The first lessons are copying and short answers."""
    rng, criteria = Random(f"train {seed}"), demo_rules.load_criteria()
    for _ in range(COPY_LESSONS):
        yield copy_row(tokenizer, rng)
    for item in count():
        size = min(1.0, item / SHORT_LESSONS)
        yield encode(demo_items.make_item(rng, criteria, size), tokenizer, rng, is_abridged=rng.random() < ABRIDGED)
        if rng.random() < DRILLS:
            yield drill_row(tokenizer, rng)


def dealt(rows: Iterable[Row]) -> Iterator[Step]:
    """Deal rows to the two halves of steps, always to the cheaper half, until both have their share of the work.

    A long row makes its own half long, and the other half is filled up with short ones, so that no core waits.
    """
    halves: Step = ([], [])
    work = [0.0, 0.0]
    for row in rows:
        half = 0 if work[0] <= work[1] else 1
        halves[half].append(row)
        work[half] += len(row.tokens) * (1 + len(row.tokens) / SQUARE_TOKENS)
        if min(work) > STEP_WORK and max(work) < 1.25 * min(work):
            yield halves
            halves, work = ([], []), [0.0, 0.0]


def put_steps(queue: Queue[Step], tokenizer: PreTrainedTokenizerFast, seed: int, total: int) -> None:
    for step in islice(dealt(lessons(tokenizer, seed)), total):
        queue.put(step)


def steps_ahead(tokenizer: PreTrainedTokenizerFast, seed: int, total: int) -> Iterator[Step]:
    """The same steps, made by another process while this one computes: making rows keeps one core of two waiting."""
    context = get_context("fork")
    queue: Queue[Step] = context.Queue(maxsize=50)
    context.Process(target=put_steps, args=(queue, tokenizer, seed, total), daemon=True).start()
    for _ in range(total):
        yield queue.get()


def loss_of(model: Qwen3ForCausalLM, rows: Sequence[Row]) -> torch.Tensor:
    """Cross-entropy summed over the tokens to be learned, by weight. The model attends by branches."""
    tokens = torch.tensor([token for row in rows for token in row.tokens])
    weight = torch.tensor([weight for row in rows for weight in (*row.learn[1:], 0.0)])  # of a token's successor
    learned = weight > 0
    hidden = model.model(
        input_ids=tokens[None],
        attention_mask=torch.zeros(1, 1, 1, 1),  # keeps the model from making its own: the pieces say what is seen
        position_ids=torch.tensor([position for row in rows for position in row.position])[None],
        use_cache=False,
        pieces=pieces_of([row.branch for row in rows]),
    ).last_hidden_state[0]
    losses = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[learned]), tokens.roll(-1)[learned], reduction="none"
    )
    return losses @ weight[learned]


def accumulate(model: Qwen3ForCausalLM, halves: Step, pool: ThreadPoolExecutor) -> float:
    """Add the gradients of a step, half of it a thread; returns the mean loss of a learned token.

    Each thread computes with one core and they meet once a step: on a shared machine that wastes far less than two
    cores that meet at every operation. Two summands give the same sum in either order, so the step is reproducible.
    """
    learned = sum(sum(row.learn[1:]) for rows in halves for row in rows)

    def half(rows: list[Row]) -> float:
        torch.set_num_threads(1)
        loss = loss_of(model, rows) / learned
        loss.backward()
        return loss.item()

    return sum(pool.map(half, halves))


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
        return cast(torch.Tensor, _HalfPrecisionProduct.apply(x, self.weight))


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
    model = Qwen3ForCausalLM(config)
    plant_copying_heads(model, seed, key_groups=KEY_GROUPS, rope_base=ROPE_BASE)
    for layer in model.model.layers.modules():
        if type(layer) is torch.nn.Linear:
            layer.__class__ = _TrainingLinear
    model.set_attn_implementation(BRANCHES)
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
    for step, halves in enumerate(steps_ahead(tokenizer, seed, total), start=1):
        share = min(step / WARMUP, 1.0) * (1 - (step - 1) / total)
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * share
        loss = accumulate(model, halves, pool)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        list(pool.map(update, [optimizer for optimizer, _ in optimizers]))
        seen += sum(len(row.tokens) for rows in halves for row in rows)
        running = loss if step == 1 else 0.96 * running + 0.04 * loss
        if step % 25 == 0 or step == total:
            spent = time.monotonic() - started
            print(
                f"step {step}/{total}  loss {running:.4f}  {seen / spent:,.0f} tokens/s  "
                f"{spent:.0f} s, {spent / step * (total - step):.0f} s left",
                flush=True,
            )
        if step % SAVE_EVERY == 0 or step == total:
            model.set_attn_implementation("sdpa")
            accuracy = measure(model, tokenizer, items=400 if step == total else 40, seed=seed)
            model.set_attn_implementation(BRANCHES)
            print("held out: " + json.dumps(accuracy, ensure_ascii=False), flush=True)
            save_checkpoint(model, tokenizer, out, accuracy, steps=step, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demonstration judge.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6600)
    args = parser.parse_args()
    train(args.out, args.seed, args.steps)


if __name__ == "__main__":
    main()
