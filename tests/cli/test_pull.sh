#!/bin/bash
# loam pull against the tests' own hub on loopback, with faults.  Needs python3 (standard library).
# usage: BIN=build/bin test_pull.sh
set -u
BIN=${BIN:-build/bin}
LOAM=$BIN/loam
T=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) # many small syncs: in memory where possible
HUB_PID=
cleanup() {
    [ -n "$HUB_PID" ] && kill "$HUB_PID" 2>/dev/null
    chmod -R u+w "$T" 2>/dev/null
    rm -rf "$T"
}
trap cleanup EXIT
passed=0 failed=0
check() { # what condition...
    local what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $what"
        sed 's/^/    /' "$T/err" | head -3
    fi
}
is() { [ "$1" = "$2" ] || { echo "  got '$1', want '$2'"; return 1; }; }
says() { grep -q -- "$1" "$T/err" || { echo "  stderr lacks '$1'"; return 1; }; }
one_line() { [ "$(wc -l <"$T/err")" = 1 ] || { echo "  stderr is not one line"; return 1; }; }

# a repository: small files, a weight file in a subfolder too, one empty
R=$T/root/org/tiny
mkdir -p "$R/1_Pooling"
echo '{"model_type": "llama"}' >"$R/config.json"
echo '{"pooling": true}' >"$R/1_Pooling/config.json"
echo '# tiny' >"$R/README.md"
: >"$R/empty.txt"
python3 -c "import random; random.seed(1); open('$R/model.safetensors', 'wb').write(random.randbytes(3000000))"
python3 -c "import random; random.seed(2); open('$R/tokenizer.json', 'wb').write(random.randbytes(5000))"
python3 tests/hub/hub.py "$T/root" "$T/port" 2>"$T/hub.err" &
HUB_PID=$!
for _ in $(seq 100); do [ -s "$T/port" ] && break; sleep 0.05; done
[ -s "$T/port" ] || { echo "the hub does not start"; cat "$T/hub.err"; exit 1; }
read -r PORT _ <"$T/port"
export HF_ENDPOINT=http://127.0.0.1:$PORT HF_HOME=$T/hf HOME=$T
unset HF_TOKEN HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_TOKEN_PATH
export no_proxy=127.0.0.1,127.0.0.2,localhost
http() { # path [body to post]
    local line method=GET
    [ $# = 2 ] && method=POST
    exec 9<>"/dev/tcp/127.0.0.1/$PORT"
    printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
        $method "$1" "$(printf %s "${2-}" | wc -c)" "${2-}" >&9
    while read -r line <&9 && [ "$line" != $'\r' ]; do :; done
    cat <&9
    exec 9>&-
}
faults() { http /_faults "$1" >/dev/null; }
requests() { http /_log; }
pull() { timeout 60 "$LOAM" pull "$@" >"$T/out" 2>"$T/err"; }
fresh() { rm -rf "$T/hf"; requests >/dev/null; faults '[]'; }
HUB=$T/hf/hub
MODEL=$HUB/models--org--tiny
same() { cmp -s "$1/config.json" "$R/config.json" && cmp -s "$1/1_Pooling/config.json" "$R/1_Pooling/config.json" &&
    cmp -s "$1/model.safetensors" "$R/model.safetensors" && cmp -s "$1/empty.txt" "$R/empty.txt" &&
    cmp -s "$1/tokenizer.json" "$R/tokenizer.json" && cmp -s "$1/README.md" "$R/README.md"; }
no_partial() { [ -z "$(find "$HUB" -name '*.incomplete')" ]; }

# --- plain ---
fresh
pull org/tiny
check "plain: exit 0" is $? 0
DIR=$(tail -n 1 "$T/out")
COMMIT=$(basename "$DIR")
check "plain: all files" same "$DIR"
check "plain: folder is the snapshot" is "$DIR" "$MODEL/snapshots/$COMMIT"
check "refs without newline" is "$(cat "$MODEL/refs/main" | wc -c)" 40
check "refs/main" is "$(cat "$MODEL/refs/main")" "$COMMIT"
SHA=$(sha256sum <"$R/model.safetensors" | cut -d' ' -f1)
check "LFS blob is named by sha256" cmp -s "$MODEL/blobs/$SHA" "$R/model.safetensors"
check "relative link" is "$(readlink "$DIR/model.safetensors")" "../../blobs/$SHA"
OID=$(python3 -c "import hashlib; d = open('$R/config.json', 'rb').read(); print(hashlib.sha1(b'blob %d\0' % len(d) + d).hexdigest())")
check "ordinary blob is named by git's id" cmp -s "$MODEL/blobs/$OID" "$R/config.json"
check "link in a subfolder" is "$(dirname "$(readlink "$DIR/1_Pooling/config.json")")" ../../../blobs
check "CACHEDIR.TAG" grep -q 8a477f597d28d172789f06886806bc55 "$HUB/CACHEDIR.TAG"
check "lock file" test -e "$HUB/.locks/models--org--tiny/$SHA.lock"
check "trees" is "$(python3 -c "
import json
t = json.load(open('$MODEL/trees/$COMMIT.json'))
print(t['format_version'], len(t['files']), t['files']['model.safetensors']['lfs_sha256'] == '$SHA')")" "1 6 True"
check "nothing partial is left" no_partial

# --- again: nothing to fetch; and on a read-only cache ---
requests >/dev/null
pull org/tiny
check "again: exit 0" is $? 0
check "again: no file is fetched" is "$(requests | grep -c resolve)" 0
check "again: same folder" is "$(tail -n 1 "$T/out")" "$DIR"
if unshare -rm true 2>/dev/null; then # permissions do not bind root: a read-only mount does
    unshare -rm bash -c "mount --bind '$T/hf' '$T/hf' && mount -o remount,ro,bind '$T/hf' &&
        timeout 30 '$LOAM' pull org/tiny" >"$T/out" 2>"$T/err"
    check "read-only cache with everything: exit 0" is $? 0
    unshare -rm bash -c "mount --bind '$T/hf' '$T/hf' && mount -o remount,ro,bind '$T/hf' &&
        timeout 30 '$LOAM' pull org/tiny --revision nope" >"$T/out" 2>"$T/err"
    check "read-only cache, something missing: fails" test $? -ge 1
fi

# --- offline: no sockets, from the cache ---
requests >/dev/null
HF_HUB_OFFLINE=1 pull org/tiny
check "offline: exit 0" is $? 0
check "offline: the folder" is "$(tail -n 1 "$T/out")" "$DIR"
HF_HUB_OFFLINE=yes pull org/other
check "offline, not cached: exit 3" is $? 3
check "offline, not cached: says loam pull" says "loam pull org/other"
check "offline: no request" is "$(requests)" "[]"

# --- include, exclude, revisions, json ---
fresh
pull org/tiny@v1.0 --include '*.json' --exclude '1_Pooling/*' --json
check "globs: exit 0" is $? 0
check "globs: files" is "$(cd "$MODEL/snapshots/$COMMIT" && find . -type l | sort | tr '\n' ' ')" "./config.json ./tokenizer.json "
check "globs: json" is "$(python3 -c "
import json
d = json.load(open('$T/out'))
print(d['repo'], d['revision'], d['commit'], d['files'], d['path'] == '$MODEL/snapshots/$COMMIT')")" "org/tiny v1.0 $COMMIT 2 True"
check "revision's ref" is "$(cat "$MODEL/refs/v1.0")" "$COMMIT"
pull org/tiny --revision refs/pr/1 -q
check "nested ref" is "$(cat "$MODEL/refs/refs/pr/1")" "$COMMIT"
fresh
pull "hf://org/tiny@$COMMIT"
check "commit as revision: exit 0" is $? 0
check "commit as revision: no ref" is "$(ls "$MODEL/refs")" ""
pull org/tiny --include 'nothing*'
check "no match: exit 3" is $? 3

# --- errors: one line each ---
fresh
pull org/none
check "404: exit 3" is $? 3
check "404: one line" one_line
pull org/tiny@nope
check "no revision: exit 3" is $? 3
check "no revision: named" says "no revision nope"
faults '[{"kind": "token", "value": "hf_right"}]'
pull org/tiny
check "401: exit 5" is $? 5
check "401: says HF_TOKEN" says HF_TOKEN
check "401: one line" one_line
faults '[{"kind": "token", "value": "hf_right", "code": "GatedRepo"}]'
HF_TOKEN=hf_wrong pull org/tiny
check "gated: exit 5" is $? 5
check "gated: says where" says "accept its terms at $HF_ENDPOINT/org/tiny"
for bad in 'org/../x' 'a/b/c' 'org/na--me' '-x/y' 'org/tiny@../x'; do
    pull -- "$bad"
    check "bad name $bad: exit 2" is $? 2
done
HF_ENDPOINT=http://127.0.0.1:9 pull org/tiny --retries 1
check "nobody listens: exit 5" is $? 5
check "nothing was written" test ! -e "$MODEL/refs/main"

# --- token: to the hub, never to the CDN ---
fresh
faults '[{"kind": "token", "value": "hf_right"}]'
HF_TOKEN=hf_right pull org/tiny
check "token: exit 0" is $? 0
requests >"$T/log"
check "token: hub yes, CDN no" is "$(python3 -c "
import json
l = json.load(open('$T/log'))
print(all(r['token'] == 'Bearer hf_right' for r in l if r['server'] == 'hub'),
      [r['token'] for r in l if r['server'] == 'cdn'])")" "True [None, None]"
fresh
faults '[{"kind": "token", "value": "hf_file"}]'
mkdir -p "$T/hf" && printf 'hf_file\n' >"$T/hf/token"
pull org/tiny
check "token from the file: exit 0" is $? 0

# --- faults on the way ---
fault_case() { # name faults [options]
    fresh
    faults "$2"
    pull org/tiny "${@:3}"
    check "$1: exit 0" is $? 0
    check "$1: files" same "$MODEL/snapshots/$COMMIT"
    check "$1: nothing partial" no_partial
}
fault_case "cut connection" '[{"kind": "cut", "match": "model.safe", "bytes": 1000000, "times": 2}]'
check "cut: resumed, not restarted" is "$(requests | grep -o 'bytes=[0-9]*-' | uniq | tr '\n' ' ')" "bytes=1000000- bytes=2000000- "
fault_case "server ignores Range" '[{"kind": "cut", "match": "model.safe", "bytes": 1000000, "times": 1}, {"kind": "norange", "match": "model.safe"}]'
fault_case "wrong Content-Range" '[{"kind": "cut", "match": "model.safe", "bytes": 1000000, "times": 1}, {"kind": "badrange", "match": "model.safe", "times": 1}]'
fault_case "wrong bytes once" '[{"kind": "wrong", "match": "model.safe", "times": 1}]'
fault_case "wrong bytes once, small file" '[{"kind": "wrong", "match": "/config.json", "times": 1}]'
fault_case "too many bytes once" '[{"kind": "long", "match": "model.safe", "times": 1}]'
fault_case "5xx" '[{"kind": "status", "match": "model.safe", "code": 503, "times": 2}, {"kind": "status", "match": "api/", "code": 500, "times": 1}]'
fault_case "429 with Retry-After" '[{"kind": "status", "match": "model.safe", "code": 429, "headers": {"Retry-After": "1"}, "times": 1}]'
fault_case "stall" '[{"kind": "stall", "match": "model.safe", "bytes": 500000, "seconds": 20, "times": 1}]' --timeout 1
fault_case "gzip nobody asked for" '[{"kind": "gzip", "match": "tokenizer.json", "times": 1}]'
fault_case "hub without a tree" '[{"kind": "status", "match": "/tree/", "code": 404}]'
fresh
faults '[{"kind": "wrong", "match": "model.safe"}]'
pull org/tiny
check "wrong bytes always: exit 5" is $? 5
check "wrong bytes always: says checksum" says checksum
check "wrong bytes always: no ref, no blob" test ! -e "$MODEL/refs/main" -a ! -e "$MODEL/blobs/$SHA"
fresh
faults '[{"kind": "status", "match": "model.safe", "code": 429, "headers": {"Retry-After": "9999"}}]'
pull org/tiny
check "Retry-After of hours: exit 5 at once" is $? 5
fresh
faults '[{"kind": "tree", "entries": [{"type": "file", "path": "../../evil", "size": 3, "oid": "00"}]}]'
pull org/tiny
check "path that leads out: exit 4" is $? 4
check "path that leads out: nothing written" test ! -e "$T/hf/evil" -a ! -e "$HUB/evil"
fresh
faults '[{"kind": "etag", "match": "config.json", "value": "../../x"}]'
pull org/tiny
check "etag that leads out: exit 5" is $? 5

# --- killed and resumed; partial files of other tools stay ---
fresh
mkdir -p "$MODEL/blobs"
echo other >"$MODEL/blobs/$SHA.0a1b2c3d.incomplete"
faults '[{"kind": "slow", "match": "model.safe", "rate": 2000000}]'
"$LOAM" pull org/tiny >"$T/out" 2>"$T/err" &
CHILD=$!
sleep 0.9
kill -9 $CHILD
wait $CHILD 2>/dev/null
check "killed: no ref yet" test ! -e "$MODEL/refs/main"
check "killed: find says incomplete" grep -q "loam pull org/tiny" <(HF_HUB_OFFLINE=1 "$LOAM" pull org/tiny 2>&1)
KEPT=$(stat -c %s "$MODEL"/blobs/"$SHA".loam-*.incomplete)
requests >/dev/null
faults '[]'
pull org/tiny
check "resumed: exit 0" is $? 0
check "resumed: from where it stopped" is "$(requests | grep -o 'bytes=[0-9]*-' | uniq)" "bytes=$KEPT-"
check "resumed: files" same "$MODEL/snapshots/$COMMIT"
check "resumed: the other tool's file is still there" is "$(cat "$MODEL/blobs/$SHA.0a1b2c3d.incomplete")" other

# --- interrupted: exit 130, the partial file stays ---
fresh
faults '[{"kind": "slow", "match": "model.safe", "rate": 2000000}]'
"$LOAM" pull org/tiny >"$T/out" 2>"$T/err" &
CHILD=$!
sleep 0.9
kill -TERM $CHILD
wait $CHILD
check "interrupted: exit 130 or 143" test $? -ge 130
check "interrupted: partial kept" test -n "$(find "$MODEL/blobs" -name '*.incomplete' -size +100k)"

# --- two at once ---
fresh
faults '[{"kind": "slow", "match": "model.safe", "rate": 4000000}]'
"$LOAM" pull org/tiny >"$T/out2" 2>"$T/err2" &
CHILD=$!
pull org/tiny
check "two at once: first exit 0" is $? 0
wait $CHILD
check "two at once: second exit 0" is $? 0
check "two at once: files" same "$MODEL/snapshots/$COMMIT"
check "two at once: the weights crossed the wire once" is "$(requests | grep -o '"server": "cdn"' | wc -l)" 2
check "two at once: nothing partial" no_partial

# --- symlinks off; places that cannot be written; a full disk ---
fresh
HF_HUB_DISABLE_SYMLINKS=1 pull org/tiny
check "no symlinks: exit 0" is $? 0
check "no symlinks: plain files" test -f "$MODEL/snapshots/$COMMIT/config.json" -a ! -L "$MODEL/snapshots/$COMMIT/config.json"
check "no symlinks: files" same "$MODEL/snapshots/$COMMIT"
fresh
HF_HUB_CACHE=/proc/nowhere pull org/tiny
check "cache cannot be made: exit 1 or 3" test $? -ge 1
check "cache cannot be made: one line" one_line
if unshare -rm true 2>/dev/null; then
    mkdir -p "$T/full"
    unshare -rm bash -c "mount -t tmpfs -o size=1m none '$T/full' && HF_HUB_CACHE='$T/full' timeout 30 '$LOAM' pull org/tiny" >"$T/out" 2>"$T/err"
    check "disk too small: exit 6" is $? 6
    check "disk too small: says how much" says "MB free"
fi

# a missing model is fetched for a person at a terminal; a script is told the command
fresh
"$LOAM" tokenize --model org/tiny </dev/null >"$T/out" 2>"$T/err"
check "missing, no terminal: exit 3" test $? = 3
check "missing, no terminal: one line" one_line
check "missing, no terminal: the command" says "loam pull org/tiny"
check "missing, no terminal: nothing asked of the hub" is "$(requests)" "[]"
if command -v script >/dev/null && python3 -c 'import pty; pty.openpty()' 2>/dev/null; then
    timeout 60 script -qec "'$LOAM' tokenize --model org/tiny" /dev/null </dev/null >"$T/out" 2>&1
    check "missing, terminal: fetched" test -e "$HUB/models--org--tiny/refs/main"
else
    echo "no pseudo-terminal can be had here: fetching at a terminal was NOT tested"
fi

echo "test_pull: $passed passed, $failed failed"
[ $failed = 0 ]
