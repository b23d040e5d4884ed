/* fuzz_index.c - an index file and its sidecar: u32 length of the index, the index, the sidecar.
 * The sidecar's "check" is put right, so that what follows it is read. */
#include <fcntl.h>
#include <loam/rag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rag/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void write_file(const char *path, const uint8_t *p, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f) abort();
    if (n && fwrite(p, 1, n, f) != n) abort();
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char folder[64], path[96], side[128], check[65];
    uint32_t n_index;
    static loam_pool *pool;
    loam_index *ix = NULL;
    loam_err err = {0};
    if (!pool && loam_pool_new(&pool, 1, &err)) abort();
    if (n < 4) return 0;
    memcpy(&n_index, data, 4);
    if (n_index > n - 4) n_index = (uint32_t)(n - 4);
    snprintf(folder, sizeof folder, "/dev/shm/loam_fuzz_index.%d", (int)getpid());
    mkdir(folder, 0700);
    snprintf(path, sizeof path, "%s/x.npz", folder);
    snprintf(side, sizeof side, "%s.meta.json", path);
    write_file(path, data + 4, n_index);
    const size_t n_side = n - 4 - n_index;
    uint8_t *text = malloc(n_side + 1);
    memcpy(text, data + 4 + n_index, n_side);
    uint8_t *at = n_side > 64 ? memmem(text, n_side - 64, "\"check\": \"", 10) : NULL;
    if (at && (size_t)(at - text) + 74 <= n_side && !loam_index_check_file(path, check, NULL))
        memcpy(at + 10, check, 64);
    write_file(side, text, n_side);
    free(text);
    if (!loam_index_open(&ix, path, &err)) {
        size_t a, b;
        loam_hit hits[3];
        float *q = calloc(loam_index_dim(ix), sizeof *q);
        loam_index_reference_damage(ix, &a, &b);
        for (uint64_t i = 0; i < loam_index_count(ix); i++) {
            const loam_chunk c = loam_index_chunk(ix, i);
            if (c.text.n && c.text.data[0] == 1 && c.source.n && c.source.data[c.source.n - 1] == 2)
                a++;
        }
        loam_index_search(ix, pool, q, hits, 3);
        free(q);
        loam_index_close(ix);
    }
    return 0;
}
