/* cite.c - citations checked against what they cite.
 *
 * A citation counts when its number is one of the passages and at least half of the
 * content words of its sentence stand in that passage: a plain lexical test, which a
 * person can repeat by looking.  Small models often forget to cite; then the passage
 * that holds most of the answer's words is named, and said to be matched by wording.
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

/* The sentence around position `at`: back to the last stop, forward over the marks. */
static size_t sentence_start(loam_text t, size_t at) {
    while (at > 0 && strchr(" []0123456789,.", t.data[at - 1]))
        at--; /* the mark may follow the full stop */
    while (at > 0 && !strchr(".!?\n", t.data[at - 1])) at--;
    return at;
}

static words passages[RAG_MAX_TOP_K];

static size_t check_marks(loam_text answer, rag_contexts *c, int *named) {
    static words claim;
    size_t good = 0;
    for (size_t i = 0; i + 2 < answer.n; i++) {
        if (answer.data[i] != '[') continue;
        size_t j = i + 1, number = 0;
        for (; j < answer.n && answer.data[j] >= '0' && answer.data[j] <= '9' && number < 1000; j++)
            number = number * 10 + (size_t)(answer.data[j] - '0');
        if (j == i + 1 || j >= answer.n || answer.data[j] != ']') continue;
        *named = 1;
        if (number < 1 || number > c->n) continue;
        const size_t start = sentence_start(answer, i);
        collect(&claim, answer.data + start, i - start);
        if (support(&claim, &passages[number - 1]) < 0.5) continue;
        if (!c->items[number - 1].cited) good++;
        c->items[number - 1].cited = 1;
    }
    return good;
}

size_t rag_cite(loam_text answer, rag_contexts *c, int *matched) {
    static words whole;
    int named = 0;
    *matched = 0;
    for (size_t i = 0; i < c->n; i++) {
        c->items[i].cited = 0;
        collect(&passages[i], c->items[i].chunk.text.data, c->items[i].chunk.text.n);
        qsort(passages[i].hash, passages[i].n, sizeof *passages[i].hash, compare);
    }
    const size_t good = check_marks(answer, c, &named);
    if (good > 0 || named) return good;
    collect(&whole, answer.data, answer.n);
    double best = 0.6;
    size_t which = c->n;
    for (size_t i = 0; i < c->n; i++) {
        const double s = support(&whole, &passages[i]);
        if (s > best) {
            best = s;
            which = i;
        }
    }
    if (which == c->n || whole.n < 2) return 0;
    c->items[which].cited = 1;
    *matched = 1;
    return 1;
}
