/* convert_run.c - moving the weights of a planned conversion.
 *
 * Tensor after tensor; the rows of each are cut into pieces of about a megabyte
 * over the threads, and every piece is written where it belongs at once.  Held
 * in memory at any time: one piece per thread.  The source is mapped.
 */
#include "base/threads.h"
#include "io/shards.h"
#include "model/convert_job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20 };

/* One item being moved; shared by the workers. */
typedef struct mover {
    convert_job *job;
    const convert_item *item;
    loam_shards *shards;
    pthread_mutex_t lock; /* guards what follows */
    loam_status status;
    loam_err err;
    uint64_t done, total;
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
} mover;

/* A worker's piece: rows of values and what they become. */
typedef struct piece {
    float *row, *group; /* [cols]; [2 * cols / 16] of scales and biases */
    unsigned char *packed, *scales, *biases, *narrow;
} piece;

static uint64_t item_bytes(const convert_item *it) {
    return it->src->bytes + (it->src_scales ? it->src_scales->bytes : 0) +
           (it->src_biases ? it->src_biases->bytes : 0);
}

static size_t row_bytes(const convert_item *it) {
    if (it->action == CONVERT_COPY) return it->rows ? (size_t)(it->src->bytes / it->rows) : 0;
    if (it->action == CONVERT_CAST) return (size_t)it->cols * loam_dtype_bytes(it->dtype);
    return loam_quant_row_bytes((size_t)it->cols, it->quant.bits);
}

static size_t scales_bytes(const convert_item *it) {
    const size_t each = it->quant.mode == LOAM_QUANT_AFFINE ? loam_dtype_bytes(it->dtype) : 1;
    return (size_t)it->cols / (size_t)it->quant.group * each;
}

/* llama.cpp keeps the two halves of a rotary head interleaved: output row
 * (h, b, a) with b in 0..1 and a in 0..dim/2 is source row (h, a, b). */
static uint64_t source_row(const convert_item *it, uint64_t row) {
    if (!it->heads) return row;
    const uint64_t dim = it->rows / it->heads, half = dim / 2;
    const uint64_t head = row / dim, r = row % dim;
    return head * dim + (r % half) * 2 + r / half;
}

static int new_piece(piece *p, const convert_item *it, size_t rows) {
    memset(p, 0, sizeof *p);
    const size_t cols = (size_t)it->cols;
    p->row = loam_alloc(cols, sizeof *p->row);
    p->group = loam_alloc(cols / 8 + 2, sizeof *p->group);
    p->packed = loam_alloc(rows, row_bytes(it));
    p->narrow = loam_alloc(cols, 4);
    if (it->action == CONVERT_QUANTIZE || it->action == CONVERT_BLOCKS) {
        p->scales = loam_alloc(rows, scales_bytes(it));
        p->biases = loam_alloc(rows, scales_bytes(it));
        if (!p->scales || !p->biases) return 0;
    }
    return p->row && p->group && p->packed && p->narrow;
}

static void free_piece(piece *p) {
    free(p->row);
    free(p->group);
    free(p->packed);
    free(p->narrow);
    free(p->scales);
    free(p->biases);
}

/* A row of an MLX triple.  mlx-lm gives scales and biases the target type first
 * and then computes in it. */
static void read_triple(const convert_item *it, uint64_t row, piece *p) {
    const size_t cols = (size_t)it->cols, n = cols / (size_t)it->src_quant.group;
    const unsigned char *w = it->src->data, *s = it->src_scales->data;
    w += row * loam_quant_row_bytes(cols, it->src_quant.bits);
    const loam_float t = loam_convert_float(it->dtype);
    if (it->src_quant.mode != LOAM_QUANT_AFFINE) {
        loam_dequantize_fp_row(w, s + row * n, cols, it->src_quant.mode, t, p->row);
        return;
    }
    const loam_float from = loam_convert_float(it->src_scales->dtype);
    const unsigned char *b = it->src_biases->data;
    const size_t each = loam_float_bytes(from);
    unsigned char *ns = p->narrow, *nb = p->narrow + 4 * n;
    loam_float_load(s + row * n * each, n, from, p->group);
    loam_float_load(b + row * n * each, n, from, p->group + n);
    loam_float_store(p->group, n, t, ns);
    loam_float_store(p->group + n, n, t, nb);
    loam_dequantize_affine_row(w, ns, nb, cols, it->src_quant.bits, it->src_quant.group, t, p->row);
}

