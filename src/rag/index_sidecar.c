/* index_sidecar.c - PATH.meta.json: the reference's keys, and under "loam" what it lacks.
 *
 *     {"bank": ..., "index_path": ..., "document_names": [...], "source_root": null,
 *      "chunk_size": 256, "chunk_overlap": 50, "embedding_model": ..., "created_at": ...,
 *      "loam": {"version": 1, "check": HEX, "model_id": ..., "fingerprint": HEX, "chunker": ...,
 *               "documents": [{"path": ..., "sha256": HEX, "chunks": N}, ...],
 *               "pages": [...], "begins": [...], "ends": [...]}}
 *
 * A sidecar is a help, never a condition: one that is foreign, damaged or of another
 * index is passed over, and the index works without it.
 */
#include "rag/index.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

loam_status loam_index_check_file(const char *path, char out[65], loam_err *err) {
    unsigned char tail[LOAM_INDEX_CHECK_BYTES];
    struct stat st;
    char head[32];
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return loam_fail_errno(err, errno, "%s", path);
    loam_status status = LOAM_OK;
    size_t n = 0;
    if (fstat(fd, &st)) {
        status = loam_fail_errno(err, errno, "%s", path);
    } else {
        const off_t from = st.st_size > (off_t)sizeof tail ? st.st_size - (off_t)sizeof tail : 0;
        while (n < sizeof tail) {
            const ssize_t got = pread(fd, tail + n, sizeof tail - n, from + (off_t)n);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) status = loam_fail_errno(err, errno, "%s", path);
            if (got <= 0) break;
            n += (size_t)got;
        }
    }
    close(fd);
    if (status) return status;
    loam_sha256 h;
    loam_sha256_init(&h);
    const int len = snprintf(head, sizeof head, "%lld\n", (long long)st.st_size);
    loam_sha256_update(&h, head, (size_t)len);
    loam_sha256_update(&h, tail, n);
    loam_sha256_hex(&h, out);
    return LOAM_OK;
}

void loam_sidecar_deinit(loam_sidecar *s) {
    for (size_t i = 0; i < s->n_documents; i++) free((void *)(uintptr_t)s->documents[i].path);
    free(s->documents);
    free(s->pages);
    free(s->begins);
    free(s->ends);
    *s = (loam_sidecar){0};
}

/* ---- reading: functions give 0 for what is not as we write it ---- */

static int copy_text(char *out, size_t room, const loam_json_value *v) {
    size_t n;
    const char *s = loam_json_string(v, &n);
    if (!s || n >= room || strlen(s) != n) return 0;
    memcpy(out, s, n + 1);
    return 1;
}

static int is_hex64(const char *s) {
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static int read_numbers(int64_t **out, const loam_json_value *list, size_t n, int64_t least) {
    size_t i = 0;
    if (loam_json_type_of(list) == LOAM_JSON_NULL) return 1;
    if (loam_json_type_of(list) != LOAM_JSON_ARRAY || loam_json_count(list) != n) return 0;
    *out = loam_alloc(n, sizeof **out);
    if (!*out) return 0;
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v), i++)
        if (loam_json_type_of(v) != LOAM_JSON_INT || !loam_json_int(v, &(*out)[i]) ||
            (*out)[i] < least)
            return 0;
    return 1;
}

static int read_documents(loam_sidecar *s, const loam_json_value *list, size_t n_chunks) {
    size_t left = n_chunks;
    if (loam_json_type_of(list) != LOAM_JSON_ARRAY) return 0;
    s->documents = loam_alloc(loam_json_count(list), sizeof *s->documents);
    if (!s->documents) return 0;
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v)) {
        loam_index_document *d = &s->documents[s->n_documents];
        size_t n;
        int64_t chunks;
        const char *path = loam_json_string(loam_json_get(v, "path"), &n);
        if (!path || strlen(path) != n ||
            !copy_text(d->hash, sizeof d->hash, loam_json_get(v, "sha256")) || !is_hex64(d->hash) ||
            !loam_json_int(loam_json_get(v, "chunks"), &chunks) || chunks < 0 ||
            (uint64_t)chunks > left)
            return 0;
        d->n_chunks = (size_t)chunks;
        left -= d->n_chunks;
        d->path = loam_strdup(path);
        if (!d->path) return 0;
        s->n_documents++;
    }
    return 1;
}

/* Ours for this index?  Then everything in it must be sound, or nothing counts. */
static int read_ours(loam_sidecar *s, const loam_json_value *v, const char *check,
                     size_t n_chunks) {
    char named[65];
    if (!copy_text(named, sizeof named, loam_json_get(v, "check")) || strcmp(named, check) != 0)
        return 0;
    return copy_text(s->meta.model_id, sizeof s->meta.model_id, loam_json_get(v, "model_id")) &&
           copy_text(s->meta.fingerprint, sizeof s->meta.fingerprint,
                     loam_json_get(v, "fingerprint")) &&
           (!s->meta.fingerprint[0] || is_hex64(s->meta.fingerprint)) &&
           copy_text(s->meta.chunker, sizeof s->meta.chunker, loam_json_get(v, "chunker")) &&
           read_documents(s, loam_json_get(v, "documents"), n_chunks) &&
           read_numbers(&s->pages, loam_json_get(v, "pages"), n_chunks, 0) &&
           read_numbers(&s->begins, loam_json_get(v, "begins"), n_chunks, -1) &&
           read_numbers(&s->ends, loam_json_get(v, "ends"), n_chunks, -1);
}

