/* fuzz_saved.c - session files: any bytes are refused or loaded, nothing else.  The hash at the
 * end is made right, else it would hide what comes before it. */
#include "llm/session.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static loam_session *session;
static const int32_t PROMPT[] = {1, 2, 3, 4, 5, 6, 7, 8};

/* A tiny model; a file that it wrote itself is what inputs are laid over. */
static loam_buf start(void) {
    static loam_buf own;
    loam_err err = {0};
    loam_pool *pool;
    loam_model *m;
    char path[] = "/tmp/fuzz_saved.XXXXXX";
    if (own.n) return own;
    const int fd = mkstemp(path);
    if (fd < 0 || loam_pool_new(&pool, 1, &err) ||
        loam_model_open(&m, "tests/golden/llm/families/llama/q4g64",
                        &(loam_model_options){.pool = pool}, &err) ||
        loam_session_new(&session, m, 16, &err) ||
        loam_session_feed(session, PROMPT, 4, NULL, &err) ||
        loam_session_save(session, 4, path, &err) || loam_file_read(&own, path, 1 << 24, &err))
        abort();
    close(fd);
    unlink(path);
    return own;
}

static uint64_t sign(const char *p, size_t n) {
    const loam_kv_shape k = loam_timeline_kv_shape(session->timeline);
    const size_t ids = (size_t)loam_read_u64(p + 32) & 15,
                 layer = 2 * k.n_kv_heads * k.row_bytes * ids;
    uint64_t h = loam_hash(p, 128, 0);
    if (128 + ids * 4 + k.n_layers * layer > n) return h;
    h = loam_hash(p + 128, ids * 4, h);
    for (size_t i = 0; i < k.n_layers; i++) h = loam_hash(p + 128 + ids * 4 + i * layer, layer, h);
    return h;
}

/* Input: u16 where, u16 how much to cut off or add, then bytes that replace those there. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const loam_buf own = start();
    loam_buf b = {0};
    loam_err err = {0};
    char path[64];
    size_t kept = 0;
    if (n < 4) return 0;
    const size_t at = loam_read_u16(data) % own.n, cut = loam_read_u16(data + 2) % own.n;
    loam_buf_append(&b, own.data, own.n - cut);
    for (size_t i = 4; i < n && at + i - 4 < b.n; i++) b.data[at + i - 4] = (char)data[i];
    if (b.n >= 136) {
        const uint64_t h = sign(b.data, b.n - 8);
        memcpy(b.data + b.n - 8, &h, 8);
    }
    const int fd = memfd_create("saved", MFD_CLOEXEC);
    if (fd < 0 || write(fd, b.data, b.n) != (ssize_t)b.n) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const loam_status st = loam_session_load(session, path, PROMPT, 8, &kept, &err);
    if (kept > 4 || kept != loam_session_position(session) || (st && kept)) abort();
    close(fd);
    loam_buf_deinit(&b);
    return 0;
}
