"""The demo judge's first weights: random, except for heads that already copy.

No training lives here. The idea: quoting needs induction heads (find where the last words stood before, read what
came next), and in a model this small they take most of an hour to appear. So the first two layers start with
such heads in rough form, and training only has to refine them and learn where to use them. The construction is
the two-layer induction circuit of Elhage et al., "A Mathematical Framework for Transformer Circuits" (2021).
"""

import math

import torch
from transformers import Qwen3ForCausalLM

CONSTANT = 0.5  # every embedding's first coordinate: what heads that look at positions alone can hold on to
OFFSETS = (1, 2, 3)  # the first layer's three heads of one key group read the 1st, 2nd and 3rd previous token
SHARPNESS = 2.0  # start of the query and key norms; logits reach SHARPNESS**2 * sqrt(head size)
WRITE = 0.1  # how loudly the first layer's heads write beside a token's own embedding
FAST, SLOW = 3, 6  # rotary pairs below FAST tell near positions apart; pairs from SLOW on hardly turn over a text


def _orthonormal_rows(rows: int, width: int, generator: torch.Generator) -> torch.Tensor:
    basis: torch.Tensor = torch.linalg.qr(torch.randn(width, rows, generator=generator))[0]
    return basis.T


@torch.no_grad()
def plant_copying_heads(model: Qwen3ForCausalLM, seed: int, *, key_groups: int, rope_base: float) -> None:
    """Overwrite one key group of the first two layers in place; all other weights keep their random start."""
    config = model.config
    size, width = config.head_dim, config.hidden_size
    half, group = size // 2, config.num_attention_heads // key_groups
    generator = torch.Generator().manual_seed(seed)
    model.model.embed_tokens.weight[:, 0] = CONSTANT
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight *= 0.3
        layer.mlp.down_proj.weight *= 0.3

    reader = _orthonormal_rows(size, width, generator)
    reader[:, 0] = 0.0
    writers = [_orthonormal_rows(size, width, generator) for _ in OFFSETS]

    first = model.model.layers[0].self_attn
    first.k_proj.weight[:size] *= 0.1
    first.q_proj.weight[: group * size] *= 0.1
    for pair in range(FAST):
        turn = rope_base ** (-pair / half)
        first.k_proj.weight[pair, 0] = 3.0
        for head, offset in enumerate(OFFSETS):
            first.q_proj.weight[head * size + pair, 0] = 3.0 * math.cos(turn * offset)
            first.q_proj.weight[head * size + pair + half, 0] = -3.0 * math.sin(turn * offset)
    first.v_proj.weight[:size] = reader
    for head, writer in enumerate(writers):
        first.o_proj.weight[:, head * size : (head + 1) * size] = WRITE * writer.T

    # Second layer: the key is (token before, token two before), the query is (this token, token before).
    second = model.model.layers[1].self_attn
    slow = [*range(SLOW, half), *range(half + SLOW, size)]
    near, far = (torch.randn(len(slow), size, generator=generator) / math.sqrt(size) for _ in range(2))
    second.k_proj.weight[:size] = 0.0
    second.k_proj.weight[slow] = near @ writers[0] + 0.6 * far @ writers[1]
    for head in range(group):
        rows = slice(head * size, (head + 1) * size)
        query = torch.zeros(size, width)
        query[slow] = near @ reader + 0.6 * far @ writers[0]
        second.q_proj.weight[rows] = query
        second.o_proj.weight[:, rows] = 0.3 * reader.T / group
    second.v_proj.weight[:size] = reader
    for attention in (first, second):
        attention.q_norm.weight.fill_(SHARPNESS)
        attention.k_norm.weight.fill_(SHARPNESS)
