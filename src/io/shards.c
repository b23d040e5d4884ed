/* shards.c - see shards.h. */
#include "io/shards.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { DATA_ALIGNMENT = 64, MAX_SHARDS = 9999 };

typedef struct planned {
    char *name;
    loam_dtype dtype;
    int rank;
    uint64_t shape[LOAM_MAX_RANK];
    uint64_t bytes, offset; /* offset from the start of the file's data */
    size_t i_file;
} planned;

typedef struct shard {
    int fd;
    uint64_t data_at, data_bytes;
    char name[80];
} shard;

struct loam_shards {
    char *folder;
    planned *tensors;
    size_t n, cap;
    shard *files;
    size_t n_files;
    uint64_t total_bytes;
};

loam_status loam_shards_new(loam_shards **out, const char *folder, loam_err *err) {
    *out = NULL;
    loam_shards *s = calloc(1, sizeof *s);
    if (s) s->folder = loam_strdup(folder);
    if (!s || !s->folder) {
        free(s);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: writer", folder);
    }
    *out = s;
    return LOAM_OK;
}

void loam_shards_free(loam_shards *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_files; i++)
        if (s->files[i].fd >= 0) close(s->files[i].fd);
    for (size_t i = 0; i < s->n; i++) free(s->tensors[i].name);
    free(s->files);
    free(s->tensors);
    free(s->folder);
    free(s);
}

loam_status loam_shards_add(loam_shards *s, const char *name, loam_dtype dtype, int rank,
                            const uint64_t *shape, loam_err *err) {
    LOAM_ASSERT(loam_dtype_bytes(dtype) != 0 && rank >= 0 && rank <= LOAM_MAX_RANK && !s->files);
    if (!loam_grow((void **)&s->tensors, &s->cap, s->n + 1, sizeof *s->tensors))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: list of tensors", s->folder);

    planned *t = &s->tensors[s->n];
    memset(t, 0, sizeof *t);
    t->dtype = dtype;
    t->rank = rank;
    t->bytes = loam_dtype_bytes(dtype);
    for (int i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        if (__builtin_mul_overflow(t->bytes, shape[i], &t->bytes))
            return loam_fail(err, LOAM_ERR_LIMIT, "%s: tensor too large", name);
    }
    t->name = loam_strdup(name);
    if (!t->name) return loam_fail(err, LOAM_ERR_MEMORY, "%s: name", name);
    s->n++;
    if (__builtin_add_overflow(s->total_bytes, t->bytes, &s->total_bytes))
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: model too large", name);
    return LOAM_OK;
}

/* Give every tensor its file and place, as mlx-lm's make_shards does. */
static loam_status split_files(loam_shards *s, uint64_t max_bytes, loam_err *err) {
    uint64_t size = 0;
    size_t i_file = 0;
    for (size_t i = 0; i < s->n; i++) {
        planned *t = &s->tensors[i];
        if (size > 0 && t->bytes > max_bytes - (size < max_bytes ? size : max_bytes)) {
            i_file++;
            size = 0;
        }
        t->i_file = i_file;
        t->offset = size;
        size += t->bytes;
    }
    if (i_file >= MAX_SHARDS)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: too many files", s->folder);

    s->files = calloc(i_file + 1, sizeof *s->files);
    if (!s->files) return loam_fail(err, LOAM_ERR_MEMORY, "%s: list of files", s->folder);
    s->n_files = i_file + 1;
    for (size_t i = 0; i < s->n_files; i++) {
        s->files[i].fd = -1;
        if (s->n_files == 1)
            snprintf(s->files[i].name, sizeof s->files[i].name, "model.safetensors");
        else
            snprintf(s->files[i].name, sizeof s->files[i].name, "model-%05zu-of-%05zu.safetensors",
                     i + 1, s->n_files);
    }
    for (size_t i = 0; i < s->n; i++)
        s->files[s->tensors[i].i_file].data_bytes += s->tensors[i].bytes;
    return LOAM_OK;
}

