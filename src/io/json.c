/* json.c - the JSON parser and the questions one can ask of a document.
 *
 * One pass, no recursion, three pieces of memory: the nodes (json_value.h), the
 * decoded strings (never longer than the text, so one block taken at the start),
 * and indexes for containers of more than SMALL children, which make _at and
 * _get constant in time without any state that reading threads would share.
 */
#include "io/json_value.h"

#include "base/base.h"
#include "base/utf8.h"

#include <locale.h>
#include <pthread.h>
#include <sys/random.h>
#include <time.h>

enum { MAX_DEPTH = 128, SMALL = 16, BLOCK_BYTES = 1 << 16 };

/* Indexes are carved from blocks that are freed with the document. */
typedef struct block {
    struct block *next;
    size_t used, size; /* in uint32_t */
    uint32_t items[];
} block;

struct loam_json {
    loam_json_value *nodes;
    char *strings;
    block *blocks;
};

typedef struct level {
    uint32_t node; /* the open container */
    uint32_t last; /* its last child so far */
    uint32_t count;
    uint32_t span; /* of the children so far, while all are equal; else 0 */
} level;

typedef struct parser {
    const char *name;
    const unsigned char *text;
    size_t n, at;
    unsigned flags;
    loam_json *doc;
    size_t n_nodes, cap_nodes;
    size_t n_strings; /* bytes used */
    uint64_t seed;
    level stack[MAX_DEPTH];
    size_t depth;
    loam_err *err;
} parser;

/* ---- numbers without a locale ---- */