int loam_sidecar_belongs(const char *sidecar_path, const char *index_path) {
    char check[65], named[65];
    loam_json *doc = NULL;
    int same = 0;
    if (loam_path_exists(sidecar_path) &&
        !loam_json_read(&doc, sidecar_path, 0, LOAM_JSON_LONE_SURROGATES, NULL)) {
        const loam_json_value *ours = loam_json_get(loam_json_root(doc), "loam");
        same = copy_text(named, sizeof named, loam_json_get(ours, "check")) && named[0] &&
               !loam_index_check_file(index_path, check, NULL) && strcmp(named, check) == 0;
    }
    loam_json_free(doc);
    return same;
}

loam_status loam_sidecar_read(loam_sidecar *out, const char *index_path, size_t n_chunks,
                              loam_err *err) {
    char check[65] = "";
    *out = (loam_sidecar){0};
    for (size_t i = 0; i < 2; i++) {
        char *path = i ? loam_format("%s.meta.json.new", index_path)
                       : loam_format("%s.meta.json", index_path);
        loam_json *doc = NULL;
        if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", index_path);
        int found = 0;
        if (loam_path_exists(path) &&
            !loam_json_read(&doc, path, 0, LOAM_JSON_LONE_SURROGATES, NULL)) {
            const loam_json_value *ours = loam_json_get(loam_json_root(doc), "loam");
            if (ours && (check[0] || !loam_index_check_file(index_path, check, NULL)))
                found = read_ours(out, ours, check, n_chunks);
        }
        loam_json_free(doc);
        free(path);
        if (found) return LOAM_OK;
        loam_sidecar_deinit(out);
    }
    return LOAM_OK;
}

/* ---- writing ---- */

static void put_key(loam_buf *b, const char *key) {
    loam_buf_printf(b, ",\n  \"%s\": ", key);
}

static void put_text(loam_buf *b, const char *s) {
    loam_json_put_string(b, s, strlen(s));
}

static void put_numbers(loam_buf *b, const char *key, const loam_index_content *c, size_t offset) {
    loam_buf_printf(b, ",\n    \"%s\": [", key);
    for (size_t i = 0; i < c->n_chunks; i++) {
        int64_t v;
        memcpy(&v, (const char *)&c->chunks[i] + offset, sizeof v);
        loam_buf_printf(b, i ? ",%lld" : "%lld", (long long)v);
    }
    loam_buf_puts(b, "]");
}

/* File name without folder and ".npz": what the reference calls the bank. */
static void put_bank(loam_buf *b, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 4 && strcmp(name + n - 4, ".npz") == 0) n -= 4;
    loam_json_put_string(b, name, n);
}

static void put_documents(loam_buf *b, const loam_index_content *c) {
    loam_buf_puts(b, ",\n    \"documents\": [");
    for (size_t i = 0; i < c->n_documents; i++) {
        const loam_index_document *d = &c->documents[i];
        loam_buf_puts(b, i ? ",\n      {\"path\": " : "\n      {\"path\": ");
        put_text(b, d->path);
        loam_buf_puts(b, ", \"sha256\": ");
        put_text(b, d->hash);
        loam_buf_printf(b, ", \"chunks\": %zu}", d->n_chunks);
    }
    loam_buf_puts(b, "]");
}

static void put_reference_keys(loam_buf *b, const char *index_path, const loam_index_content *c) {
    char date[32];
    const time_t now = time(NULL);
    struct tm tm = {0};
    char *absolute = index_path[0] == '/' ? NULL : realpath(".", NULL);
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
    loam_buf_puts(b, "{\n  \"bank\": ");
    put_bank(b, index_path);
    put_key(b, "index_path");
    char *full = absolute ? loam_path_join(absolute, index_path) : NULL;
    put_text(b, full ? full : index_path);
    free(full);
    free(absolute);
    put_key(b, "document_names");
    loam_buf_puts(b, "[");
    for (size_t i = 0; i < c->n_documents; i++) {
        loam_buf_puts(b, i ? ",\n    " : "\n    ");
        put_text(b, c->documents[i].path);
    }
    loam_buf_puts(b, "]");
    put_key(b, "source_root");
    loam_buf_puts(b, "null");
    put_key(b, "chunk_size");
    loam_buf_printf(b, "%zu", c->chunk_size);
    put_key(b, "chunk_overlap");
    loam_buf_printf(b, "%zu", c->chunk_overlap);
    put_key(b, "embedding_model");
    put_text(b, c->meta.model_id);
    put_key(b, "created_at");
    put_text(b, date);
}

loam_status loam_sidecar_format(loam_buf *b, const char *index_path, const char *check,
                                const loam_index_content *c, loam_err *err) {
    put_reference_keys(b, index_path, c);
    put_key(b, "loam");
    loam_buf_puts(b, "{\n    \"version\": 1,\n    \"check\": ");
    put_text(b, check);
    loam_buf_puts(b, ",\n    \"model_id\": ");
    put_text(b, c->meta.model_id);
    loam_buf_puts(b, ",\n    \"fingerprint\": ");
    put_text(b, c->meta.fingerprint);
    loam_buf_puts(b, ",\n    \"chunker\": ");
    put_text(b, c->meta.chunker);
    put_documents(b, c);
    put_numbers(b, "pages", c, offsetof(loam_chunk, page));
    put_numbers(b, "begins", c, offsetof(loam_chunk, begin));
    put_numbers(b, "ends", c, offsetof(loam_chunk, end));
    loam_buf_puts(b, "\n  }\n}\n");
    return b->failed ? loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory for the sidecar", index_path)
                     : LOAM_OK;
}
