#!/bin/bash
# Runs every unit test program and every whole-program script; ends with "N passed, N failed".
# usage: run-tests.sh OBJDIR BINDIR
# With TEST_AARCH64 set the tests of the 64-bit ARM build, under qemu, count among them: a compiler or an
# emulator that is missing is a failure then.
set -u
obj=$1
export BIN=$2
passed=0 failed=0
run() { # name command...
    local name=$1 start=$SECONDS out
    shift
    out=$(mktemp)
    local code=0
    timeout 300 "$@" >"$out" 2>&1 </dev/null || code=$?
    if [ $code = 0 ]; then
        passed=$((passed + 1))
        echo "ok     $name ($((SECONDS - start)) s): $(tail -n 1 "$out")"
    else
        failed=$((failed + 1))
        echo "FAILED $name (exit $code)"
        tail -n 40 "$out" | sed 's/^/       /'
    fi
    rm -f "$out"
}
for t in "$obj"/tests/test_*; do
    case $t in *.o | *.d) continue ;; esac
    run "$(basename "$t")" "$t"
done
for s in tests/cli/test_*.sh; do
    [ -e "$s" ] && run "$(basename "$s")" bash "$s"
done
if [ -n "${TEST_AARCH64:-}" ]; then
    run "aarch64 build" tools/test-aarch64.sh build
    for t in $(tools/test-aarch64.sh list); do run "aarch64 $t" tools/test-aarch64.sh run "$t"; done
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
