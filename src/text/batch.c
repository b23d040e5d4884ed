/* batch.c - many texts to ids, shared out over the threads.
 *
 * Each worker has an encoding of its own, so the words of one text are known for the next, and
 * ids of its own; they are put together in the order of the texts at the end. */
#include "base/threads.h"
#include "text/tok.h"

#include <stdatomic.h>

typedef struct encoder {
    loam_encoding encoding;
    loam_ids ids;
    size_t failed; /* text of the error; SIZE_MAX: none */
    loam_err text_err, err;
    loam_status status;
} encoder;

/* Where the ids of a text are. */
typedef struct place {
    size_t worker, at, n;
} place;

typedef struct batch {
    const loam_tokenizer *tok;
    const loam_text *texts;
    unsigned flags;
    size_t bytes_each; /* of text for a worker, about */
    encoder *encoders;
    place *places;
    _Atomic size_t first_failed;
} batch;

static void fail_at(batch *b, encoder *e, size_t i, loam_status st) {
    size_t before = atomic_load(&b->first_failed);
    while (i < before && !atomic_compare_exchange_weak(&b->first_failed, &before, i)) {
    }
    if (i >= e->failed) return;
    e->failed = i;
    e->status = st;
    e->err = e->text_err;
}

static void encode_texts(void *ctx, size_t begin, size_t end, unsigned worker) {
    batch *b = ctx;
    encoder *e = &b->encoders[worker];
    if (!e->encoding.tok) {
        e->encoding = (loam_encoding){.tok = b->tok, .out = &e->ids, .err = &e->text_err};
        loam_words_init(&e->encoding, b->bytes_each);
    }
    for (size_t i = begin; i < end && i < atomic_load(&b->first_failed); i++) {
        const loam_text *t = &b->texts[i];
        const size_t at = e->ids.n;
        const loam_status st =
            loam_encoding_text(&e->encoding, t->data ? t->data : "", t->n, b->flags);
        if (st) fail_at(b, e, i, st);
        b->places[i] = (place){worker, at, e->ids.n - at};
    }
}

/* Put the ids of all texts behind each other, or tell the first error. */
static loam_status join(const batch *b, size_t n, loam_ids *out, size_t *starts, loam_err *err) {
    const size_t failed = b->first_failed;
    for (const encoder *e = b->encoders; failed != SIZE_MAX; e++)
        if (e->failed == failed)
            return loam_fail(err, e->status, "text %zu: %s", failed + 1, e->err.msg);
    size_t all = out->n;
    for (size_t i = 0; i < n; i++) all += b->places[i].n;
    if (!loam_grow((void **)&out->ids, &out->cap, all, sizeof *out->ids))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: %zu ids", b->tok->name, all);
    starts[0] = out->n;
    for (size_t i = 0; i < n; i++) {
        const place *p = &b->places[i];
        if (p->n)
            memcpy(out->ids + out->n, b->encoders[p->worker].ids.ids + p->at,
                   p->n * sizeof *out->ids);
        out->n += p->n;
        starts[i + 1] = out->n;
    }
    return LOAM_OK;
}

loam_status loam_tokenizer_encode_batch(const loam_tokenizer *tok, loam_pool *pool,
                                        const loam_text *texts, size_t n, unsigned flags,
                                        loam_ids *out, size_t *starts, loam_err *err) {
    const size_t n_workers = pool ? loam_pool_size(pool) : 1;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += texts[i].n;
    batch b = {.tok = tok, .texts = texts, .flags = flags, .bytes_each = bytes / n_workers};
    atomic_init(&b.first_failed, SIZE_MAX);
    b.encoders = loam_alloc(n_workers, sizeof *b.encoders);
    b.places = loam_alloc(n, sizeof *b.places);
    loam_status st = LOAM_OK;
    if (!b.encoders || !b.places) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: %zu texts", tok->name, n);
    } else {
        for (size_t w = 0; w < n_workers; w++) b.encoders[w].failed = SIZE_MAX;
        if (pool)
            loam_pool_for(pool, n, 1, encode_texts, &b);
        else
            encode_texts(&b, 0, n, 0);
        st = join(&b, n, out, starts, err);
    }
    for (size_t w = 0; b.encoders && w < n_workers; w++) {
        loam_encoding_deinit(&b.encoders[w].encoding);
        loam_ids_deinit(&b.encoders[w].ids);
    }
    free(b.encoders);
    free(b.places);
    return st;
}
