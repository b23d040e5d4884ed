/* fingerprint.c - the header says what goes in. */
#include "rag/fingerprint.h"

#include "io/digest.h"
#include <stdio.h>

static loam_status hash_file(loam_sha256 *h, const char *folder, const char *name, int *found,
                             loam_err *err) {
    char *path = loam_path_join(folder, name);
    if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s/%s", folder, name);
    loam_status st = LOAM_OK;
    loam_map map = {0};
    *found = loam_path_exists(path);
    if (*found) st = loam_map_open(&map, path, err);
    if (*found && !st) {
        loam_digest_line(h, "file %s %zu", name, map.size);
        loam_digest_file(h, map.base, map.size);
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
            loam_digest_line(h, "normalize");
            continue;
        }
        loam_arrays *a;
        loam_status st = loam_arrays_open_folder(&a, s->stages[i].dense, err);
        if (st) return st;
        loam_digest_line(h, "dense");
        loam_digest_arrays(h, a);
        loam_arrays_close(a);
    }
    return LOAM_OK;
}

static void hash_prompt(loam_sha256 *h, const char *kind, const char *prompt) {
    loam_digest_line(h, "%s %zu", kind, strlen(prompt));
    loam_sha256_update(h, prompt, strlen(prompt));
}

loam_status loam_fingerprint(char out[65], const loam_encoder *m, const loam_st_settings *s,
                             size_t max_tokens, loam_err *err) {
    const loam_encoder_info *c = loam_encoder_get_info(m);
    loam_sha256 h;
    char modes[4 * LOAM_N_POOLINGS] = "";
    size_t used = 0;

    loam_sha256_init(&h);
    loam_digest_line(&h, "loam-embedder 1");
    loam_digest_line(&h, "encoder %zu %zu %zu %zu %zu %zu %zu %d %a", c->n_layers, c->dim,
                     c->n_heads, c->inter, c->vocab, c->n_positions, c->n_types, c->activation,
                     (double)c->eps);
    for (size_t i = 0; i < s->n_poolings; i++)
        used += (size_t)snprintf(modes + used, sizeof modes - used, "%s%d", i ? "," : "",
                                 (int)s->pooling[i]);
    loam_digest_line(&h, "pooling %s prompt %d max %zu", modes, !s->skip_prompt, max_tokens);
    hash_prompt(&h, "query", s->query_prompt);
    hash_prompt(&h, "document", s->document_prompt);
    loam_status st = hash_stages(&h, s, err);
    if (!st) st = hash_tokenizer(&h, s->transformer, err);
    if (st) return st;
    loam_digest_arrays(&h, loam_encoder_arrays(m));
    loam_sha256_hex(&h, out);
    return LOAM_OK;
}
