#!/bin/bash
# loam info: files of arrays and folders, by people and by scripts; damage is exit 4 and one line.
set -u
BIN=${BIN:-build/bin}
failed=0
check() { # what, got, want
    [ "$2" = "$3" ] && return
    echo "$1: got '$2', want '$3'"
    failed=1
}
info() { "$BIN/loam" info "$@" 2>&1; }
data=tests/golden/arrays

check "npy json" "$(info --json --sha256 $data/good/np_fortran_f32.npy)" \
    '{"path": "tests/golden/arrays/good/np_fortran_f32.npy", "kind": "npy", "bytes": 176, "arrays": [{"name": "", "dtype": "float32", "shape": [4, 3], "bytes": 48, "sha256": "2290c6e58aa1df3a69586b5f5b595f78c5a1008bda598df5f6e220b3a5309b5a"}]}'
check "npz text" "$(info $data/good/zip_stream_stored.npz | head -2 | tail -1)" "  int32     [3]  idx"
check "gguf metadata" "$(info $data/blocks.gguf | grep -c '  words  \["a", "", "🙂"\]')" 1
check "folder" "$(info $data/sharded | sed -n '2p;3p')" "  family        llama, supported as language model
  parameters    137664"
check "folder json" "$(info --json $data/sharded | grep -o '"parameters": 137664, "quantization": {"group_size": 64, "bits": 4, "mode": "affine"}')" \
    '"parameters": 137664, "quantization": {"group_size": 64, "bits": 4, "mode": "affine"}'
check "index" "$(info --json $data/good/vdb.npz | grep -o '"kind": "index", "chunks": 3, "dim": 8')" \
    '"kind": "index", "chunks": 3, "dim": 8'
check "index arrays" "$(info --json $data/good/vdb.npz | grep -o '"name": "embeddings", "dtype": "float32", "shape": \[3, 8\]')" \
    '"name": "embeddings", "dtype": "float32", "shape": [3, 8]'
for file in $data/bad/37.npz $data/bad/20.safetensors $data/bad/29.npy $data/bad/26.npz; do
    out=$(info --json "$file")
    check "$file: exit code" $? 4
    check "$file: lines" "$(echo "$out" | wc -l)" 1
    case $out in "loam info: $file: "*) ;; *) check "$file: message" "$out" "loam info: FILE: ..." ;; esac
done
info no/such/file >/dev/null
check "missing" $? 3
info tests >/dev/null
check "no model folder" $? 3
info >/dev/null
check "no argument" $? 2
[ $failed = 0 ] && echo "test_info.sh: ok"
exit $failed
