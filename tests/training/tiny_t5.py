"""A folder with a random tiny T5, written without `transformers`."""

import json

import numpy as np
from safetensors.numpy import save_file

SIZES = {
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 12,
    "num_layers": 2,
    "num_heads": 2,
    "vocab_size": 40,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
}
WORDS = ("a", "red", "blue", "ball", "is", "dropped", "and", "bounces", "twice", "@", "mika")


def parameters(gated=True, every_block=False, seed=0):
    """Random arrays by their published names."""
    rng, s = np.random.default_rng(seed), SIZES
    D, inner = s["d_model"], s["num_heads"] * s["d_kv"]
    shapes = {"shared.weight": (s["vocab_size"], D), "encoder.final_layer_norm.weight": (D,)}
    for i in range(s["num_layers"]):
        attention = f"encoder.block.{i}.layer.0.SelfAttention."
        feed = f"encoder.block.{i}.layer.1.DenseReluDense."
        shapes |= {f"{attention}{name}.weight": (inner, D) for name in "qkv"}
        shapes |= {f"{attention}o.weight": (D, inner), f"{feed}wo.weight": (D, s["d_ff"])}
        shapes |= {f"encoder.block.{i}.layer.{j}.layer_norm.weight": (D,) for j in (0, 1)}
        shapes |= {f"{feed}{name}.weight": (s["d_ff"], D) for name in ("wi_0", "wi_1")[: 1 + gated]}
        if every_block or i == 0:
            size = (s["relative_attention_num_buckets"], s["num_heads"])
            shapes[f"{attention}relative_attention_bias.weight"] = size
    arrays = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    return arrays if gated else {k.replace("wi_0", "wi"): x for k, x in arrays.items()}


def tokenizer_json():
    """A tokenizer of words in the format of `tokenizers`, which ends a text with </s>."""
    pieces = ["<pad>", "</s>", "<unk>", *[f"\u2581{word}" for word in WORDS], *WORDS, "\u2581"]
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": i,
                "content": piece,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for i, piece in enumerate(pieces[:3])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "\u2581",
            "prepend_scheme": "always",
            "split": True,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, _END],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                _END,
                {"Sequence": {"id": "B", "type_id": 0}},
                _END,
            ],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": None,
        "truncation": None,
        "padding": None,
        "model": {
            "type": "Unigram",
            "unk_id": 2,
            "vocab": [[piece, -float(i)] for i, piece in enumerate(pieces)],
            "byte_fallback": False,
        },
    }


_END = {"SpecialToken": {"id": "</s>", "type_id": 0}}


def write(folder, gated=True, every_block=False, seed=0):
    """Writes the folder, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = "umt5" if every_block else "t5"
    form = "gated-gelu" if gated else "relu"
    config = {"model_type": kind, "feed_forward_proj": form, "tie_word_embeddings": False, **SIZES}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    save_file(parameters(gated, every_block, seed), folder / "model.safetensors")
    return folder
