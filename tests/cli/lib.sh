# lib.sh - sourced by the whole-program tests: run a command, look at what a user would see.
# BIN is the folder of the programs.
set -u
BIN=${BIN:-build/bin}
PATH=$PWD/$BIN:$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checks=0 failures=0

fail() { failures=$((failures + 1)); echo "FAILED: $*"; }
check() { checks=$((checks + 1)); "$@" || fail "$*"; }

# run COMMAND...: leaves $code, $work/out, $work/err
run() {
    code=0
    "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
}
# expect CODE NAME: the last run's exit code
expect() {
    checks=$((checks + 1))
    [ "$code" = "$1" ] || fail "$2: exit $code, expected $1: $(head -c 300 "$work/err")"
}
# one_line NAME: standard error holds exactly one line, "program: ..."
one_line() {
    checks=$((checks + 1))
    [ "$(wc -l <"$work/err")" = 1 ] && grep -qE '^[a-z-]+( [a-z]+)?: .' "$work/err" || fail "$1: standard error is not one line: $(head -c 400 "$work/err")"
}
# says TEXT NAME / prints TEXT NAME: standard error / output holds the text
says() { checks=$((checks + 1)); grep -qF -- "$1" "$work/err" || fail "$2: standard error lacks '$1': $(head -c 300 "$work/err")"; }
prints() { checks=$((checks + 1)); grep -qF -- "$1" "$work/out" || fail "$2: output lacks '$1': $(head -c 300 "$work/out")"; }
silent() { checks=$((checks + 1)); [ ! -s "$work/err" ] || fail "$1: standard error is not empty: $(head -c 300 "$work/err")"; }
finish() { echo "$checks checks, $failures failed"; [ "$failures" = 0 ] && [ "$checks" -gt 0 ]; }
