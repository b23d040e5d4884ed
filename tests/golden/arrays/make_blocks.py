"""blocks.gguf and blocks.npz: one tensor of each GGUF block format with random bytes and sane
scales, and what gguf.dequantize makes of it.   python make_blocks.py (gguf, numpy)"""
import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

rng = np.random.default_rng(7)
ROWS, COLS = 2, 512
# where each block keeps its f16 scales
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82],
          T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}

writer = gguf.GGUFWriter("blocks.gguf", "test")
writer.add_string("text", "gr\u00fc\u00dfe \"x\"\n")
writer.add_array("list", [3, 1, 2])
writer.add_array("words", ["a", "", "\U0001f642"])
writer.add_float32("small", 1e-6)
writer.add_float64("third", 1 / 3)
writer.add_uint64("large", 2**64 - 1)
writer.add_int64("low", -2**63)
writer.add_int8("i8", -5)
writer.add_bool("yes", True)
arrays = {}
for kind, halves in HALVES.items():
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (ROWS, COLS // elements, size), dtype=np.uint8)
    for at in halves:
        scale = rng.uniform(-0.1, 0.1, (ROWS, COLS // elements, 1)).astype("<f2")
        raw[:, :, at:at + 2] = scale.view(np.uint8)
    raw = raw.reshape(ROWS, -1)
    writer.add_tensor(kind.name.lower(), raw, raw_dtype=kind)
    arrays[kind.name.lower()] = gguf.dequantize(raw, kind).astype(np.float32)
writer.add_tensor("f32", np.arange(6, dtype=np.float32).reshape(2, 3))
writer.add_tensor("f16", np.arange(3, dtype=np.float16))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
np.savez("blocks.npz", **arrays)