static loam_status read_row(const convert_item *it, uint64_t row, piece *p, loam_err *err) {
    if (it->src_scales) {
        read_triple(it, row, p);
        return LOAM_OK;
    }
    return loam_tensor_to_f32(it->src, row * it->cols, it->cols, p->row, err);
}

/* Row `row` of the output into slot k of the piece. */
static loam_status make_row(const convert_item *it, uint64_t row, size_t k, piece *p,
                            loam_err *err) {
    const uint64_t from = source_row(it, row);
    const size_t cols = (size_t)it->cols, n = row_bytes(it);
    const loam_float t = loam_convert_float(it->dtype);
    unsigned char *out = p->packed + k * n;
    loam_status st = LOAM_OK;

    if (it->action == CONVERT_COPY) {
        memcpy(out, (const unsigned char *)it->src->data + from * n, n);
        return LOAM_OK;
    }
    if (it->action == CONVERT_BLOCKS) {
        const size_t groups = cols / 32;
        const unsigned char *src = it->src->data;
        src += from * loam_convert_block_bytes(it->src->dtype, cols);
        loam_convert_blocks(it->src->dtype, src, cols, out, p->group, p->group + groups);
        loam_float_store(p->group, groups, t, p->scales + k * scales_bytes(it));
        loam_float_store(p->group + groups, groups, t, p->biases + k * scales_bytes(it));
        return LOAM_OK;
    }
    st = read_row(it, from, p, err);
    if (st) return st;
    if (it->action == CONVERT_CAST) {
        loam_float_store(p->row, cols, t, out);
        return LOAM_OK;
    }
    if (it->round_first) {
        loam_float_store(p->row, cols, t, p->narrow);
        loam_float_load(p->narrow, cols, t, p->row);
    }
    if (it->quant.mode == LOAM_QUANT_AFFINE)
        loam_quantize_affine_row(p->row, cols, it->quant.bits, it->quant.group, t, out,
                                 p->scales + k * scales_bytes(it),
                                 p->biases + k * scales_bytes(it));
    else
        loam_quantize_fp_row(p->row, cols, it->quant.mode, t, out,
                             p->scales + k * scales_bytes(it));
    return LOAM_OK;
}

static loam_status write_piece(mover *m, const piece *p, uint64_t first, size_t rows,
                               loam_err *err) {
    const convert_item *it = m->item;
    const size_t n = row_bytes(it);
    loam_status st = loam_shards_write(m->shards, it->i_out, first * n, p->packed, rows * n, err);
    if (st || !p->scales) return st;
    const size_t s = scales_bytes(it);
    st = loam_shards_write(m->shards, it->i_out + 1, first * s, p->scales, rows * s, err);
    if (st || it->quant.mode != LOAM_QUANT_AFFINE) return st;
    return loam_shards_write(m->shards, it->i_out + 2, first * s, p->biases, rows * s, err);
}

/* After a piece: note failure or progress; 1 while work goes on. */
static int report(mover *m, unsigned worker, loam_status st, const loam_err *err, uint64_t bytes) {
    const loam_cancel *cancel = m->job->options->cancel;
    pthread_mutex_lock(&m->lock);
    if (!st && cancel && cancel->requested) {
        if (!m->status) m->status = loam_fail(&m->err, LOAM_ERR_CANCELLED, "conversion cancelled");
    } else if (st && !m->status) {
        m->status = st;
        m->err = *err;
    }
    m->done += bytes;
    const int go_on = m->status == LOAM_OK;
    const uint64_t done = m->done;
    pthread_mutex_unlock(&m->lock);
    /* worker 0 is the caller's own thread */
    if (worker == 0 && m->progress) m->progress(m->ctx, done, m->total);
    return go_on;
}

static size_t rows_per_piece(const convert_item *it) {
    const uint64_t row = it->cols * 4 > row_bytes(it) ? it->cols * 4 : row_bytes(it);
    const uint64_t n = row ? PIECE_BYTES / row : PIECE_BYTES;
    return n ? (size_t)n : 1;
}

