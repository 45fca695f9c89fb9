"""A judge of Qwen3-4B's shape that says what the demonstration judge says: for speed measured without the real weights.

    python -m bench.sized_judge /tmp/demo-judge-4b                  # 8.0 GB in bfloat16
    python -m bench.sized_judge /tmp/demo-judge-4b --layers 6       # a smaller one, to compare replies on a CPU

The demonstration judge is a Qwen3 of 4 layers and width 192. Its weights stand in matrices as large as Qwen3-4B's, and
zeros everywhere else: an engine has the arithmetic, the weights and the cache of a 4B judge to move, and comes to the
demonstration judge's replies as far as rounding lets it. Where zeros would change a result, it is put right:

- a norm divides by the root of the mean square, which zeros make smaller: its weights are scaled;
- a rotary frequency depends on the width of a head: pair i of 16 becomes pair 4 i of 64, which has the same frequency;
- attention divides by the root of the width of a head: the weights of the queries' norm are scaled by what is too much;
- four query heads share a key-value head instead of three: the first three of each four are used;
- further layers add zero to the residual stream;
- a token that the tokenizer does not have is a copy of the padding, which is never likely.

Shape: https://huggingface.co/Qwen/Qwen3-4B/blob/main/config.json.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bench.clients import PACKAGE

SMALL = PACKAGE / "demo" / "judge"
SHAPE = {
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
    "max_position_embeddings": 40_960,
}
Shape = dict[str, int]
Weights = dict[str, torch.Tensor]


def widened(small: Weights, old: Shape, new: Shape) -> Weights:
    """The weights of shape `new` that compute what `small`, of shape `old`, computes; bfloat16."""
    width = torch.arange(old["hidden_size"])
    inner = torch.arange(old["intermediate_size"])
    dimensions, keys, queries = _head_places(old, new)
    attention = new["num_attention_heads"] * new["head_dim"], new["num_key_value_heads"] * new["head_dim"]
    # By name: the sizes, and where the small weights stand in them.
    sizes = {
        "self_attn.q_proj": ((attention[0], new["hidden_size"]), (queries, width)),
        "self_attn.k_proj": ((attention[1], new["hidden_size"]), (keys, width)),
        "self_attn.v_proj": ((attention[1], new["hidden_size"]), (keys, width)),
        "self_attn.o_proj": ((new["hidden_size"], attention[0]), (width, queries)),
        "self_attn.q_norm": ((new["head_dim"],), (dimensions,)),
        "self_attn.k_norm": ((new["head_dim"],), (dimensions,)),
        "mlp.gate_proj": ((new["intermediate_size"], new["hidden_size"]), (inner, width)),
        "mlp.up_proj": ((new["intermediate_size"], new["hidden_size"]), (inner, width)),
        "mlp.down_proj": ((new["hidden_size"], new["intermediate_size"]), (width, inner)),
        "input_layernorm": ((new["hidden_size"],), (width,)),
        "post_attention_layernorm": ((new["hidden_size"],), (width,)),
    }
    narrower = math.sqrt(old["hidden_size"] / new["hidden_size"])
    # The queries' norm would be scaled by the root of 32 / 128 too, and by its inverse for the attention's division.
    scales = {
        "input_layernorm": narrower,
        "post_attention_layernorm": narrower,
        "self_attn.k_norm": math.sqrt(old["head_dim"] / new["head_dim"]),
    }
    made: Weights = {}
    for layer in range(new["num_hidden_layers"]):
        for name, (size, places) in sizes.items():
            key = f"model.layers.{layer}.{name}.weight"
            made[key] = torch.zeros(size, dtype=torch.bfloat16)
            if layer < old["num_hidden_layers"]:
                made[key][torch.meshgrid(*places, indexing="ij")] = small[key] * scales.get(name, 1.0)
    embedding = small["model.embed_tokens.weight"]
    tokens = torch.zeros((new["vocab_size"], new["hidden_size"]), dtype=torch.bfloat16)
    tokens[:, width] = embedding[0]
    tokens[: old["vocab_size"], width] = embedding
    norm = torch.zeros(new["hidden_size"], dtype=torch.bfloat16)
    norm[width] = small["model.norm.weight"] * narrower
    return {**made, "model.embed_tokens.weight": tokens, "model.norm.weight": norm}


def _head_places(old: Shape, new: Shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where the dimensions of a head go, and those of all key-value heads and of all query heads."""
    half = torch.arange(old["head_dim"] // 2) * (new["head_dim"] // old["head_dim"])
    dimensions = torch.cat([half, half + new["head_dim"] // 2])
    groups = old["num_key_value_heads"]
    sharing = old["num_attention_heads"] // groups
    room = new["num_attention_heads"] // new["num_key_value_heads"]
    keys = torch.cat([group * new["head_dim"] + dimensions for group in range(groups)])
    heads = [group * room + place for group in range(groups) for place in range(sharing)]
    return dimensions, keys, torch.cat([head * new["head_dim"] + dimensions for head in heads])


def write(folder: Path, layers: int) -> None:
    """The checkpoint, with the tokenizer and the chat template of the demonstration judge."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(SMALL / name, folder / name)
    old = json.loads((SMALL / "config.json").read_text("utf-8"))
    new = {**SHAPE, "num_hidden_layers": layers}
    config = {**old, **new, "layer_types": ["full_attention"] * layers, "max_window_layers": layers}
    config["rms_norm_eps"] = old["rms_norm_eps"] * old["hidden_size"] / new["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    weights = widened(load_file(SMALL / "model.safetensors"), old, new)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    options = parser.parse_args()
    write(options.folder, options.layers)
