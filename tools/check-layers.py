#!/usr/bin/env python3
"""Checks who includes whom: a folder of src/ may include itself and what stands left of it, apps and bench only
<loam/...> and apps' own headers; every public header compiles alone.  Prints what breaks the rule; exit 1 if any."""
import os
import re
import subprocess
import sys

ORDER = ["base", "kernels", "tensor", "io", "data", "text", "ops", "model", "llm", "rag", "image", "server"]
SIDE_BY_SIDE = {"llm", "rag", "image"}
bad = []

for folder, _, files in os.walk("src"):
    layer = folder.split(os.sep)[1] if os.sep in folder else ""
    for name in files:
        if not name.endswith((".c", ".h")):
            continue
        path = os.path.join(folder, name)
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m:
                continue
            target = m.group(1).split("/")[0] if "/" in m.group(1) else layer
            if target not in ORDER:
                bad.append(f"{path}:{number}: {m.group(1)}: not a folder of src/")
            elif ORDER.index(target) > ORDER.index(layer) or (
                target != layer and {target, layer} <= SIDE_BY_SIDE
            ):
                bad.append(f"{path}:{number}: {layer} must not include {m.group(1)}")

for folder, _, files in os.walk("apps"):
    for name in files:
        if not name.endswith((".c", ".h")):
            continue
        path = os.path.join(folder, name)
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if m and not os.path.exists(os.path.join("apps", m.group(1))) and not os.path.exists(
                os.path.join(folder, m.group(1))
            ):
                bad.append(f"{path}:{number}: apps include <loam/...> and apps/ only, not {m.group(1)}")

for folder, _, files in os.walk("src"):
    if folder.endswith("kernels"):
        continue
    for name in files:
        path = os.path.join(folder, name)
        if name.endswith((".c", ".h")) and re.search(r"immintrin|arm_neon", open(path, encoding="utf-8").read()):
            bad.append(f"{path}: intrinsics outside src/kernels")

for name in sorted(os.listdir("include/loam")):
    r = subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-fsyntax-only", "-x", "c", f"include/loam/{name}"],
        capture_output=True, text=True)
    if r.returncode:
        bad.append(f"include/loam/{name}: does not compile alone: {r.stderr.splitlines()[:1]}")

print("\n".join(bad) if bad else "layers: ok")
sys.exit(bool(bad))