static pthread_once_t locale_once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void make_locale(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

double loam_json_strtod(const char *text) {
    pthread_once(&locale_once, make_locale);
    return c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
}

/* ---- memory ---- */

static loam_status fail_at(const parser *p, size_t at, const char *why) {
    return loam_fail(p->err, LOAM_ERR_FORMAT, "%s: %s at byte %zu", p->name, why, at);
}

static loam_status fail_memory(const parser *p) {
    return loam_fail(p->err, LOAM_ERR_MEMORY, "%s: out of memory for JSON of %zu bytes", p->name,
                     p->n);
}

static uint32_t *take_index(loam_json *doc, size_t n) {
    block *b = doc->blocks;
    if (!b || b->size - b->used < n) {
        const size_t size = n > BLOCK_BYTES / 4 ? n : BLOCK_BYTES / 4;
        b = malloc(sizeof *b + size * sizeof b->items[0]);
        if (!b) return NULL;
        *b = (block){.next = doc->blocks, .size = size};
        doc->blocks = b;
    }
    uint32_t *items = b->items + b->used;
    b->used += n;
    memset(items, 0, n * sizeof *items);
    return items;
}

static loam_json_value *add_node(parser *p) {
    if (p->n_nodes == p->cap_nodes) {
        const size_t cap = p->cap_nodes ? p->cap_nodes + p->cap_nodes / 2 : 64;
        loam_json_value *nodes = realloc(p->doc->nodes, cap * sizeof *nodes);
        if (!nodes) return NULL;
        p->doc->nodes = nodes;
        p->cap_nodes = cap;
    }
    return &p->doc->nodes[p->n_nodes++];
}

/* ---- strings ---- */

static int hex_value(unsigned char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Four hex digits at `at`, or -1. */
static int32_t read_hex4(const parser *p, size_t at) {
    if (p->n - at < 4) return -1;
    int32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        const int digit = hex_value(p->text[at + i]);
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* The \uXXXX at p->at (which stands on the 'u'), a surrogate pair included. */
static loam_status read_unicode_escape(parser *p, size_t start, char *out, size_t *n_out) {
    int32_t c = read_hex4(p, p->at + 1);
    if (c < 0) return fail_at(p, start, "bad \\u escape");
    p->at += 5;
    if (c >= 0xd800 && c <= 0xdbff && p->n - p->at >= 6 && p->text[p->at] == '\\' &&
        p->text[p->at + 1] == 'u') {
        const int32_t low = read_hex4(p, p->at + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            p->at += 6;
        }
    }
    if (c >= 0xd800 && c <= 0xdfff) {
        if (!(p->flags & LOAM_JSON_LONE_SURROGATES))
            return fail_at(p, start, "lone surrogate escape");
        c = 0xfffd;
    }
    *n_out += loam_utf8_put(out + *n_out, (uint32_t)c);
    return LOAM_OK;
}

static loam_status read_escape(parser *p, char *out, size_t *n_out) {
    const size_t start = p->at++;
    const int c = p->at < p->n ? p->text[p->at] : 0;
    char plain;
    switch (c) {
    case '"':
    case '\\':
    case '/': plain = (char)c; break;
    case 'b': plain = '\b'; break;
    case 'f': plain = '\f'; break;
    case 'n': plain = '\n'; break;
    case 'r': plain = '\r'; break;
    case 't': plain = '\t'; break;
    case 'u': return read_unicode_escape(p, start, out, n_out);
    default: return fail_at(p, start, "bad escape");
    }
    p->at++;
    out[(*n_out)++] = plain;
    return LOAM_OK;
}

/* How many bytes from `at` on need no attention: printable ASCII without '"' and '\'.
 * Eight at a time: (v - 0x01..) & ~v finds zero bytes, and a byte below 0x20 borrows. */
static size_t plain_run(const unsigned char *s, size_t n) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        const uint64_t v = loam_read_u64(s + i);
        const uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
        const uint64_t stop =
            (v | (v - ones * 0x20) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & high;
        if (stop) break;
    }
    while (i < n && s[i] >= 0x20 && s[i] < 0x80 && s[i] != '"' && s[i] != '\\') i++;
    return i;
}

/* The string whose opening quote is at p->at, decoded behind the earlier ones. */
static loam_status read_string(parser *p, const char **text, uint32_t *n_text) {
    char *out = p->doc->strings + p->n_strings;
    const size_t start = p->at++;
    size_t n = 0;

    for (;;) {
        const size_t run = plain_run(p->text + p->at, p->n - p->at);
        memcpy(out + n, p->text + p->at, run);
        n += run;
        p->at += run;
        if (p->at == p->n) return fail_at(p, start, "string without an end");
        const unsigned char c = p->text[p->at];
        if (c == '"') break;
        if (c == '\\') {
            const loam_status st = read_escape(p, out, &n);
            if (st) return st;
        } else if (c < 0x20) {
            return fail_at(p, p->at, "control character in a string");
        } else {
            const size_t length = loam_utf8_length((const char *)p->text + p->at, p->n - p->at);
            if (!length) return fail_at(p, p->at, "invalid UTF-8");
            memcpy(out + n, p->text + p->at, length);
            n += length;
            p->at += length;
        }
    }
    p->at++;
    out[n] = '\0';
    p->n_strings += n + 1; /* the two quotes make room for the NUL */
    *text = out;
    *n_text = (uint32_t)n;
    return LOAM_OK;
}

/* ---- numbers ---- */

static int is_digit(const parser *p, size_t at) {
    return at < p->n && p->text[at] >= '0' && p->text[at] <= '9';
}

static size_t skip_digits(const parser *p, size_t at) {
    while (is_digit(p, at)) at++;
    return at;
}

/* Value of the digits and point in [from, to) times 10^exponent, when a double holds
 * both exactly (Clinger's fast path); 0 when strtod must decide. */
static int convert_fast(const parser *p, size_t from, size_t to, double *out) {
    static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    uint64_t mantissa = 0;
    int after_point = 0, exponent = 0;
    size_t i = from;
    if (to - from > 17) return 0;
    for (; i < to && p->text[i] != 'e' && p->text[i] != 'E'; i++) {
        if (p->text[i] == '.') {
            after_point = 1;
            continue;
        }
        mantissa = mantissa * 10 + (uint64_t)(p->text[i] - '0');
        exponent -= after_point;
    }
    if (i < to) return 0;
    if (mantissa > (uint64_t)1 << 53 || exponent < -22) return 0;
    *out = (double)mantissa / POWERS[-exponent];
    return 1;
}

static loam_status read_real(parser *p, size_t start, size_t end, loam_json_value *v) {
    const int negative = p->text[start] == '-';
    v->type = LOAM_JSON_REAL;
    if (convert_fast(p, start + (size_t)negative, end, &v->as.real)) {
        if (negative) v->as.real = -v->as.real;
        return LOAM_OK;
    }
    char *copy = loam_strndup((const char *)p->text + start, end - start);
    if (!copy) return fail_memory(p);
    v->as.real = loam_json_strtod(copy);
    free(copy);
    return LOAM_OK;
}

/* An integer beyond int64 (tokenizer_config.json's model_max_length is 10^30) keeps its
 * digits, so that it can be written back as it was.  They fit among the strings: a string
 * takes no more than its text there, and between two numbers there is at least one byte. */
static void keep_digits(parser *p, size_t start, size_t end, loam_json_value *v) {
    char *out = p->doc->strings + p->n_strings;
    memcpy(out, p->text + start, end - start);
    out[end - start] = '\0';
    p->n_strings += end - start + 1;
    v->type = LOAM_JSON_REAL;
    v->flags |= JSON_BIG_INTEGER;
    v->as.text = out;
    v->n = (uint32_t)(end - start);
}

static loam_status read_number(parser *p, loam_json_value *v) {
    const size_t start = p->at;
    const int negative = p->text[p->at] == '-';
    size_t at = start + (size_t)negative;
    if (!is_digit(p, at)) return fail_at(p, start, "unexpected character");
    const size_t first = at;
    at = skip_digits(p, at);
    if (p->text[first] == '0' && at - first > 1)
        return fail_at(p, start, "number with leading zero");

    const size_t end_integer = at;
    if (at < p->n && p->text[at] == '.') {
        if (!is_digit(p, at + 1)) return fail_at(p, start, "number without digits after '.'");
        at = skip_digits(p, at + 1);
    }
    if (at < p->n && (p->text[at] == 'e' || p->text[at] == 'E')) {
        size_t digits = at + 1;
        if (digits < p->n && (p->text[digits] == '+' || p->text[digits] == '-')) digits++;
        if (!is_digit(p, digits)) return fail_at(p, start, "number without digits in its exponent");
        at = skip_digits(p, digits);
    }
    p->at = at;
    if (at != end_integer) return read_real(p, start, at, v);

    int64_t value = 0;
    for (size_t i = first; i < at; i++) {
        const int64_t digit = p->text[i] - '0';
        if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) { /* downwards: INT64_MIN fits */
            keep_digits(p, start, at, v);
            return LOAM_OK;
        }
    }
    if (!negative && value == INT64_MIN) {
        keep_digits(p, start, at, v);
        return LOAM_OK;
    }
    v->type = LOAM_JSON_INT;
    v->as.integer = negative ? value : -value;
    return LOAM_OK;
}

/* ---- words ---- */

static int take_word(parser *p, const char *word) {
    const size_t n = strlen(word);
    if (p->n - p->at < n || memcmp(p->text + p->at, word, n) != 0) return 0;
    p->at += n;
    return 1;
}

static loam_status read_word(parser *p, loam_json_value *v) {
    const int nan_allowed = (p->flags & LOAM_JSON_ALLOW_NAN) != 0;
    if (take_word(p, "true")) {
        v->type = LOAM_JSON_TRUE;
    } else if (take_word(p, "false")) {
        v->type = LOAM_JSON_FALSE;
    } else if (take_word(p, "null")) {
        v->type = LOAM_JSON_NULL;
    } else if (nan_allowed && take_word(p, "NaN")) {
        v->type = LOAM_JSON_REAL;
        v->as.real = __builtin_nan("");
    } else if (nan_allowed && take_word(p, "Infinity")) {
        v->type = LOAM_JSON_REAL;
        v->as.real = __builtin_inf();
    } else if (nan_allowed && take_word(p, "-Infinity")) {
        v->type = LOAM_JSON_REAL;
        v->as.real = -__builtin_inf();
    } else if (p->text[p->at] == '-' || is_digit(p, p->at)) {
        return read_number(p, v);
    } else {
        return fail_at(p, p->at, "unexpected character");
    }
    return LOAM_OK;
}

/* ---- containers ---- */

static size_t table_size(size_t count) {
    size_t size = 64;
    while (size < count * 2) size *= 2;
    return size;
}

static int same_key(const loam_json_value *v, const char *key, size_t n) {
    return v->key_bytes == n && memcmp(v->key, key, n) == 0;
}

/* The table of a large object: open addressing, a slot holds the member's distance from
 * the object's node (never 0), the last of equal keys wins. */
static void fill_table(loam_json_value *v, uint32_t *table, size_t size, uint64_t seed) {
    const loam_json_value *child = v + 1;
    for (uint32_t i = 0; i < v->n; i++, child += child->span) {
        size_t slot = (size_t)loam_hash(child->key, child->key_bytes, seed) & (size - 1);
        while (table[slot] && !same_key(v + table[slot], child->key, child->key_bytes))
            slot = (slot + 1) & (size - 1);
        if (table[slot]) v->flags |= JSON_DUPLICATES;
        table[slot] = (uint32_t)(child - v);
    }
}

static void find_small_duplicates(loam_json_value *v) {
    const loam_json_value *a = v + 1;
    for (uint32_t i = 0; i < v->n; i++, a += a->span) {
        const loam_json_value *b = v + 1;
        for (; b != a; b += b->span)
            if (same_key(a, b->key, b->key_bytes)) v->flags |= JSON_DUPLICATES;
    }
}

/* Layout of as.index: the seed (objects; 2 words), the table (objects), then the distance
 * of each child from the container's node, unless they are uniform. */
static loam_status build_index(parser *p, loam_json_value *v) {
    const int object = v->type == LOAM_JSON_OBJECT, uniform = (v->flags & JSON_UNIFORM) != 0;
    const size_t table = object ? table_size(v->n) : 0;
    const size_t words = (object ? 2 + table : 0) + (uniform ? 0 : v->n);
    if (!words) return LOAM_OK;
    uint32_t *index = take_index(p->doc, words);
    if (!index) return fail_memory(p);
    v->as.index = index;
    if (object) {
        memcpy(index, &p->seed, sizeof p->seed);
        fill_table(v, index + 2, table, p->seed);
        index += 2 + table;
    }
    if (uniform) return LOAM_OK;
    const loam_json_value *child = v + 1;
    for (uint32_t i = 0; i < v->n; i++, child += child->span) index[i] = (uint32_t)(child - v);
    return LOAM_OK;
}

static loam_status close_container(parser *p) {
    const level *l = &p->stack[--p->depth];
    loam_json_value *v = &p->doc->nodes[l->node];
    v->n = l->count;
    v->span = (uint32_t)(p->n_nodes - l->node);
    v->as.index = NULL;
    if (l->span) v->flags |= JSON_UNIFORM;
    if (l->count) p->doc->nodes[l->last].flags |= JSON_LAST;
    if (l->count > SMALL) {
        const loam_status st = build_index(p, v);
        if (st) return st;
    } else if (v->type == LOAM_JSON_OBJECT) {
        find_small_duplicates(v);
    }
    if ((v->flags & JSON_DUPLICATES) && (p->flags & LOAM_JSON_REJECT_DUPLICATES))
        return fail_at(p, p->at, "object with a repeated key, which ends");
    return LOAM_OK;
}

static loam_status open_container(parser *p, loam_json_value *v) {
    if (p->depth == MAX_DEPTH) return fail_at(p, p->at, "nested deeper than 128");
    v->type = p->text[p->at] == '{' ? LOAM_JSON_OBJECT : LOAM_JSON_ARRAY;
    p->stack[p->depth++] = (level){.node = (uint32_t)(v - p->doc->nodes)};
    p->at++;
    return LOAM_OK;
}

/* ---- the loop ---- */

static void skip_space(parser *p) {
    while (p->at < p->n && (p->text[p->at] == ' ' || p->text[p->at] == '\n' ||
                            p->text[p->at] == '\r' || p->text[p->at] == '\t'))
        p->at++;
}

static int next_is(parser *p, char c) {
    skip_space(p);
    return p->at < p->n && p->text[p->at] == (unsigned char)c;
}

static loam_status read_key(parser *p, const char **key, uint32_t *n) {
    if (!next_is(p, '"')) return fail_at(p, p->at, "expected a key");
    const loam_status st = read_string(p, key, n);
    if (st) return st;
    if (!next_is(p, ':')) return fail_at(p, p->at, "expected ':'");
    p->at++;
    return LOAM_OK;
}

/* Read the start of the next value: all of a scalar, the bracket of a container. */
static loam_status read_value(parser *p) {
    const char *key = NULL;
    uint32_t key_bytes = 0;
    if (p->depth && p->doc->nodes[p->stack[p->depth - 1].node].type == LOAM_JSON_OBJECT) {
        const loam_status st = read_key(p, &key, &key_bytes);
        if (st) return st;
    }
    skip_space(p);
    if (p->at == p->n) return fail_at(p, p->at, "text ends where a value is expected");
    loam_json_value *v = add_node(p);
    if (!v) return fail_memory(p);
    *v = (loam_json_value){.key = key, .key_bytes = key_bytes, .span = 1};
    const unsigned char c = p->text[p->at];
    if (c == '{' || c == '[') return open_container(p, v);
    if (c == '"') {
        v->type = LOAM_JSON_STRING;
        return read_string(p, &v->as.text, &v->n);
    }
    return read_word(p, v);
}

/* Count the value that has just been completed into its parent. */
static void count_child(parser *p, uint32_t node) {
    level *l = &p->stack[p->depth - 1];
    const uint32_t span = p->doc->nodes[node].span;
    l->span = l->count == 0 || l->span == span ? span : 0;
    l->last = node;
    l->count++;
}

/* After a value: close containers as long as they end; *done when the root is complete. */
static loam_status after_value(parser *p, uint32_t node, int *done) {
    for (;;) {
        if (p->depth == 0) {
            *done = 1;
            return LOAM_OK;
        }
        count_child(p, node);
        const uint32_t parent = p->stack[p->depth - 1].node;
        const int object = p->doc->nodes[parent].type == LOAM_JSON_OBJECT;
        if (next_is(p, ',')) {
            p->at++;
            return LOAM_OK;
        }
        if (!next_is(p, object ? '}' : ']'))
            return fail_at(p, p->at, object ? "expected ',' or '}'" : "expected ',' or ']'");
        p->at++;
        const loam_status st = close_container(p);
        if (st) return st;
        node = parent;
    }
}

static loam_status parse_text(parser *p) {
    int done = 0;
    while (!done) {
        const size_t node = p->n_nodes, depth = p->depth;
        loam_status st = read_value(p);
        if (st) return st;
        if (p->depth > depth) { /* opened: empty, or its first child comes next */
            const int object = p->doc->nodes[node].type == LOAM_JSON_OBJECT;
            if (!next_is(p, object ? '}' : ']')) continue;
            p->at++;
            st = close_container(p);
            if (st) return st;
        }
        st = after_value(p, (uint32_t)node, &done);
        if (st) return st;
    }
    skip_space(p);
    if (p->at != p->n) return fail_at(p, p->at, "text after the value");
    LOAM_ASSERT(p->n_nodes > 0 && p->doc->nodes);
    p->doc->nodes[0].flags |= JSON_LAST; /* the root has no next either */
    return LOAM_OK;
}

/* Hostile keys cannot be aimed at a seed they do not know. */
static uint64_t random_seed(const void *address) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint64_t)(uintptr_t)address ^ (uint64_t)time(NULL);
    return seed;
}

