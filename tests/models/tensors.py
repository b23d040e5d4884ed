#!/usr/bin/env python3
"""What a model folder holds, for comparison: `tensors.py FOLDER` prints the digests of
tests/golden/convert, one "what sha256" a line; `tensors.py -l FOLDER` every tensor."""
import hashlib
import json
import mmap
import os
import struct
import sys

NAMES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "U32": "uint32", "U8": "uint8"}


def tensors(path):
    with open(path, "rb") as f:
        m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    n = struct.unpack("<Q", m[:8])[0]
    for name, t in sorted(json.loads(m[8:8 + n]).items()):
        if name == "__metadata__":
            continue
        a, b = t["data_offsets"]
        yield "%s %s %s %s\n" % (name, NAMES[t["dtype"]], ",".join(map(str, t["shape"])),
                                 hashlib.sha256(memoryview(m)[8 + n + a:8 + n + b]).hexdigest())


def main():
    folder = sys.argv[-1]
    lines = "".join(tensors(os.path.join(folder, "model.safetensors")))
    if sys.argv[1] == "-l":
        return sys.stdout.write(lines)
    print("tensors", hashlib.sha256(lines.encode()).hexdigest())
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json"):
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            print(name, hashlib.sha256(data).hexdigest())
            if name == "config.json":
                text = json.dumps(json.loads(data), sort_keys=True)
                print("config", hashlib.sha256(text.encode()).hexdigest())
            if name == "model.safetensors.index.json":
                text = json.dumps(json.loads(data)["metadata"], sort_keys=True)
                print("index", hashlib.sha256(text.encode()).hexdigest())


main()