static int compare_names(const void *a, const void *b) {
    const planned *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Pointers to all tensors in name order, so that header and index keys are sorted. */
static const planned **sort_names(const loam_shards *s) {
    const planned **sorted = loam_alloc(s->n, sizeof(*sorted));
    if (!sorted) return NULL;
    for (size_t i = 0; i < s->n; i++) sorted[i] = &s->tensors[i];
    if (s->n) qsort(sorted, s->n, sizeof *sorted, compare_names);
    return sorted;
}

static const char *format_name(loam_dtype d) {
    switch (d) {
    case LOAM_BOOL: return "BOOL";
    case LOAM_U8: return "U8";
    case LOAM_I8: return "I8";
    case LOAM_U16: return "U16";
    case LOAM_I16: return "I16";
    case LOAM_F16: return "F16";
    case LOAM_BF16: return "BF16";
    case LOAM_U32: return "U32";
    case LOAM_I32: return "I32";
    case LOAM_F32: return "F32";
    case LOAM_U64: return "U64";
    case LOAM_I64: return "I64";
    case LOAM_F64: return "F64";
    case LOAM_C64: return "C64";
    case LOAM_F8_E4M3: return "F8_E4M3";
    case LOAM_F8_E5M2: return "F8_E5M2";
    case LOAM_F8_E8M0: return "F8_E8M0";
    default: return NULL;
    }
}

static void put_header(loam_buf *b, const planned *const *sorted, size_t n, size_t i_file,
                       const char *metadata) {
    loam_buf_printf(b, "{\"__metadata__\":%s", metadata);
    for (size_t i = 0; i < n; i++) {
        const planned *t = sorted[i];
        if (t->i_file != i_file) continue;
        loam_buf_putc(b, ',');
        loam_json_put_string(b, t->name, strlen(t->name));
        loam_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", format_name(t->dtype));
        for (int k = 0; k < t->rank; k++)
            loam_buf_printf(b, "%s%llu", k ? "," : "", (unsigned long long)t->shape[k]);
        loam_buf_printf(b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->offset,
                        (unsigned long long)(t->offset + t->bytes));
    }
    loam_buf_putc(b, '}');
}

static loam_status write_at(int fd, uint64_t at, const void *bytes, size_t n, const char *name,
                            loam_err *err) {
    const char *p = bytes;
    while (n > 0) {
        const ssize_t done = pwrite(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return loam_fail_errno(err, done < 0 ? errno : ENOSPC, "%s: write", name);
        p += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return LOAM_OK;
}

static loam_status begin_file(loam_shards *s, size_t i, const planned *const *sorted,
                              const char *metadata, loam_err *err) {
    shard *f = &s->files[i];
    loam_buf head = {0};
    loam_status st = LOAM_OK;
    char *path = loam_path_join(s->folder, f->name);
    put_header(&head, sorted, s->n, i, metadata);
    while (!head.failed && (head.n + 8) % DATA_ALIGNMENT != 0) loam_buf_putc(&head, ' ');
    if (head.failed || !path) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: header", f->name);
        goto done;
    }
    f->data_at = 8 + head.n;
    f->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (f->fd < 0) {
        st = loam_fail_errno(err, errno, "%s: create", path);
        goto done;
    }
    /* reserving needs a file system that can; the others show a full disk on write */
    if (fallocate(f->fd, 0, 0, (off_t)(f->data_at + f->data_bytes)) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
        st = loam_fail_errno(err, errno, "%s: %llu bytes", path,
                             (unsigned long long)(f->data_at + f->data_bytes));
        goto done;
    }
    const uint64_t n = head.n;
    unsigned char length[8];
    for (int k = 0; k < 8; k++) length[k] = (unsigned char)(n >> (8 * k));
    st = write_at(f->fd, 0, length, sizeof length, f->name, err);
    if (!st) st = write_at(f->fd, 8, head.data, head.n, f->name, err);
done:
    loam_buf_deinit(&head);
    free(path);
    return st;
}

loam_status loam_shards_begin(loam_shards *s, uint64_t max_bytes, const char *metadata,
                              loam_err *err) {
    loam_status st = split_files(s, max_bytes ? max_bytes : (uint64_t)5 << 30, err);
    if (st) return st;
    const planned **sorted = sort_names(s);
    if (!sorted) return loam_fail(err, LOAM_ERR_MEMORY, "%s: names", s->folder);
    for (size_t i = 1; i < s->n && !st; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            st = loam_fail(err, LOAM_ERR_FORMAT, "tensor %s occurs twice", sorted[i]->name);
    for (size_t i = 0; i < s->n_files && !st; i++) st = begin_file(s, i, sorted, metadata, err);
    free(sorted);
    return st;
}

loam_status loam_shards_write(loam_shards *s, size_t i, uint64_t offset, const void *bytes,
                              size_t n, loam_err *err) {
    LOAM_ASSERT(i < s->n && s->files);
    const planned *t = &s->tensors[i];
    const shard *f = &s->files[t->i_file];
    LOAM_ASSERT(offset <= t->bytes && n <= t->bytes - offset);
    return write_at(f->fd, f->data_at + t->offset + offset, bytes, n, f->name, err);
}

static loam_status write_index(loam_shards *s, uint64_t total_parameters, loam_err *err) {
    loam_buf b = {0};
    loam_status st = LOAM_OK;
    char *path = loam_path_join(s->folder, "model.safetensors.index.json");
    const planned **sorted = sort_names(s);
    loam_buf_printf(&b,
                    "{\n    \"metadata\": {\n        \"total_size\": %llu,\n"
                    "        \"total_parameters\": %llu\n    },\n    \"weight_map\": {",
                    (unsigned long long)s->total_bytes, (unsigned long long)total_parameters);
    for (size_t i = 0; sorted && i < s->n; i++) {
        loam_buf_puts(&b, i ? ",\n        " : "\n        ");
        loam_json_put_string(&b, sorted[i]->name, strlen(sorted[i]->name));
        loam_buf_printf(&b, ": \"%s\"", s->files[sorted[i]->i_file].name);
    }
    loam_buf_puts(&b, "\n    }\n}");
    if (!sorted || !path || b.failed)
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: index", s->folder);
    else
        st = loam_file_write(path, b.data, b.n, 0666, err);
    loam_buf_deinit(&b);
    free(sorted);
    free(path);
    return st;
}

loam_status loam_shards_finish(loam_shards *s, uint64_t total_parameters, loam_err *err) {
    loam_status st = write_index(s, total_parameters, err);
    for (size_t i = 0; i < s->n_files && !st; i++) {
        shard *f = &s->files[i];
        if (fsync(f->fd) != 0) st = loam_fail_errno(err, errno, "%s: sync", f->name);
        const int fd = f->fd;
        f->fd = -1;
        if (close(fd) != 0 && !st) st = loam_fail_errno(err, errno, "%s: close", f->name);
    }
    return st;
}
