/* saved.c - what a session has read, in a file.
 *
 *     0    "LOAMKV\r\n"
 *     8    u32 version, u32 precision
 *     16   u32 layers, u32 heads of keys and values, u32 size of a head, u32 type of
 *         keys and values (1: f16, 2: f32, 3: int8)
 *     32   u64 number of ids
 *     40   u64 bytes of all keys and values
 *     48   name of the kernel set, NULs to 16 bytes
 *     64   fingerprint of the model, 64 hex digits
 *     128  ids, i32 each
 *          for each layer keys, then values: [heads, ids] rows of a head as the cache has them
 *          u64 hash of everything before
 *
 * Little endian.  The hash finds damage; that the content is what this model computes is
 * seen by computing the last position again and comparing the bits.
 */
#include "io/digest.h"
#include "io/file_out.h"
#include "llm/session.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 4, HEADER_BYTES = 128, ISA_BYTES = 16, MAX_IDS = 1 << 28 };

static const char MAGIC[8] = "LOAMKV\r\n";

loam_status loam_model_fingerprint(const loam_model *m, char out[65], loam_err *err) {
    const loam_decoder *d = m->decoder;
    loam_map config = {0};
    loam_sha256 h;

    *out = 0;
    const loam_status st = loam_map_open(&config, d->file.path, err);

    if (st) return st;
    loam_sha256_init(&h);
    loam_digest_line(&h, "loam-model 1");
    loam_digest_line(&h, "config %zu", config.size);
    loam_digest_file(&h, config.base, config.size);
    loam_digest_arrays(&h, loam_weights_arrays(d->weights));
    loam_sha256_hex(&h, out);
    loam_map_close(&config);
    return LOAM_OK;
}

static void put_u32(unsigned char *p, uint32_t v) {
    memcpy(p, &v, sizeof v);
}
static void put_u64(unsigned char *p, uint64_t v) {
    memcpy(p, &v, sizeof v);
}

static size_t layer_bytes(const loam_kv_shape *k, size_t n) {
    return 2 * k->n_kv_heads * k->row_bytes * n;
}

/* The session's own header of a file with n ids. */
static loam_status make_header(loam_session *s, size_t n, unsigned char out[HEADER_BYTES],
                               loam_err *err) {
    const loam_kv_shape k = loam_timeline_kv_shape(s->timeline);

    if (!s->fingerprint[0]) {
        const loam_status st = loam_model_fingerprint(s->model, s->fingerprint, err);
        if (st) return st;
    }
    memset(out, 0, HEADER_BYTES);
    memcpy(out, MAGIC, sizeof MAGIC);
    put_u32(out + 8, VERSION);
    put_u32(out + 12, (uint32_t)s->model->precision);
    put_u32(out + 16, (uint32_t)k.n_layers);
    put_u32(out + 20, (uint32_t)k.n_kv_heads);
    put_u32(out + 24, (uint32_t)k.head_dim);
    put_u32(out + 28, (uint32_t)k.type);
    put_u64(out + 32, n);
    put_u64(out + 40, (uint64_t)k.n_layers * layer_bytes(&k, n));
    snprintf((char *)out + 48, ISA_BYTES, "%s", loam_cpu_isa());
    memcpy(out + 64, s->fingerprint, 64);
    return LOAM_OK;
}

loam_status loam_session_save(loam_session *s, size_t n, const char *path, loam_err *err) {
    const loam_kv_shape k = loam_timeline_kv_shape(s->timeline);
    const size_t bytes = layer_bytes(&k, n);
    unsigned char header[HEADER_BYTES], hash[8];
    loam_file_out out;

    if (n == 0 || n > loam_session_position(s))
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: the session holds %zu tokens, not %zu", path,
                         loam_session_position(s), n);
    loam_status st = make_header(s, n, header, err);
    if (st) return st;
    void *layer = loam_alloc(bytes, 1);
    if (!layer) return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory to write it", path);
    st = loam_file_out_open(&out, path, 0600, err);
    if (st) goto done;
    out.no_sync = 1; /* a file that a crash cuts short is found out, and made again */
    uint64_t h = loam_hash(header, sizeof header, 0);
    h = loam_hash(s->ids, n * sizeof *s->ids, h);
    loam_file_out_write(&out, header, sizeof header);
    loam_file_out_write(&out, s->ids, n * sizeof *s->ids);
    for (size_t i = 0; i < k.n_layers && !out.failed; i++) {
        loam_timeline_kv_get(s->timeline, i, 0, n, layer);
        h = loam_hash(layer, bytes, h);
        loam_file_out_write(&out, layer, bytes);
    }
    put_u64(hash, h);
    loam_file_out_write(&out, hash, sizeof hash);
    st = loam_file_out_commit(&out, err);
