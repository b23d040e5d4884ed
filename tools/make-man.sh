#!/bin/bash
# Writes OUTDIR/*.1 from the programs' own option tables.
# usage: make-man.sh BINDIR OUTDIR
set -eu
bin=$1 out=$2
mkdir -p "$out"

commands() { "$bin/$1" --help | sed -n '/^Commands:/,/^$/p' | awk 'NR > 1 && NF'; }

# page PROGRAM SUMMARY: the page of a program with commands, and one for each of them
page() {
    local c
    for c in $(commands "$1" | awk '{ print $1 }'); do "$bin/$1" "$c" --print-man >"$out/$1-$c.1"; done
    {
        printf '.TH "%s" 1 "" "loam" "loam"\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\nCOMMAND [OPTIONS]\n.SH COMMANDS\n' "$1" "${1/-/\\-}" "$2" "$1"
        commands "$1" | awk -v p="${1/-/\\\\-}" '{ name = $1; $1 = ""; sub(/^ /, ""); gsub(/-/, "\\-"); printf ".TP\n.BR %s\\-%s (1)\n%s\n", p, name, $0 }'
        cat <<'ROFF'
.SH ENVIRONMENT
.TP
.B LOAM_MODELS
Folder of models found by name (default: $XDG_DATA_HOME/loam/models, else ~/.local/share/loam/models).
.TP
.B HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE
As for the Hugging Face tools; the cache is shared with them.
.TP
.B LOAM_LIBEXEC
Folder of the helper programs.
.TP
.B SOURCE_DATE_EPOCH
The date that chat templates print, in UTC.
.SH SEE ALSO
.BR loam (1),
.BR rag\-cli (1)
ROFF
    } >"$out/$1.1"
}

"$bin/rag-cli" --print-man >"$out/rag-cli.1"
page loam "local offline AI on any machine"
page bench-cli "how fast loam is on this machine"
