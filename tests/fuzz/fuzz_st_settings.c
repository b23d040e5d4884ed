/* fuzz_st_settings.c - the settings files of an embedding folder: the input is cut at NUL
 * bytes into modules.json, the pooling's config.json, and two more. */
#include "rag/st_settings.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

static void make_folder(void) {
    char path[128];
    snprintf(folder, sizeof folder, "/dev/shm/loam-fuzz-%d", (int)getpid());
    mkdir(folder, 0700);
    snprintf(path, sizeof path, "%s/1_Pooling", folder);
    mkdir(path, 0700);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const FILES[] = {"modules.json", "1_Pooling/config.json",
                                        "sentence_bert_config.json",
                                        "config_sentence_transformers.json"};
    if (!folder[0]) make_folder();
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        const uint8_t *end = size ? memchr(data, 0, size) : NULL;
        const size_t n = end ? (size_t)(end - data) : size;
        snprintf(path, sizeof path, "%s/%s", folder, FILES[i]);
        FILE *f = n ? fopen(path, "wb") : NULL;
        if (f) {
            fwrite(data, 1, n, f);
            fclose(f);
        } else {
            unlink(path);
        }
        data += end ? n + 1 : n;
        size -= end ? n + 1 : n;
    }
    loam_st_settings s;
    if (!loam_st_settings_read(&s, folder, NULL)) {
        LOAM_ASSERT(s.transformer && s.n_poolings > 0 && s.query_prompt && s.document_prompt);
        loam_st_settings_deinit(&s);
    }
    return 0;
}
