#!/bin/bash
# Writes man/*.1 from the programs' own option tables.
# usage: make-man.sh BINDIR
set -eu
bin=$1
"$bin/rag-cli" --print-man >man/rag-cli.1
[ ! -x "$bin/bench-cli" ] || "$bin/bench-cli" --print-man >man/bench-cli.1
commands=$("$bin/loam" --help | sed -n '/^Commands:/,/^$/p' | awk 'NR > 1 && NF { print $1 }')
for c in $commands; do "$bin/loam" "$c" --print-man >"man/loam-$c.1"; done
{
    printf '.TH "loam" 1 "" "loam" "loam"\n.SH NAME\nloam \\- local offline AI on any machine\n.SH SYNOPSIS\n.B loam\nCOMMAND [OPTIONS]\n.SH COMMANDS\n'
    "$bin/loam" --help | sed -n '/^Commands:/,/^$/p' | awk 'NR > 1 && NF { name = $1; $1 = ""; sub(/^ /, ""); gsub(/-/, "\\-"); printf ".TP\n.BR loam\\-%s (1)\n%s\n", name, $0 }'
    printf '.SH ENVIRONMENT\n.TP\n.B LOAM_MODELS\nFolder of models found by name (default: $XDG_DATA_HOME/loam/models).\n'
    printf '.TP\n.B HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE\nAs for the Hugging Face tools; the cache is shared with them.\n'
    printf '.TP\n.B LOAM_LIBEXEC\nFolder of the helper programs.\n.TP\n.B NO_COLOR\nNo colours when set.\n.TP\n.B SOURCE_DATE_EPOCH\nThe date that chat templates print.\n'
    printf '.SH SEE ALSO\n.BR rag\\-cli (1)\n'
} >man/loam.1
