/* info_index.c - loam info of an index of chunks and vectors. */
#include "cli/cli.h"
#include "loam/info.h"

#include <loam/rag.h>

#include <string.h>
#include <sys/stat.h>

static void put_string(loam_buf *b, const char *key, const char *s) {
    loam_buf_printf(b, ", \"%s\": ", key);
    if (s[0])
        loam_json_put_string(b, s, strlen(s));
    else
        loam_buf_puts(b, "null");
}

/* The arrays that hold it, as of any archive. */
static void put_members(loam_buf *b, const char *path, const info_arguments *a) {
    loam_arrays *arrays;
    loam_err err = {0};
    if (loam_arrays_open(&arrays, path, &err)) cli_die(&err);
    info_put_arrays(b, arrays, a);
    loam_arrays_close(arrays);
}

void info_index(loam_buf *b, const char *path, const info_arguments *a) {
    loam_index *ix;
    loam_err err = {0};
    size_t wrong_texts, wrong_sources;
    struct stat st = {0};
    if (loam_index_open(&ix, path, &err)) cli_die(&err);
    (void)stat(path, &st);
    loam_index_reference_damage(ix, &wrong_texts, &wrong_sources);
    const loam_index_meta *meta = loam_index_get_meta(ix);
    const size_t chunks = loam_index_count(ix), dim = loam_index_dim(ix);
    const size_t documents = loam_index_n_documents(ix);
    if (a->json) {
        loam_buf_puts(b, "{\"path\": ");
        loam_json_put_string(b, path, strlen(path));
        loam_buf_printf(b,
                        ", \"kind\": \"index\", \"chunks\": %zu, \"dim\": %zu, \"documents\": %zu"
                        ", \"bytes\": %lld, \"reference_wrong_texts\": %zu"
                        ", \"reference_wrong_sources\": %zu",
                        chunks, dim, documents, (long long)st.st_size, wrong_texts, wrong_sources);
        put_string(b, "model_id", meta->model_id);
        put_string(b, "fingerprint", meta->fingerprint);
        put_string(b, "chunker", meta->chunker);
        put_members(b, path, a);
        loam_buf_puts(b, "}\n");
    } else {
        loam_buf_printf(b, "%s: index\n  chunks       %zu, vectors of %zu, ", path, chunks, dim);
        info_put_bytes(b, (uint64_t)st.st_size);
        if (documents) loam_buf_printf(b, "\n  documents    %zu", documents);
        loam_buf_printf(b, "\n  embedder     %s\n",
                        meta->model_id[0] ? meta->model_id : "not recorded");
        if (meta->chunker[0]) loam_buf_printf(b, "  chunker      %s\n", meta->chunker);
        loam_buf_printf(b,
                        "  reference    the reference loader would show %zu of %zu texts and %zu "
                        "sources wrong\n",
                        wrong_texts, chunks, wrong_sources);
        if (a->arrays || a->sha256) put_members(b, path, a);
    }
    loam_index_close(ix);
}