loam_status loam_json_parse(loam_json **out, const char *text, size_t n, const char *name,
                            unsigned flags, loam_err *err) {
    *out = NULL;
    if (n >= UINT32_MAX / 2)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: %zu bytes of JSON are more than 2 GiB", name, n);
    loam_json *doc = calloc(1, sizeof *doc);
    parser p = {.name = name,
                .text = (const unsigned char *)text,
                .n = n,
                .flags = flags,
                .doc = doc,
                .err = err};
    loam_status st;
    if (!doc) return fail_memory(&p);
    p.seed = random_seed(doc);
    doc->strings = malloc(n + 2);
    st = doc->strings ? parse_text(&p) : fail_memory(&p);
    if (st) {
        loam_json_free(doc);
        return st;
    }
    *out = doc;
    return LOAM_OK;
}

loam_status loam_json_read(loam_json **out, const char *path, size_t max_bytes, unsigned flags,
                           loam_err *err) {
    loam_buf text = {0};
    *out = NULL;
    loam_status st = loam_file_read(&text, path, max_bytes ? max_bytes : (size_t)1 << 30, err);
    if (!st) st = loam_json_parse(out, text.data ? text.data : "", text.n, path, flags, err);
    loam_buf_deinit(&text);
    return st;
}

void loam_json_free(loam_json *doc) {
    if (!doc) return;
    while (doc->blocks) {
        block *next = doc->blocks->next;
        free(doc->blocks);
        doc->blocks = next;
    }
    free(doc->nodes);
    free(doc->strings);
    free(doc);
}

