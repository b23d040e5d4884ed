#!/bin/bash
# loam convert as a user meets it: result, messages, exit codes, full disk, Ctrl-C.
. tests/cli/lib.sh
gguf=tests/fuzz/seeds/convert/seed_llama.gguf

run loam convert --help
expect 0 help
prints "Examples:" help
run loam convert "$gguf" "$work/m"
expect 0 plain
prints "$work/m" "plain: prints the folder"
silent plain
for f in config.json generation_config.json tokenizer.json tokenizer_config.json model.safetensors model.safetensors.index.json; do
    check test -s "$work/m/$f"
done
check python3 -c "
import json
c = json.load(open('$work/m/config.json'))
assert c['quantization'] == {'group_size': 32, 'bits': 4, 'mode': 'affine'}, c
assert c['model_type'] == 'llama' and c['tie_word_embeddings'] is True"
run loam info "$work/m/model.safetensors"
expect 0 "info of the result"
run loam convert "$work/m" "$work/d" --dequantize --dtype float32
expect 0 dequantize
run loam convert "$work/d" "$work/q" --bits 8 --group-size 32
expect 0 quantize

run loam convert "$gguf" "$work/m"
expect 1 exists
one_line exists
says "--force" exists
run loam convert "$gguf" "$work/m" --force
expect 0 force
run loam convert "$gguf" "$work/x" --bits 7
expect 2 "bits 7"
one_line "bits 7"
run loam convert "$gguf" "$work/x" --bits 4 --group-size 48
expect 2 "group of 48"
run loam convert "$gguf" "$work/x" --bits 4 --dequantize
expect 2 "bits and dequantize"
run loam convert "$gguf"
expect 2 "one argument"
run loam convert "$work/none.gguf" "$work/x"
expect 3 "no such file"
one_line "no such file"
head -c 5000 "$gguf" >"$work/cut.gguf"
run loam convert "$work/cut.gguf" "$work/x"
expect 4 "cut file"
one_line "cut file"
run loam convert "$work/m/model.safetensors" "$work/x"
expect 4 "one array file"
says "give the model's folder" "one array file"
run loam convert "$gguf" /proc/x
check test "$code" -ne 0
one_line "cannot be written"
check test ! -e "$work/x"

# a disk that is too small: exit 6, and it stays empty
if unshare -rm true 2>/dev/null; then
    run unshare -rm bash -c "mkdir -p '$work/full'; mount -t tmpfs -o size=12k none '$work/full' &&
        { loam convert '$gguf' '$work/full/m'; code=\$?; ls -A '$work/full'; exit \$code; }"
    expect 6 "full disk"
    one_line "full disk"
    check test ! -s "$work/out"
fi
check test -z "$(find "$work" -name '*.loam-*')"
finish
