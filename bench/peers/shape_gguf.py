"""Random weights of a shape that bench-cli knows, as GGUF, so that llama.cpp can be timed on the same shape.

usage: shape_gguf.py SHAPE OUT.gguf      SHAPE: phi3-mini-4bit, llama3.2-1b-4bit
The layers are Q4_0 (its fastest 4-bit form here), the head is Q6_K, as llama-quantize makes them. The vocabulary is one of
single bytes and made-up words, so that a text without spaces is a token a byte.
"""
import os
import struct
import sys

import numpy as np

SHAPES = {  # as in apps/bench/shape.c
    "phi3-mini-4bit": ("phi3", 32, 3072, 8192, 32, 32, 96, 32064, False),
    "llama3.2-1b-4bit": ("llama", 16, 2048, 8192, 32, 8, 64, 128256, True),
}
F32, Q4_0, Q6_K = 0, 2, 14
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5
ALIGN = 32


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    if isinstance(v, bool):
        return struct.pack("<IB", BOOL, v)
    if isinstance(v, int):
        return struct.pack("<II", UINT32, v)
    if isinstance(v, float):
        return struct.pack("<If", FLOAT32, v)
    if isinstance(v, str):
        return struct.pack("<I", STRING) + text(v)
    kind, items = v
    form = {INT32: "i", FLOAT32: "f"}.get(kind)
    body = b"".join(map(text, items)) if form is None else struct.pack(f"<{len(items)}{form}", *items)
    return struct.pack("<IIQ", ARRAY, kind, len(items)) + body


def size_of(kind, n):
    return {F32: n * 4, Q4_0: n // 32 * 18, Q6_K: n // 256 * 210}[kind]


def blocks(kind):
    """About a megabyte of whole blocks with small scales, to be repeated."""
    rng = np.random.default_rng(7)
    if kind == F32:
        return np.ones(1 << 18, np.float32).tobytes()
    size, at, scale = (18, 0, 0.02 / 8) if kind == Q4_0 else (210, 208, 0.02 / 4000)
    raw = rng.integers(0, 256, (1 << 20) // size * size, dtype=np.uint8).reshape(-1, size)
    raw[:, at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return raw.tobytes()


def main():
    shape, out = sys.argv[1:3]
    arch, layers, dim, hidden, heads, kv_heads, head_dim, vocab, tied = SHAPES[shape]
    q, kv = heads * head_dim, kv_heads * head_dim
    words = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    words += [f"word{i}" for i in range(len(words), vocab)]
    fields = {
        "general.architecture": arch, "general.name": "random weights",  # a name with "phi3" makes llama.cpp look for Phi-3's tokens
        "general.file_type": 2,
        f"{arch}.context_length": 8192, f"{arch}.embedding_length": dim, f"{arch}.block_count": layers,
        f"{arch}.feed_forward_length": hidden, f"{arch}.attention.head_count": heads, f"{arch}.attention.head_count_kv": kv_heads,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-5, f"{arch}.rope.dimension_count": head_dim, f"{arch}.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.tokens": (STRING, words), "tokenizer.ggml.scores": (FLOAT32, [0.0] * vocab),
        "tokenizer.ggml.token_type": (INT32, [2, 3, 3] + [6] * 256 + [1] * (vocab - 259)),
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
    }
    if arch == "phi3":
        fields["phi3.attention.sliding_window"] = 8192  # sees all; ik_llama.cpp does not load it without one
    tensors = [("token_embd.weight", (dim, vocab), Q6_K if tied else Q4_0), ("output_norm.weight", (dim,), F32)]
    if not tied:
        tensors.append(("output.weight", (dim, vocab), Q6_K))
    for i in range(layers):
        def add(name, *dims, layer=f"blk.{i}."):
            tensors.append((f"{layer}{name}.weight", dims, Q4_0 if len(dims) == 2 else F32))
        add("attn_norm", dim)
        add("ffn_norm", dim)
        if arch == "phi3":  # fused, as in its folder
            add("attn_qkv", dim, q + 2 * kv)
            add("ffn_up", dim, 2 * hidden)
        else:
            for name, rows in (("attn_q", q), ("attn_k", kv), ("attn_v", kv), ("ffn_gate", hidden), ("ffn_up", hidden)):
                add(name, dim, rows)
        add("attn_output", q, dim)
        add("ffn_down", hidden, dim)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    head += b"".join(text(k) + value(v) for k, v in fields.items())
    at = 0
    for name, dims, kind in tensors:
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at)
        at += -(-size_of(kind, int(np.prod(dims))) // ALIGN) * ALIGN
    noise = {kind: blocks(kind) for kind in (F32, Q4_0, Q6_K)}
    with open(out + ".part", "wb") as f:
        f.write(head + b"\0" * (-len(head) % ALIGN))
        for _, dims, kind in tensors:
            left = size_of(kind, int(np.prod(dims)))
            pad = -left % ALIGN
            while left:
                left -= f.write(noise[kind][:left])
            f.write(b"\0" * pad)
    os.replace(out + ".part", out)


main()