/* ---- questions ---- */

static int is_container(const loam_json_value *v) {
    return v && (v->type == LOAM_JSON_ARRAY || v->type == LOAM_JSON_OBJECT);
}

const loam_json_value *loam_json_root(const loam_json *doc) {
    return doc ? doc->nodes : NULL;
}

loam_json_type loam_json_type_of(const loam_json_value *v) {
    return v ? (loam_json_type)v->type : LOAM_JSON_NULL;
}

size_t loam_json_count(const loam_json_value *v) {
    return is_container(v) ? v->n : 0;
}

const loam_json_value *loam_json_at(const loam_json_value *v, size_t i) {
    if (!is_container(v) || i >= v->n) return NULL;
    if (v->flags & JSON_UNIFORM) return v + 1 + i * ((v->span - 1) / v->n);
    if (v->as.index) {
        const size_t before = v->type == LOAM_JSON_OBJECT ? 2 + table_size(v->n) : 0;
        return v + v->as.index[before + i];
    }
    const loam_json_value *child = v + 1;
    while (i--) child += child->span;
    return child;
}

const char *loam_json_own_key(const loam_json_value *member, size_t *n) {
    if (n) *n = member && member->key ? member->key_bytes : 0;
    return member ? member->key : NULL;
}

const char *loam_json_key(const loam_json_value *v, size_t i, size_t *n) {
    return loam_json_own_key(loam_json_at(v, i), n);
}

