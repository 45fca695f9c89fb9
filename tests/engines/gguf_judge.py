"""Writes the packaged demonstration judge as a GGUF file for llama.cpp.

Needs the `gguf` package, so it runs in the environment of llama-server: `python gguf_judge.py CHECKPOINT OUT`. The
weights are written as 32-bit floats, which hold bfloat16 exactly: it is the same judge, not a quantised one.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SPECIAL, _USER_DEFINED, _NORMAL, _UNUSED = 3, 4, 1, 5  # gguf.TokenType
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor of a Qwen3 checkpoint. KeyError for one that such a checkpoint does not have."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    number, _, part = name.removeprefix("model.layers.").partition(".")
    return f"blk.{int(number)}.{_LAYER[part.removesuffix('.weight')]}.weight"


def tokens_of(tokenizer: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """All tokens by their ids, and the kind of each. Ids that the tokenizer does not use get a placeholder."""
    tokens, kinds = [f"[UNUSED_{number}]" for number in range(vocab_size)], [_UNUSED] * vocab_size
    for token, number in tokenizer["model"]["vocab"].items():
        tokens[number], kinds[number] = token, _NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _SPECIAL if added["special"] else _USER_DEFINED
    return tokens, kinds


def convert(checkpoint: Path, out: Path) -> None:
    """Write `checkpoint`, a Qwen3 model with tied embeddings and a byte-level BPE tokenizer, to `out`.

    llama.cpp splits text before BPE by one of the rules it knows. The demonstration judge's own (a run of letters, a
    digit, a space, any other character) is not among them; `qwen2` splits into unions of the same pieces, and no merge
    of this tokenizer crosses two of them, so the tokens are the same.
    """
    gguf: Any = importlib.import_module("gguf")  # in the environment of llama-server, not in the project's
    config, tokenizer = (json.loads((checkpoint / name).read_text()) for name in ("config.json", "tokenizer.json"))
    writer = gguf.GGUFWriter(out, "qwen3")
    writer.add_name("pollux-dagster demonstration judge")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    tokens, kinds = tokens_of(tokenizer, config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((checkpoint / "chat_template.jinja").read_text())
    for name, values in _tensors(checkpoint / "model.safetensors"):
        writer.add_tensor(gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    """Each tensor of a safetensors file as 32-bit floats; NumPy has no bfloat16, so its bits are widened."""
    import numpy as np

    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for name, entry in sorted(json.loads(content[8:start]).items()):
        if name == "__metadata__":
            continue
        if entry["dtype"] != "BF16":
            raise ValueError(f"expected bfloat16 in {path}, got {entry['dtype']} in {name}")
        first, last = (start + offset for offset in entry["data_offsets"])
        bits = np.frombuffer(content[first:last], dtype=np.uint16).astype(np.uint32) << 16
        yield name, bits.view(np.float32).reshape(entry["shape"])


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