static void move_rows(void *ctx, size_t begin, size_t end, unsigned worker) {
    mover *m = ctx;
    const convert_item *it = m->item;
    const size_t most = rows_per_piece(it);
    piece p;
    loam_err err = {0};
    if (!new_piece(&p, it, most < end - begin ? most : end - begin)) {
        report(m, worker, loam_fail(&err, LOAM_ERR_MEMORY, "%s: rows", it->name), &err, 0);
        free_piece(&p);
        return;
    }
    for (size_t first = begin; first < end;) {
        const size_t rows = end - first < most ? end - first : most;
        loam_status st = LOAM_OK;
        for (size_t k = 0; k < rows && !st; k++) st = make_row(it, first + k, k, &p, &err);
        if (!st) st = write_piece(m, &p, first, rows, &err);
        if (!report(m, worker, st, &err, item_bytes(it) / it->rows * rows)) break;
        first += rows;
    }
    free_piece(&p);
}

/* Tell the writer what comes, in the order of the items. */
static loam_status plan_outputs(convert_job *job, loam_shards *s, uint64_t *n_parameters,
                                loam_err *err) {
    loam_status st = LOAM_OK;
    size_t n = 0;
    for (size_t i = 0; i < job->n_items && !st; i++) {
        convert_item *it = &job->items[i];
        uint64_t shape[LOAM_MAX_RANK];
        const int rank = it->src->rank;
        memcpy(shape, it->src->shape, sizeof shape);
        it->i_out = n;
        if (rank && it->src_scales) shape[rank - 1] = it->cols;
        if (it->action == CONVERT_COPY || it->action == CONVERT_CAST) {
            n++;
            st = loam_shards_add(s, it->name,
                                 it->action == CONVERT_COPY ? it->src->dtype : it->dtype, rank,
                                 shape, err);
            continue;
        }
        const int affine = it->quant.mode == LOAM_QUANT_AFFINE;
        char *weight = loam_format("%s.weight", it->name);
        char *scales = loam_format("%s.scales", it->name);
        char *biases = loam_format("%s.biases", it->name);
        if (!weight || !scales || !biases)
            st = loam_fail(err, LOAM_ERR_MEMORY, "%s: names", it->name);
        shape[rank - 1] = it->cols * (uint64_t)it->quant.bits / 32;
        if (!st) st = loam_shards_add(s, weight, LOAM_U32, rank, shape, err);
        shape[rank - 1] = it->cols / (uint64_t)it->quant.group;
        if (!st) st = loam_shards_add(s, scales, affine ? it->dtype : LOAM_U8, rank, shape, err);
        if (!st && affine) st = loam_shards_add(s, biases, it->dtype, rank, shape, err);
        n += affine ? 3 : 2;
        free(weight);
        free(scales);
        free(biases);
    }
    *n_parameters = 0;
    for (size_t i = 0; i < job->n_items; i++) {
        const convert_item *it = &job->items[i];
        const size_t name = strlen(it->name);
        /* a triple that passes through: its packed words stand for more values,
         * its scales and biases for none */
        if (name > 7 && (strcmp(it->name + name - 7, ".scales") == 0 ||
                         strcmp(it->name + name - 7, ".biases") == 0))
            continue;
        const uint64_t values = it->rows * it->cols;
        *n_parameters += it->action == CONVERT_COPY && it->src_quant.bits
                             ? values * 32 / (uint64_t)it->src_quant.bits
                             : values;
    }
    return st;
}

