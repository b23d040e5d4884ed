#!/bin/bash
# Everything a change must pass: format, layers, both compilers, sanitizers, fuzz smoke, static analysis, man pages.
# usage: check.sh [STEP...]    steps: format layers gcc clang bits32 asan tsan fuzz cppcheck tidy man arm amx avx512 avxvnni masked (default: all)
# FUZZ_SECONDS (default 60) per fuzz target.
set -u
steps=${*:-format layers gcc clang bits32 asan tsan fuzz cppcheck tidy man arm amx avx512 avxvnni masked}
failed=""
jobs=$(nproc)

need=""
[ -e /usr/include/simde/x86/avx512.h ] || need=libsimde-dev
for p in clang clang-format clang-tidy cppcheck mandoc; do command -v $p >/dev/null 2>&1 || need="$need $p"; done
if [ -n "$need" ]; then
    # shellcheck disable=SC2086
    apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $need >/dev/null
fi

sources() { git ls-files 'src/*.c' 'apps/*.c' 'tests/*.c' 'bench/*.c' 'src/*.h' 'apps/*.h' 'include/*.h' 'tests/*.h'; }
step_format() { sources | xargs clang-format --dry-run -Werror; }
step_layers() { python3 tools/check-layers.py; }
step_gcc() { make -s -j"$jobs" CC=gcc all tests; }
step_bits32() { # the library's sources as a 32-bit compiler reads them; the headers are this machine's
    local stubs=build/bits32 f status=0
    mkdir -p $stubs/gnu
    : >$stubs/gnu/stubs-32.h
    echo 'int x;' | gcc -m32 -fsyntax-only -xc - 2>/dev/null || { echo "gcc has no -m32 here"; return 77; }
    for f in $(git ls-files 'src/*.c'); do
        gcc -m32 -fsyntax-only -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -isystem $stubs -isystem "/usr/include/$(gcc -print-multiarch)" \
            -Wall -Wextra -Wconversion -Wformat=2 -Werror "$f" || status=1
    done
    return $status
}
step_clang() { make -s -j"$jobs" CONFIG=clang all tests; }
step_asan() { make -s -j"$jobs" CONFIG=asan all tests && ASAN_OPTIONS=detect_stack_use_after_return=1 tools/run-tests.sh build/asan build/asan/bin; }
step_tsan() { # the units that use threads
    make -s -j"$jobs" CONFIG=tsan tests || return 1
    local t
    for t in base ops kernels qmm stream encoder decoder embedder reranker index sampler; do
        build/tsan/tests/test_$t || return 1
    done
}
step_fuzz() {
    make -s -j"$jobs" CONFIG=fuzz fuzzers || return 1
    local f corpus
    for f in build/fuzz/fuzz/fuzz_*; do
        case $f in *.o | *.d) continue ;; esac
        corpus=build/fuzz/corpus/$(basename "$f")
        mkdir -p "$corpus"
        local seeds=tests/fuzz/seeds/$(basename "$f" | sed s/^fuzz_//)
        echo "fuzz: $(basename "$f"), ${FUZZ_SECONDS:-60} s"
        "$f" -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=2048 -timeout=20 -print_final_stats=0 -verbosity=0 \
            -artifact_prefix="$corpus-" "$corpus" $([ -d "$seeds" ] && echo "$seeds") || return 1
    done
}
step_cppcheck() { cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
    --suppress=missingIncludeSystem '-D_Noreturn=__attribute__((noreturn))' --force -Iinclude -Isrc -Iapps src apps; }
tidy_file() { # FILE
    local flags=(-std=c11 -D_GNU_SOURCE -Iinclude -Isrc -Iapps)
    [ "$1" = src/base/err.c ] || flags+=(-include tools/tidy.h)
    # shellcheck disable=SC2046
    clang-tidy --quiet "$1" -- "${flags[@]}" $(pkg-config --cflags poppler-glib 2>/dev/null) 2>/dev/null
}
step_tidy() {
    export -f tidy_file
    git ls-files 'src/*.c' 'apps/*.c' | grep -v '^src/kernels/' | xargs -P "$jobs" -I{} bash -c 'tidy_file {}'
}
step_man() { # the pages that installing makes, without complaint from mandoc
    make -s -j"$jobs" CC=gcc all && tools/make-man.sh build/bin build/release/man &&
        ! mandoc -T lint -W warning build/release/man/*.1 | grep -v 'missing date' # has none, to be the same each time
}

step_arm() { tools/test-aarch64.sh; } # 77: no cross compiler here
step_amx() { make -s -j"$jobs" CC=gcc lib && tools/test-amx.sh; } # 77: no SIMDe here
step_avx512() { make -s -j"$jobs" CC=gcc lib && tools/test-avx512.sh; }
step_avxvnni() { make -s -j"$jobs" CC=gcc lib && tools/test-avxvnni.sh; }
step_masked() { make -s -j"$jobs" CC=gcc all tests && tools/test-masked-cpu.sh; } # 77: no qemu-user-static

for s in $steps; do
    start=$SECONDS
    "step_$s" >"/tmp/loam-check-$s.log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        echo "ok     $s ($((SECONDS - start)) s)"
    elif [ $status -eq 77 ]; then
        echo "NOT RUN $s: $(tail -n 1 "/tmp/loam-check-$s.log")"
        not_run="${not_run:-} $s"
    else
        echo "FAILED $s: the end of its output:"
        tail -n 30 "/tmp/loam-check-$s.log" | sed 's/^/       /'
        failed="$failed $s"
    fi
done
[ -z "$failed" ] && echo "check: nothing failed${not_run:+, NOT RUN:$not_run}" || { echo "check: failed:$failed"; exit 1; }
