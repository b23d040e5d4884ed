/* stop.c - stop strings on a stream of text pieces.
 *
 * Everything received and not yet shown is kept in `held`.  After each piece the
 * longest end of it that could still grow into a stop string stays there, at most
 * one byte less than the longest stop string; the rest is shown.
 */
#include "base/base.h"
#include <loam/engine.h>

struct loam_stops {
    char **stops;
    size_t *lengths;
    size_t n;
    int done;
    loam_buf held;
};

loam_status loam_stops_new(loam_stops **out, const char *const *stops, size_t n, loam_err *err) {
    loam_status st = LOAM_OK;

    *out = NULL;
    loam_stops *s = loam_alloc(1, sizeof *s);
    if (!s) return loam_fail(err, LOAM_ERR_MEMORY, "stop strings: out of memory");
    s->stops = loam_alloc(n, sizeof *s->stops);
    s->lengths = loam_alloc(n, sizeof *s->lengths);
    if (!s->stops || !s->lengths) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "stop strings: out of memory");
        goto done;
    }
    for (; s->n < n; s->n++) {
        s->lengths[s->n] = strlen(stops[s->n]);
        if (s->lengths[s->n] == 0) {
            st = loam_fail(err, LOAM_ERR_ARGUMENT, "a stop string is empty");
            goto done;
        }
        s->stops[s->n] = loam_strdup(stops[s->n]);
        if (!s->stops[s->n]) {
            st = loam_fail(err, LOAM_ERR_MEMORY, "stop strings: out of memory");
            goto done;
        }
    }
    *out = s;
    s = NULL;
done:
    loam_stops_free(s);
    return st;
}

void loam_stops_free(loam_stops *s) {
    if (!s) return;
    for (size_t i = 0; s->stops && i < s->n; i++) free(s->stops[i]);
    free(s->stops);
    free(s->lengths);
    loam_buf_deinit(&s->held);
    free(s);
}

/* Where the first complete stop string begins in `held`; held.n: nowhere. */
static size_t find_stop(const loam_stops *s) {
    size_t best = s->held.n;
    for (size_t i = 0; i < s->n; i++) {
        if (s->lengths[i] > s->held.n) continue;
        const char *p = memmem(s->held.data, s->held.n, s->stops[i], s->lengths[i]);
        if (p && (size_t)(p - s->held.data) < best) best = (size_t)(p - s->held.data);
    }
    return best;
}

/* Bytes at the end of `held` that begin some stop string. */
static size_t count_possible(const loam_stops *s) {
    size_t longest = 0;
    for (size_t i = 0; i < s->n; i++) {
        size_t n = s->lengths[i] - 1 < s->held.n ? s->lengths[i] - 1 : s->held.n;
        while (n > longest && memcmp(s->held.data + s->held.n - n, s->stops[i], n) != 0) n--;
        if (n > longest) longest = n;
    }
    return longest;
}

int loam_stops_push(loam_stops *s, const char *text, size_t n, loam_buf *out) {
    if (s->done) return 1;
    loam_buf_append(&s->held, text, n);
    if (s->held.failed) out->failed = 1;
    if (s->held.n == 0) return 0;
    const size_t at = find_stop(s);
    s->done = at < s->held.n;
    const size_t keep = s->done ? 0 : count_possible(s), show = s->done ? at : s->held.n - keep;
    loam_buf_append(out, s->held.data, show);
    memmove(s->held.data, s->held.data + s->held.n - keep, keep);
    s->held.n = keep;
    return s->done;
}

void loam_stops_flush(loam_stops *s, loam_buf *out) {
    if (!s->done && s->held.n) loam_buf_append(out, s->held.data, s->held.n);
    s->held.n = 0;
}
