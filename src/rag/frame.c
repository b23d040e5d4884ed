/* frame.c - the header says it. */
#include "rag/frame.h"

#include <string.h>

/* Compare "a" with and without special tokens. */
loam_status loam_frame_find(loam_frame *f, const loam_tokenizer *tokenizer, loam_err *err) {
    loam_ids with = {0}, without = {0};
    *f = (loam_frame){.tokenizer = tokenizer};
    loam_status st = loam_tokenizer_encode(tokenizer, "a", 1, LOAM_ENCODE_SPECIAL, &with, err);
    if (!st) st = loam_tokenizer_encode(tokenizer, "a", 1, 0, &without, err);
    if (!st && without.n > 0 && with.n >= without.n) {
        size_t at = 0;
        while (at + without.n < with.n &&
               memcmp(with.ids + at, without.ids, without.n * sizeof *with.ids) != 0)
            at++;
        f->n_prefix = at;
        f->n_suffix = with.n - at - without.n;
    }
    loam_ids_deinit(&with);
    loam_ids_deinit(&without);
    return st;
}

size_t loam_frame_cut(const loam_frame *f, int32_t *ids, size_t n, size_t max) {
    if (max == 0 || n <= max) return n;
    memmove(ids + max - f->n_suffix, ids + n - f->n_suffix, f->n_suffix * sizeof *ids);
    return max;
}

loam_status loam_frame_append(const loam_frame *f, const char *text, size_t n, size_t max,
                              loam_ids *ids, loam_err *err) {
    const size_t start = ids->n;
    loam_status st = loam_tokenizer_encode(
        f->tokenizer, text, n, LOAM_ENCODE_SPECIAL | LOAM_ENCODE_PARSE_SPECIAL, ids, err);
    if (st) return st;
    ids->n = start + loam_frame_cut(f, ids->ids + start, ids->n - start, max);
    return LOAM_OK;
}
