/* cite.c - citations checked against what they cite.
 *
 * The answer is taken sentence by sentence.  A citation "[2]" counts when there is such a
 * passage and it holds at least half of the content words of the sentence before the mark:
 * a plain lexical test, which a person can repeat by looking.  Small models often forget to
 * cite; a sentence without a mark is given to the passage that holds most of its words, if
 * that is three in five or more, and the source is then said to be matched by wording.
 */
#include "rag/rag.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_WORDS = 4096, MIN_WORD = 3 };

/* Lower-case ASCII words (other bytes as they are) of at least three bytes. */
typedef struct words {
    uint64_t hash[MAX_WORDS];
    size_t n;
} words;

static int is_word_byte(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static int is_stop_word(const char *w, size_t n) {
    static const char list[] =
        " the and for are was were with that this from have has had not but its which what "
        "who how why when where can does did will would you your they their there then than "
        "into also such other any all one two about context answer question according ";
    char key[16];
    if (n > 12) return 0;
    key[0] = ' ';
    memcpy(key + 1, w, n);
    key[n + 1] = ' ';
    key[n + 2] = 0;
    return strstr(list, key) != NULL;
}

static void collect(words *out, const char *text, size_t n) {
    out->n = 0;
    for (size_t i = 0; i < n && out->n < MAX_WORDS;) {
        char word[64];
        size_t len = 0;
        for (; i < n && is_word_byte((unsigned char)text[i]); i++)
            if (len < sizeof word)
                word[len++] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
        if (len >= MIN_WORD && !is_stop_word(word, len)) {
            uint64_t h = 1469598103934665603u; /* FNV-1a */
            for (size_t k = 0; k < len; k++) h = (h ^ (unsigned char)word[k]) * 1099511628211u;
            out->hash[out->n++] = h;
        }
        if (i < n && !is_word_byte((unsigned char)text[i])) i++;
    }
}

static int compare(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Share of the words of `claim` that stand in `passage` (sorted); 0 when it has none. */
static double support(const words *claim, const words *passage) {
    size_t found = 0;
    for (size_t i = 0; i < claim->n; i++)
        found += bsearch(&claim->hash[i], passage->hash, passage->n, sizeof *passage->hash,
                         compare) != NULL;
    return claim->n ? (double)found / (double)claim->n : 0.0;
}

static words passages[RAG_MAX_TOP_K];

/* End of the sentence that starts at `at`: behind its stop and the marks that follow it. */
static size_t sentence_end(loam_text t, size_t at) {
    size_t i = at;
    for (; i < t.n; i++) {
        const int stop =
            strchr(".!?", t.data[i]) && (i + 1 == t.n || strchr(" \n[\"", t.data[i + 1]));
        if (t.data[i] == '\n' || stop) break;
    }
    if (i < t.n) i++;
    for (;;) { /* "... in turns. [1][2]" */
        size_t j = i;
        while (j < t.n && t.data[j] == ' ') j++;
        if (j >= t.n || t.data[j] != '[') return i;
        size_t k = j + 1;
        while (k < t.n && t.data[k] >= '0' && t.data[k] <= '9') k++;
        if (k == j + 1 || k >= t.n || t.data[k] != ']') return i;
        i = k + 1;
    }
}

/* Next mark "[number]" at or behind *at; 0 when there is none; *at moves behind it. */
static size_t next_mark(const char *s, size_t n, size_t *at) {
    for (size_t i = *at; i + 2 < n; i++) {
        if (s[i] != '[') continue;
        size_t j = i + 1, number = 0;
        for (; j < n && s[j] >= '0' && s[j] <= '9' && number < 1000; j++)
            number = number * 10 + (size_t)(s[j] - '0');
        if (j == i + 1 || j >= n || s[j] != ']' || number == 0) continue;
        *at = j + 1;
        return number;
    }
    return 0;
}

static void cite_sentence(const char *s, size_t n, rag_contexts *c) {
    static words claim;
    size_t at = 0, number, best = c->n;
    double most = 0.6;
    int named = 0;
    collect(&claim, s, n);
    while ((number = next_mark(s, n, &at)) != 0) {
        named = 1;
        if (number <= c->n && support(&claim, &passages[number - 1]) >= 0.5)
            c->items[number - 1].cited = RAG_CITED;
    }
    if (named || claim.n < 3) return;
    for (size_t i = 0; i < c->n; i++) {
        const double share = support(&claim, &passages[i]);
        if (share >= most && (best == c->n || share > most)) {
            most = share;
            best = i;
        }
    }
    if (best < c->n && !c->items[best].cited) c->items[best].cited = RAG_MATCHED;
}

size_t rag_cite(loam_text answer, rag_contexts *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        c->items[i].cited = 0;
        collect(&passages[i], c->items[i].chunk.text.data, c->items[i].chunk.text.n);
        qsort(passages[i].hash, passages[i].n, sizeof *passages[i].hash, compare);
    }
    for (size_t at = 0, end; at < answer.n; at = end) {
        end = sentence_end(answer, at);
        cite_sentence(answer.data + at, end - at, c);
    }
    for (size_t i = 0; i < c->n; i++) n += c->items[i].cited != 0;
    return n;
}