static const loam_json_value *find_large(const loam_json_value *v, const char *key, size_t n) {
    const uint32_t *table = v->as.index + 2;
    const size_t size = table_size(v->n);
    uint64_t seed;
    memcpy(&seed, v->as.index, sizeof seed);
    size_t slot = (size_t)loam_hash(key, n, seed) & (size - 1);
    for (; table[slot]; slot = (slot + 1) & (size - 1))
        if (same_key(v + table[slot], key, n)) return v + table[slot];
    return NULL;
}

const loam_json_value *loam_json_get_n(const loam_json_value *v, const char *key, size_t n) {
    if (!v || v->type != LOAM_JSON_OBJECT) return NULL;
    if (v->as.index) return find_large(v, key, n);
    const loam_json_value *child = v + 1, *found = NULL;
    for (uint32_t i = 0; i < v->n; i++, child += child->span)
        if (same_key(child, key, n)) found = child;
    return found;
}

const loam_json_value *loam_json_get(const loam_json_value *v, const char *key) {
    return loam_json_get_n(v, key, strlen(key));
}

const loam_json_value *loam_json_first(const loam_json_value *v) {
    return is_container(v) && v->n ? v + 1 : NULL;
}

const loam_json_value *loam_json_next(const loam_json_value *child) {
    return child && !(child->flags & JSON_LAST) ? child + child->span : NULL;
}