done:
    free(layer);
    return st;
}

/* A file being read: its header is checked, its ids are in memory. */
typedef struct saved {
    const char *path;
    int fd;
    size_t n; /* ids */
    int32_t *ids;
    uint64_t hash;
    unsigned char header[HEADER_BYTES];
} saved;

static loam_status damaged(const saved *f, loam_err *err, const char *why) {
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: a damaged session file: %s", f->path, why);
}

static loam_status read_bytes(saved *f, void *out, size_t n, loam_err *err) {
    char *p = out;
    while (n) {
        const ssize_t got = read(f->fd, p, n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return loam_fail_errno(err, errno, "%s: cannot read", f->path);
        if (got == 0) return damaged(f, err, "it ends too early");
        p += got;
        n -= (size_t)got;
    }
    return LOAM_OK;
}

static loam_status open_file(saved *f, uint64_t *size, loam_err *err) {
    struct stat st;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return loam_fail_errno(err, errno, "%s: cannot open", f->path);
    if (!S_ISREG(st.st_mode))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: not a regular file", f->path);
    *size = (uint64_t)st.st_size;
    return LOAM_OK;
}

/* Everything but the number of ids must be as this session would write it. */
static loam_status check_header(saved *f, loam_session *s, uint64_t size, loam_err *err) {
    const loam_kv_shape k = loam_timeline_kv_shape(s->timeline);
    unsigned char own[HEADER_BYTES];

    if (memcmp(f->header, MAGIC, sizeof MAGIC) != 0)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: not a session file", f->path);
    const uint64_t n = loam_read_u64(f->header + 32);
    if (n == 0 || n > MAX_IDS) return damaged(f, err, "the number of its ids");
    const loam_status st = make_header(s, (size_t)n, own, err);
    if (st) return st;
    if (memcmp(f->header, own, 32) != 0 || memcmp(f->header + 48, own + 48, 80) != 0)
        return loam_fail(
            err, LOAM_ERR_UNSUPPORTED,
            "%s: made with another model, precision, type of keys and values, processor "
            "or version",
            f->path);
    const uint64_t data = (uint64_t)k.n_layers * layer_bytes(&k, (size_t)n);
    if (loam_read_u64(f->header + 40) != data || size != HEADER_BYTES + 4 * n + data + 8)
        return damaged(f, err, "its size");
    f->n = (size_t)n;
    return LOAM_OK;
}

static loam_status open_saved(saved *f, loam_session *s, const char *path, loam_err *err) {
    uint64_t size = 0;
    *f = (saved){.path = path, .fd = -1};
    loam_status st = open_file(f, &size, err);
    if (!st) st = read_bytes(f, f->header, sizeof f->header, err);
    if (!st) st = check_header(f, s, size, err);
    if (st) return st;
    f->ids = loam_alloc(f->n, sizeof *f->ids);
    if (!f->ids) return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory to read it", path);
    st = read_bytes(f, f->ids, f->n * sizeof *f->ids, err);
    f->hash = loam_hash(f->header, sizeof f->header, 0);
    f->hash = loam_hash(f->ids, f->n * sizeof *f->ids, f->hash);
    return st;
}

static void close_saved(saved *f) {
    if (f->fd >= 0) close(f->fd);
    free(f->ids);
}

static size_t count_common(const saved *f, const loam_session *s, const int32_t *ids, size_t n) {
    const size_t room = loam_session_n_ctx(s);
    size_t same = 0;
    if (n > f->n) n = f->n;
    if (n > room) n = room;
    while (same < n && f->ids[same] == ids[same]) same++;
    return same;
}

loam_status loam_session_peek(loam_session *s, const char *path, const int32_t *ids, size_t n,
                              size_t *n_common, loam_err *err) {
    saved f;
    const loam_status st = open_saved(&f, s, path, err);
    *n_common = st ? 0 : count_common(&f, s, ids, n);
    close_saved(&f);
    return st;
}

/* All layers into the timeline, of them the first `keep` positions; the bytes of the last of
 * these stay in `last` [n_layers, one position]. */
static loam_status read_layers(saved *f, loam_session *s, size_t keep, char *last, loam_err *err) {
    const loam_kv_shape k = loam_timeline_kv_shape(s->timeline);
    const size_t bytes = layer_bytes(&k, f->n), row = k.row_bytes;
    unsigned char hash[8];
    loam_status st = LOAM_OK;
    char *layer = loam_alloc(bytes, 1);

    if (!layer) return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory to read it", f->path);
    for (size_t i = 0; i < k.n_layers && !st; i++) {
        st = read_bytes(f, layer, bytes, err);
        if (st) break;
        f->hash = loam_hash(layer, bytes, f->hash);
        loam_timeline_kv_put(s->timeline, i, keep, f->n, layer);
        for (size_t head = 0; head < 2 * k.n_kv_heads; head++, last += row)
            memcpy(last, layer + (head * f->n + keep - 1) * row, row);
    }
    free(layer);
    if (!st) st = read_bytes(f, hash, sizeof hash, err);
    if (!st && loam_read_u64(hash) != f->hash) st = damaged(f, err, "its hash");
    return st;
}

/* Compute the last of `keep` positions again: the same bits, or the file is not of this model.
 * Leaves its logits in the session. */
static loam_status check_last(saved *f, loam_session *s, size_t keep, char *last, loam_err *err) {
    const loam_kv_shape k = loam_timeline_kv_shape(s->timeline);
    const size_t bytes = layer_bytes(&k, 1);
    int same = 1;

    loam_timeline_restore(s->timeline, keep - 1);
    memcpy(s->ids, f->ids, (keep - 1) * sizeof *s->ids);
    const loam_status st = loam_session_feed(s, &f->ids[keep - 1], 1, NULL, err);
    if (st == LOAM_ERR_FORMAT || st == LOAM_ERR_ARGUMENT) return damaged(f, err, "its values");
    if (st) return st;
    char *layer = loam_alloc(bytes, 1);
    if (!layer) return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory to read it", f->path);
    for (size_t i = 0; i < k.n_layers; i++) {
        loam_timeline_kv_get(s->timeline, i, keep - 1, 1, layer);
        same &= memcmp(layer, last + i * bytes, bytes) == 0;
    }
    free(layer);
    return same ? LOAM_OK
                : loam_fail(err, LOAM_ERR_UNSUPPORTED,
                            "%s: this model computes other values than it holds", f->path);
}

loam_status loam_session_load(loam_session *s, const char *path, const int32_t *ids, size_t n,
                              size_t *n_kept, loam_err *err) {
    const loam_kv_shape k = loam_timeline_kv_shape(s->timeline);
    char *last = NULL;
    saved f;

    *n_kept = 0;
    loam_session_reset(s);
    loam_status st = open_saved(&f, s, path, err);
    const size_t keep = st ? 0 : count_common(&f, s, ids, n);
    if (keep == 0) goto done;
    last = loam_alloc(k.n_layers, layer_bytes(&k, 1));
    if (!last) st = loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory to read it", path);
    if (!st) st = read_layers(&f, s, keep, last, err);
    if (!st) st = check_last(&f, s, keep, last, err);
    if (st)
        loam_session_reset(s);
    else
        *n_kept = keep;
done:
    free(last);
    close_saved(&f);
    return st;
}