static loam_status copy_file(int from_dir, int to_dir, const char *name, loam_err *err) {
    char buffer[1 << 16];
    loam_status st = LOAM_OK;
    int out = -1;
    const int in = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (in < 0) return loam_fail_errno(err, errno, "%s: open", name);
    out = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (out < 0) st = loam_fail_errno(err, errno, "%s: create", name);
    while (!st) {
        ssize_t n = read(in, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = loam_fail_errno(err, errno, "%s: read", name);
        if (n <= 0) break;
        for (ssize_t at = 0; at < n && !st;) {
            const ssize_t w = write(out, buffer + at, (size_t)(n - at));
            if (w < 0 && errno != EINTR) st = loam_fail_errno(err, errno, "%s: write", name);
            if (w > 0) at += w;
        }
    }
    if (out >= 0 && !st && fsync(out) != 0) st = loam_fail_errno(err, errno, "%s: sync", name);
    if (out >= 0 && close(out) != 0 && !st) st = loam_fail_errno(err, errno, "%s: close", name);
    close(in);
    return st;
}

/* What travels with the weights: tokenizer, templates, settings, licence. */
static int is_small_file(const convert_job *job, const char *name) {
    static const char *const ends[] = {".json",     ".txt",   ".jinja", ".model",
                                       ".tiktoken", ".jsonl", ".md"};
    if (name[0] == '.' || strcmp(name, "model.safetensors.index.json") == 0) return 0;
    for (size_t i = 0; i < job->n_files; i++)
        if (strcmp(job->files[i].name, name) == 0) return 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (loam_ends_with(name, ends[i])) return 1;
    return strncmp(name, "LICENSE", 7) == 0 || strncmp(name, "NOTICE", 6) == 0;
}

static loam_status copy_folder(const convert_job *job, int from, int to, int depth, loam_err *err) {
    loam_status st = LOAM_OK;
    const int fd = dup(from);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0) close(fd);
        return loam_fail_errno(err, errno, "%s: list", job->src);
    }
    for (const struct dirent *e; !st && (e = readdir(d));) {
        struct stat sb;
        const char *name = e->d_name;
        if (name[0] == '.' || fstatat(from, name, &sb, 0) != 0) continue;
        /* one level below: sentence-transformers' 1_Pooling, 2_Dense */
        if (S_ISDIR(sb.st_mode) && depth == 0 && name[0] >= '0' && name[0] <= '9') {
            const int inner = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (inner < 0) continue;
            if (mkdirat(to, name, 0777) != 0) st = loam_fail_errno(err, errno, "%s: create", name);
            const int made = st ? -1 : openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (made >= 0) st = copy_folder(job, inner, made, 1, err);
            if (made >= 0) close(made);
            close(inner);
        } else if (S_ISREG(sb.st_mode) &&
                   (is_small_file(job, name) || (depth && loam_ends_with(name, ".safetensors")))) {
            st = copy_file(from, to, name, err);
        }
    }
    closedir(d);
    return st;
}

static loam_status write_files(convert_job *job, const char *folder, loam_err *err) {
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < job->n_files && !st; i++) {
        char *path = loam_path_join(folder, job->files[i].name);
        st = path
                 ? loam_file_write(path, job->files[i].bytes.data, job->files[i].bytes.n, 0666, err)
                 : loam_fail(err, LOAM_ERR_MEMORY, "%s: path", folder);
        free(path);
    }
    if (st || !job->from_folder) return st;
    const int from = open(job->src, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int to = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from < 0 || to < 0)
        st = loam_fail_errno(err, errno, "%s: open", from < 0 ? job->src : folder);
    else
        st = copy_folder(job, from, to, 0, err);
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    return st;
}

loam_status loam_convert_run(convert_job *job, const char *folder,
                             void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                             loam_err *err) {
    loam_pool *pool = NULL;
    loam_shards *shards = NULL;
    uint64_t n_parameters = 0;
    mover m = {.job = job, .progress = progress, .ctx = ctx};

    pthread_mutex_init(&m.lock, NULL);
    loam_status st = loam_pool_new(&pool, 0, err);
    if (!st) st = loam_shards_new(&shards, folder, err);
    if (!st) st = plan_outputs(job, shards, &n_parameters, err);
    if (!st) st = loam_shards_begin(shards, 0, "{\"format\":\"mlx\"}", err);

    for (size_t i = 0; i < job->n_items; i++) m.total += item_bytes(&job->items[i]);
    m.shards = shards;
    for (size_t i = 0; i < job->n_items && !st; i++) {
        m.item = &job->items[i];
        if (m.item->rows && m.item->cols)
            loam_pool_for(pool, (size_t)m.item->rows, rows_per_piece(m.item), move_rows, &m);
        st = m.status;
        if (st && err) *err = m.err;
    }
    if (!st) st = loam_shards_finish(shards, n_parameters, err);
    if (!st) st = write_files(job, folder, err);

    loam_shards_free(shards);
    loam_pool_free(pool);
    pthread_mutex_destroy(&m.lock);
    return st;
}
