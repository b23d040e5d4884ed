/* test_tokenizer_work.c - the steps that a text costs grow with its length, whatever it says.
 *
 * A loop that grows with its square would run for hours: past the bound the test ends at once.
 *
 * The files whose loops a text drives are compiled here once more, with their steps counted; the
 * linker takes these instead of the library's. */
#include <stdint.h>
static uint64_t work, work_bound = UINT64_MAX;
static void pass_bound(void);
#define LOAM_WORK(steps)                                                                           \
    do {                                                                                           \
        work += (uint64_t)(steps);                                                                 \
        if (work > work_bound) pass_bound();                                                       \
    } while (0)
#include "../src/text/bpe.c"
#include "../src/text/regex.c"
#include "../src/text/words.c"
#include "test.h"
#include <loam/text.h>

#define HERE   "tests/golden/tokenizers/"
#define SHARED "../shared/golden/llm/smollm2/files"

enum { LARGE = 1 << 20, SMALLER = 1 << 17, STEPS_A_BYTE = 120 };

/* What repeats: a letter, white space, emoji, marks, words that no space ends, ... */
static const char *const UNITS[] = {
    "a",      " ",  "\n",     " \n", "\u00fc",   "\U0001f600",  "\u0301\u0327",
    "1",      "'",  "'s",     "A",   "Aa",       "A\u0301",     "\t ",
    "\u4e2d", "</", "\u2581", "x ",  "\u00a0\n", "\u1100\u1161"};

static char *text;
static const char *tried_file, *tried_text; /* what is at work */
static uint64_t all_work; /* of one tokenizer: a test of nothing would count nothing */

static void repeat_unit(const char *unit) {
    const size_t len = strlen(unit), whole = LARGE / len * len;
    for (size_t i = 0; i < whole; i++) text[i] = unit[i % len];
    memset(text + whole, 'z', LARGE - whole);
}

/* A base64 line without end: letters of all kinds, no two places alike. */
static void fill_base64(void) {
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t x = 1;
    for (size_t i = 0; i < LARGE; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = set[x >> 26];
    }
}

static void pass_bound(void) {
    fprintf(stderr, "test_tokenizer_work: FAILED: %s, '%s': more than %llu steps, stopped\n",
            tried_file, tried_text, (unsigned long long)work_bound);
    exit(1);
}

static void begin_count(size_t n) {
    work = 0;
    work_bound = (uint64_t)STEPS_A_BYTE * n + 10000;
}

static uint64_t count_steps(const loam_tokenizer *tok, size_t n) {
    loam_ids ids = {0};
    loam_err err = {0};
    while (n && ((unsigned char)text[n] & 0xc0) == 0x80) n--; /* whole characters */
    begin_count(n);
    CHECK(!loam_tokenizer_encode(tok, text, n, 0, &ids, &err), "%s", err.msg);
    loam_ids_deinit(&ids);
    work_bound = UINT64_MAX;
    return work;
}

/* Eight times the text: at most eight times the steps, and what the heap's depth adds (three levels
 * to the 15 or more of the smaller one, so at most a quarter).  pass_bound sees to a fixed number a
 * byte. */
static void check_growth(uint64_t few, uint64_t many, const char *file, const char *what) {
    CHECK(many <= few * 10 + 10000, "%s, '%s': %llu steps, of 8 times %llu", file, what,
          (unsigned long long)many, (unsigned long long)few);
    all_work += many;
}

/* The hand-written matchers by themselves. */
static uint64_t count_matches(loam_matcher match, size_t n) {
    while (n && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    begin_count(n);
    for (size_t i = 0; i < n;) i = match(text, n, i);
    work_bound = UINT64_MAX;
    return work;
}

static void check_all(const loam_tokenizer *tok, const char *file, const char *what) {
    tried_file = file;
    tried_text = what;
    if (tok) {
        check_growth(count_steps(tok, SMALLER), count_steps(tok, LARGE), file, what);
        return;
    }
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        tried_file = KNOWN[i].pattern;
        check_growth(count_matches(KNOWN[i].match, SMALLER), count_matches(KNOWN[i].match, LARGE),
                     KNOWN[i].pattern, what);
    }
}

static void check_texts(const loam_tokenizer *tok, const char *file, size_t n_units) {
    all_work = 0;
    for (size_t i = 0; i < n_units; i++) {
        repeat_unit(UNITS[i]);
        check_all(tok, file, UNITS[i]);
    }
    fill_base64();
    check_all(tok, file, "base64");
    CHECK(all_work > 0, "%s: no steps", file);
}

int main(void) {
    static const char *const FILES[] = {HERE "small/bytes_plain.json",
                                        HERE "small/sp_all.json",
                                        HERE "small/norm_nfc.json",
                                        HERE "small/unigram_plain.json",
                                        HERE "minilm",
                                        SHARED};
    text = malloc(LARGE + 1);
    if (!text) return 2;
    text[LARGE] = 0;
    const size_t n_units = sizeof UNITS / sizeof *UNITS;
    check_texts(NULL, "patterns", n_units);
    for (size_t f = 0; f < sizeof FILES / sizeof *FILES; f++) {
        loam_tokenizer *tok = NULL;
        loam_err err = {0};
        if (loam_tokenizer_open(&tok, FILES[f], &err))
            CHECK(!strcmp(FILES[f], SHARED), "%s: %s", FILES[f], err.msg);
        else
            check_texts(tok, FILES[f], f < 2 ? n_units : 8);
        loam_tokenizer_close(tok);
    }
    free(text);
    return TEST_END("test_tokenizer_work");
}
