#!/bin/bash
# loam ingest: an index made, brought up to date, broken documents reported, nothing half-written.
# The embedder is a tiny random BERT: what is checked is conduct, not quality.
set -u
BIN=${BIN:-build/bin}
failed=0
check() { # what, got, want
    [ "$2" = "$3" ] && return
    echo "$1: got '$2', want '$3'"
    failed=1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=$PWD/tests/golden/rerank/tiny-bert-ce
golden=$PWD/tests/golden/ingest
loam=$(cd "$BIN" && pwd)/loam
ingest() { "$loam" ingest "$@" -m "$model" 2>"$work/err"; }
count() { grep -o "\"$1\": [0-9]*" "$work/out" | head -1 | grep -o '[0-9]*$'; }

mkdir -p "$work/docs/sub" && cd "$work" || exit 1
cp "$golden"/chunking/docs/{ap-pkg-conffiles,ap-pkg-diversions,prose}.md docs/
cp "$golden"/extract/twins/two_columns.pdf docs/sub/
cp "$golden"/extract/docs/debian-faq__kernel.en.html docs/
printf '{"id": "a", "text": "One record."}\n{"id": "b", "text": "Another one."}\n' >docs/r.jsonl
printf 'id,text\n1,"A row, quoted"\n' | gzip >docs/r.csv.gz
: >docs/picture.png
ln -s .. docs/sub/loop

ingest docs --vdb-path a.npz --json >out
check "first run" "$?" 0
check "documents" "$(count documents)" 7
check "skipped" "$(count skipped)" 1
chunks=$(count chunks)
[ "$chunks" -gt 20 ] || check "chunks" "$chunks" "more than 20"
check "files" "$(ls a.npz* | tr '\n' ' ')" "a.npz a.npz.meta.json "
check "pages in the sidecar" "$("$loam" search --vdb-path a.npz --embed-model "$model" --json --top-k 500 x 2>/dev/null | grep -o '"page": 2' | head -1)" '"page": 2'
# a damaged record is an error that names its line, or left out when asked
printf '{"text": "The first one."}\n{"text": broken\n{"text": "The last one."}\n' >bad.jsonl
printf 'id,text\n1,The first row.\n2,too,many\n3,The last row.\n' >bad.csv
for kind in jsonl csv; do
    line=$([ $kind = jsonl ] && echo 2 || echo 3)
    ingest bad.$kind --vdb-path bad-$kind.npz >out
    check "a damaged $kind" "$?" 4
    grep -q "bad.$kind.*line $line" "$work/err" || check "a damaged $kind" "$(cat "$work/err")" "line $line"
    ingest bad.$kind --vdb-path bad-$kind.npz --skip-bad --json >out
    check "--skip-bad of $kind" "$?" 0
    check "--skip-bad of $kind" "$(count chunks)" 2
    check "--skip-bad of $kind: lines of the warning" "$(wc -l <"$work/err")" 1
    grep -q "bad.$kind: 1 record left out: line $line" "$work/err" || check "--skip-bad of $kind" "$(cat "$work/err")" "line $line"
done
# what a killed writer left goes at the next writing, when it is old and of this very name
touch -d '2 hours ago' bad-csv.npz.new.tmp-0123abcd bad-csv.npz.new.tmp-0123abc bad-csv.npz.new.tmp-0123abcg other.npz.new.tmp-0123abcd
touch bad-csv.npz.new.tmp-00000000
ingest bad.csv --vdb-path bad-csv.npz --skip-bad --rebuild >out
check "left by killed writers" "$(ls *.tmp-* | tr '\n' ' ')" "bad-csv.npz.new.tmp-00000000 bad-csv.npz.new.tmp-0123abc bad-csv.npz.new.tmp-0123abcg other.npz.new.tmp-0123abcd "
rm -f *.tmp-* bad*
# queries of standard input: one search, each result as that of a query alone, whatever is scanned
hits() { grep -oE '"(id|score)": [-0-9.e]+' "$@" | tr '\n' ' '; }
for q in "a row" "two columns"; do "$loam" search --vdb-path a.npz --embed-model "$model" --json "$q" 2>/dev/null; done >alone
for scan in f32 f16 int8; do
    printf 'a row\n"two columns"\n' | "$loam" search --vdb-path a.npz --embed-model "$model" --json --scan $scan 2>/dev/null >many
    check "batch, $scan" "$(hits many)" "$(hits alone)"
    check "queries, $scan" "$(grep -c '^{"query": ' many)" 2
done
check "hits of a query alone" "$(grep -c '"id":' alone)" 10
"$loam" search --vdb-path a.npz --embed-model "$model" </dev/null 2>err
check "no query" "$? $(cat err)" "2 loam search: no query: standard input is empty"
printf 'x\n \n' | "$loam" search --vdb-path a.npz --embed-model "$model" 2>err
check "an empty line" "$? $(cat err)" "2 loam search: standard input: line 2: the query is empty"

# an index that another run is at: exit 7 before any work; nothing of the lock remains afterwards
code=$(
    exec 9>a.npz.lock
    flock 9
    ingest docs --vdb-path a.npz >/dev/null
    echo $?
)
check "locked" "$code" 7
check "locked: one line" "$(wc -l <err)" 1
ingest docs --vdb-path a.npz >/dev/null
check "lock of a dead process" "$?" 0
check "files after the lock" "$(ls a.npz* | tr '\n' ' ')" "a.npz a.npz.meta.json "

# one broken document alone: one line, exit 4, nothing written
: >empty.pdf
ingest empty.pdf --vdb-path none.npz >out
check "broken alone" "$?" 4
check "broken alone: one line" "$(wc -l <err)" 1
check "broken alone: nothing written" "$(ls | grep -c none.npz)" 0

# the same bytes whatever the number of threads
for threads in 1 2 5; do
    ingest docs --vdb-path "t$threads.npz" --threads $threads --batch $((threads * 7)) >/dev/null
    cmp -s a.npz "t$threads.npz" || check "threads $threads" different "equal bytes"
done

ingest docs --vdb-path a.npz --json >out
check "second run: unchanged" "$(count unchanged) $(count new_chunks)" "7 0"
check "second run: written" "$(grep -o '"written": [a-z]*' out)" '"written": false'

# one changed, one gone, one new, three broken
echo "A new sentence at the end." >>docs/prose.md
rm docs/ap-pkg-diversions.md
echo "New document." >docs/new.txt
cp "$golden"/extract/hostile/{encrypted_user.pdf,gzip_truncated.txt.gz,empty.txt} docs/
ingest docs --vdb-path a.npz --json >out
check "partial" "$?" 9
check "after changes" "$(count documents) $(count unchanged) $(count removed)" "7 5 1"
check "lines on stderr" "$(wc -l <err)" 3
check "message" "$(grep -c '^loam ingest: docs/encrypted_user.pdf: encrypted PDF' err)" 1
ingest docs --vdb-path fresh.npz >/dev/null
cmp -s a.npz fresh.npz || check "updated index" different "the bytes of a fresh one"

# documents from elsewhere stay; another chunker beside them is refused
echo "Elsewhere." >other.txt
ingest other.txt --vdb-path a.npz --json >out
check "elsewhere" "$(count documents) $(count kept_from_elsewhere)" "8 7"
sum=$(sha256sum <a.npz)
ingest other.txt --vdb-path a.npz --chunker fixed >/dev/null
check "other chunker" "$? $(sha256sum <a.npz)" "2 $sum"

# nothing to index: the old index stays
mkdir empty
ingest empty --vdb-path a.npz; check "empty folder" "$? $(wc -l <err)" "4 1"
ingest docs/empty.txt --vdb-path a.npz; check "nothing readable" "$?" 4
ingest missing --vdb-path a.npz; check "missing" "$? $(wc -l <err)" "3 1"
ingest docs --vdb-path a.npz --chunk-size 5 --chunk-overlap 5; check "overlap" "$? $(wc -l <err)" "2 1"
ingest docs --vdb-path nowhere/a.npz >/dev/null; check "no folder for the index" "$(( $? != 0 ))" 1
head -c 1000 a.npz >broken.npz
ingest other.txt --vdb-path broken.npz >/dev/null; check "broken index" "$? $(wc -l <err)" "4 1"
ingest other.txt --vdb-path broken.npz --rebuild >/dev/null; check "rebuild" "$?" 0
check "old index" "$(sha256sum <a.npz)" "$sum"

# patterns, dry run, the text itself
ingest docs --dry-run --json --exclude '*.md' --exclude sub >out; check "exclude" "$(count documents)" 4
ingest docs --dry-run --json --include '*.md' >out; check "include" "$(count documents)" 2
check "text" "$("$loam" ingest docs/new.txt --show-text | tail -n 2)" "New document."
check "odd names" "$(printf 'x y' >'docs/a
b#.txt'; ingest docs --vdb-path odd.npz --include '*#.txt' --json >out; count documents)" 1

# a text that comes again is embedded once; both chunks have the vector
for i in 1 2 3; do echo 'The same line.' >"docs/same$i.txt"; done
ingest docs --vdb-path same.npz --include 'same*' --json >out
check "same text" "$(count documents) $("$loam" search --vdb-path same.npz --embed-model "$model" --json x 2>/dev/null | grep -o '"score": [-0-9.e]*' | sort -u | wc -l)" "3 1"

# interrupted: nothing is written, no reader is left
seq 1 400000 | sed 's/$/ is the number of this sentence./' >docs/long.txt
"$loam" ingest --embed-model "$model" docs/long.txt --vdb-path cut.npz --precision exact &
pid=$!
sleep 1
kill -INT $pid
wait $pid
check "interrupt" "$? $(ls cut.npz* 2>/dev/null)" "130 "
[ $failed = 0 ] && echo "test_ingest: all passed"
exit $failed
