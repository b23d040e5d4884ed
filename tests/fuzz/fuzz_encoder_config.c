/* fuzz_encoder_config.c - any config.json beside the weights of the tiny classifier: opening
 * must refuse or give a model that can be run.  Run from the root of the repository. */
#include "model/encoder.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];
static loam_pool *pool;

static void make_folder(void) {
    char here[512], from[1024], path[128];
    snprintf(folder, sizeof folder, "/dev/shm/loam-fuzz-%d", (int)getpid());
    mkdir(folder, 0700);
    if (!getcwd(here, sizeof here)) abort();
    snprintf(from, sizeof from, "%s/tests/golden/rerank/tiny-bert-ce/model.safetensors", here);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (symlink(from, path) != 0 || access(path, R_OK) != 0) abort();
    if (loam_pool_new(&pool, 1, NULL)) abort();
}

static void ignore_rows(void *ctx, size_t sequence, const float *rows, size_t n_rows) {
    (void)ctx;
    (void)sequence;
    LOAM_ASSERT(rows && n_rows > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[128];
    if (!folder[0]) make_folder();
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *f = fopen(path, "wb");
    if (!f) abort();
    fwrite(data, 1, size, f);
    fclose(f);

    loam_encoder *m = NULL;
    if (loam_encoder_open(&m, folder, pool, LOAM_FAST, NULL)) {
        LOAM_ASSERT(!m);
        return 0;
    }
    static const int32_t ids[] = {101, 2054, 102};
    static const size_t starts[] = {0, 3};
    const loam_sequences s = {ids, NULL, starts, 1};
    float logit;
    (void)loam_encoder_run(m, &s, LOAM_ROWS_ALL, ignore_rows, NULL, NULL, NULL);
    if (loam_encoder_get_info(m)->has_head) (void)loam_encoder_score(m, &s, &logit, NULL, NULL);
    loam_encoder_close(m);
    return 0;
}
