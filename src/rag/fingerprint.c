/* fingerprint.c - the header says what goes in. */
#include "rag/fingerprint.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct sampling {
    size_t whole, pieces, piece; /* up to `whole` bytes: all; else `pieces` of `piece` bytes */
} sampling;

static const sampling FILE_SAMPLING = {1 << 20, 256, 4096};
static const sampling ARRAY_SAMPLING = {1024, 16, 64};

static void LOAM_PRINTF(2, 3) hash_line(loam_sha256 *h, const char *fmt, ...) {
    char line[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n < 0) n = 0;
    loam_sha256_update(h, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    loam_sha256_update(h, "\n", 1);
}

static void hash_bytes(loam_sha256 *h, const void *bytes, size_t n, const sampling *s) {
    if (n <= s->whole) {
        if (n) loam_sha256_update(h, bytes, n);
        return;
    }
    const size_t last = n - s->piece; /* n > whole >= pieces * piece */
    for (size_t i = 0; i < s->pieces; i++) {
        const size_t at = last / (s->pieces - 1) * i + last % (s->pieces - 1) * i / (s->pieces - 1);
        loam_sha256_update(h, (const char *)bytes + at, s->piece);
    }
}

static void hash_arrays(loam_sha256 *h, const loam_arrays *a) {
    for (size_t i = 0; i < loam_arrays_count(a); i++) {
        const loam_tensor *t = loam_arrays_at(a, i);
        char shape[LOAM_MAX_RANK * 21 + 1] = "";
        size_t used = 0;
        for (int k = 0; k < t->rank; k++)
            used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%llu", k ? "x" : "",
                                     (unsigned long long)t->shape[k]);
        hash_line(h, "array %s %s %s", t->name, loam_dtype_name(t->dtype), shape);
        hash_bytes(h, t->data, (size_t)t->bytes, &ARRAY_SAMPLING);
    }
}

static loam_status hash_file(loam_sha256 *h, const char *folder, const char *name, int *found,
                             loam_err *err) {
    char *path = loam_path_join(folder, name);
    if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s/%s", folder, name);
    loam_status st = LOAM_OK;
    loam_map map = {0};
    *found = loam_path_exists(path);
    if (*found) st = loam_map_open(&map, path, err);
    if (*found && !st) {
        hash_line(h, "file %s %zu", name, map.size);
        hash_bytes(h, map.base, map.size, &FILE_SAMPLING);
    }
    loam_map_close(&map);
    free(path);
    return st;
}

static loam_status hash_tokenizer(loam_sha256 *h, const char *folder, loam_err *err) {
    static const char *const OTHERS[] = {"tokenizer.model", "vocab.json", "merges.txt", "vocab.txt",
                                         "tokenizer_config.json"};
    int found = 0;
    loam_status st = hash_file(h, folder, "tokenizer.json", &found, err);
    if (st || found) return st;
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS && !st; i++)
        st = hash_file(h, folder, OTHERS[i], &found, err);
    return st;
}

static loam_status hash_stages(loam_sha256 *h, const loam_st_settings *s, loam_err *err) {
    for (size_t i = 0; i < s->n_stages; i++) {
        if (!s->stages[i].dense) {
            hash_line(h, "normalize");
            continue;
        }
        loam_arrays *a;
        loam_status st = loam_arrays_open_folder(&a, s->stages[i].dense, err);
        if (st) return st;
        hash_line(h, "dense");
        hash_arrays(h, a);
        loam_arrays_close(a);
    }
    return LOAM_OK;
}

static void hash_prompt(loam_sha256 *h, const char *kind, const char *prompt) {
    hash_line(h, "%s %zu", kind, strlen(prompt));
    loam_sha256_update(h, prompt, strlen(prompt));
}

loam_status loam_fingerprint(char out[65], const loam_encoder *m, const loam_st_settings *s,
                             size_t max_tokens, loam_err *err) {
    const loam_encoder_info *c = loam_encoder_get_info(m);
    loam_sha256 h;
    char modes[4 * LOAM_N_POOLINGS] = "";
    size_t used = 0;

    loam_sha256_init(&h);
    hash_line(&h, "loam-embedder 1");
    hash_line(&h, "encoder %zu %zu %zu %zu %zu %zu %zu %d %a", c->n_layers, c->dim, c->n_heads,
              c->inter, c->vocab, c->n_positions, c->n_types, c->activation, (double)c->eps);
    for (size_t i = 0; i < s->n_poolings; i++)
        used += (size_t)snprintf(modes + used, sizeof modes - used, "%s%d", i ? "," : "",
                                 (int)s->pooling[i]);
    hash_line(&h, "pooling %s prompt %d max %zu", modes, !s->skip_prompt, max_tokens);
    hash_prompt(&h, "query", s->query_prompt);
    hash_prompt(&h, "document", s->document_prompt);
    loam_status st = hash_stages(&h, s, err);
    if (!st) st = hash_tokenizer(&h, s->transformer, err);
    if (st) return st;
    hash_arrays(&h, loam_encoder_arrays(m));
    loam_sha256_hex(&h, out);
    return LOAM_OK;
}
