#!/bin/bash
# Options, exit codes and streams of all programs: what a shell and a script rely on.
. tests/cli/lib.sh

for p in rag-cli loam bench-cli; do
    run $p --help
    expect 0 "$p --help"
    silent "$p --help"
    prints "Usage: $p" "$p --help"
    run $p --version
    expect 0 "$p --version"
    prints "loam " "$p --version"
done
for c in $(loam --help | sed -n '/^Commands:/,/^$/p' | awk 'NR > 1 && NF { print $1 }'); do
    run loam "$c" --help
    expect 0 "loam $c --help"
    prints "Usage: loam $c" "loam $c --help"
    prints "Examples:" "loam $c --help"
    run loam "$c" --no-such-flag
    expect 2 "loam $c --no-such-flag"
    one_line "loam $c --no-such-flag"
done

run rag-cli --vdb-pth x
expect 2 "near miss"
one_line "near miss"
says "did you mean --vdb-path?" "near miss"
run rag-cli --top-k
expect 2 "missing value"
for bad in abc -1 1e99 NaN 0x10 18446744073709551616 "" " 5" 5x 0 101; do
    run rag-cli --top-k "$bad"
    expect 2 "--top-k '$bad'"
    one_line "--top-k '$bad'"
done
for bad in abc nan inf 1e999 "" --; do
    run rag-cli --temp "$bad"
    expect 2 "--temp '$bad'"
done
run rag-cli --precision half
expect 2 "--precision half"
run rag-cli stray
expect 2 "stray argument"
run loam ingst
expect 2 "unknown command"
says "did you mean 'ingest'?" "unknown command"
run loam
expect 2 "loam without a command"

# an index or model that is not there: exit 3, the remedy in the line
run rag-cli --vdb-path "$work/none.npz"
expect 3 "missing index"
one_line "missing index"
says "loam ingest" "missing index"
mkfifo "$work/fifo"
run timeout 5 rag-cli --vdb-path "$work/fifo"
check [ "$code" != 124 ] && check [ "$code" != 0 ]
one_line "an index that is a FIFO"
run rag-cli --vdb-path "$work"
check [ "$code" != 0 ]
one_line "an index that is a folder"
printf 'a\tb\n\033[31m' >"$work/$(printf 'x\ny').npz"
run rag-cli --vdb-path "$work/$(printf 'x\ny').npz"
expect 4 "junk with a newline in its name"
one_line "junk with a newline in its name"

# streams: full disk, closed pipe, closed descriptors, no environment
run bash -c 'rag-cli --help >/dev/full'
check [ "$code" = 6 ] || check [ "$code" = 1 ]
# a stream that failed half-way still knows why at the end
run bash -c "loam generate --model tests/golden/llm/families/llama/q4g64 --ids '[1, 2, 3]' -n 9 >/dev/full"
expect 6 "generate on a full disk"
one_line "generate on a full disk"
says "No space left" "generate on a full disk"
# Ctrl-C while waiting for standard input: 130, no half lines, nothing said
run bash -c '(echo "\"a\""; printf "\"b"; sleep 5) | timeout --preserve-status -s INT 1 loam tokenize --model tests/golden/tokenizers/minilm/tokenizer.json; exit ${PIPESTATUS[1]}'
expect 130 "Ctrl-C at loam tokenize"
silent "Ctrl-C at loam tokenize"
check [ "$(wc -l <"$work/out")" = 1 ]
run bash -c "sleep 5 | timeout --preserve-status -s INT 1 loam template --model tests/golden/templates/src/$(ls tests/golden/templates/src | head -n 1)"'; exit ${PIPESTATUS[1]}'
expect 130 "Ctrl-C at loam template"
silent "Ctrl-C at loam template"
for epoch in x -1 12x; do
    run env SOURCE_DATE_EPOCH=$epoch loam template --model "tests/golden/templates/src/$(ls tests/golden/templates/src | head -n 1)"
    expect 2 "SOURCE_DATE_EPOCH=$epoch"
    one_line "SOURCE_DATE_EPOCH=$epoch"
done
run bash -c 'set -o pipefail; loam --help | head -n 1'
silent "output cut by head"
run bash -c 'rag-cli --help >&-'
run bash -c 'rag-cli --vdb-path /nonexistent.npz 2>&-'
expect 3 "standard error closed"
run env -i "$PWD/$BIN/rag-cli" --vdb-path /nonexistent.npz
expect 3 "empty environment"
run bash -c 'cd $(mktemp -d) && rmdir $PWD && rag-cli --vdb-path x.npz'
expect 3 "working folder gone"

# Ctrl-C and SIGTERM while a program waits for its input: no half result, 130 or 143
tokenizer=$PWD/tests/golden/tokenizers/files/bert
template=$PWD/tests/golden/templates/src/CohereForAI-c4ai-command-r-plus-tool_use.jinja
tiny=$PWD/tests/golden/rerank/tiny-bert-ce
for command in "tokenize --model $tokenizer" "template --model $template" "rerank --model $tiny --query q"; do
    for signal in INT TERM; do
        # a shell starts what runs in the background with SIGINT ignored: env puts it back
        mkfifo "$work/in"
        env --default-signal=INT loam $command <"$work/in" >"$work/out" 2>"$work/err" &
        pid=$!
        exec 3>"$work/in"
        sleep 0.3
        kill -$signal $pid
        code=0
        wait $pid || code=$?
        exec 3>&-
        rm "$work/in"
        expect $([ $signal = INT ] && echo 130 || echo 143) "loam $command: SIG$signal while it reads"
        silent "loam $command: SIG$signal"
        check [ ! -s "$work/out" ]
    done
done

# an index that names no embedder, and no default one here: exit 2 and what to pass
run env -u HF_HUB_CACHE -u XDG_CACHE_HOME HOME="$work" HF_HOME="$work/none" HF_HUB_OFFLINE=1 XDG_DATA_HOME="$work" loam search --vdb-path tests/golden/vdb/combined_vdb.npz x
expect 2 "search without an embedder"
one_line "search without an embedder"
says "--embed-model" "search without an embedder"
big=$(head -c 120000 /dev/zero | tr '\0' a)
run rag-cli --vdb-path "$big"
check [ "$code" != 0 ]
one_line "argument of 120,000 characters"
finish