const char *loam_json_string(const loam_json_value *v, size_t *n) {
    const int is = v && v->type == LOAM_JSON_STRING;
    if (n) *n = is ? v->n : 0;
    return is ? v->as.text : NULL;
}

int loam_json_number(const loam_json_value *v, double *out) {
    if (!v || (v->type != LOAM_JSON_INT && v->type != LOAM_JSON_REAL)) return 0;
    if (v->type == LOAM_JSON_INT)
        *out = (double)v->as.integer;
    else if (v->flags & JSON_BIG_INTEGER)
        *out = loam_json_strtod(v->as.text);
    else
        *out = v->as.real;
    return 1;
}

int loam_json_int(const loam_json_value *v, int64_t *out) {
    double real;
    if (v && v->type == LOAM_JSON_INT) {
        *out = v->as.integer;
        return 1;
    }
    if (!loam_json_number(v, &real)) return 0;
    if (!(real >= -9223372036854775808.0 && real < 9223372036854775808.0) ||
        real != (double)(int64_t)real)
        return 0;
    *out = (int64_t)real;
    return 1;
}

int loam_json_bool(const loam_json_value *v, int *out) {
    if (!v || (v->type != LOAM_JSON_TRUE && v->type != LOAM_JSON_FALSE)) return 0;
    *out = v->type == LOAM_JSON_TRUE;
    return 1;
}
