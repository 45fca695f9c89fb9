"""The demonstration judge in a larger shape says what it says in its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench.clients import PACKAGE

if TYPE_CHECKING:
    import torch

LARGER = {
    "hidden_size": 320,
    "intermediate_size": 640,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 1100,
    "max_position_embeddings": 8192,
}


def logits(shape: dict[str, object], weights: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    model = Qwen3ForCausalLM(Qwen3Config(**shape)).to(torch.float32).eval()
    model.load_state_dict({name: each.float() for name, each in weights.items()}, strict=False)
    model.tie_weights()
    with torch.no_grad():
        told: torch.Tensor = model(tokens).logits
    return told


@pytest.mark.slow
def test_a_larger_shape_computes_the_same_and_prefers_no_token_that_the_tokenizer_lacks() -> None:
    import torch  # ten seconds with transformers: only where this test is run
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    from bench.sized_judge import SHAPE, SMALL, widened

    old = json.loads((SMALL / "config.json").read_text("utf-8"))
    small = load_file(SMALL / "model.safetensors")
    larger = widened(small, old, LARGER)
    text = (PACKAGE / "demo" / "data" / "instructions.jsonl").read_text("utf-8")
    tokens = torch.tensor([Tokenizer.from_file(str(SMALL / "tokenizer.json")).encode(text).ids[:2000]])
    expected = logits(old, small, tokens)
    config = {**old, **LARGER, "layer_types": ["full_attention"] * 6}
    found = logits(config, larger, tokens)
    assert set(LARGER) == set(SHAPE)
    # bfloat16 keeps eight bits of the scaled norms: what is about equally likely may change places.
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.98
    assert torch.allclose(found[..., : old["vocab_size"]], expected, atol=0.5)
    assert found[..., old["vocab_size"] :].max() < found.max(-1).values.min()
