/* npz.c - archives of npy arrays, read and written.
 *
 * Written: stored members, data at multiples of 64 in the file (an extra field pads the
 * local header), so that a mapping of the file can be used as it is.
 */
#include "io/file_out.h"
#include "io/npy.h"
#include "io/zip.h"

#include <stdio.h>

/* ---- reading ---- */

/* Unpack a deflated member after its header has said how much there will be. */
static loam_status unpack_member(loam_arrays *a, const loam_zip *z, const loam_zip_member *m,
                                 const unsigned char **bytes, loam_err *err) {
    size_t got;
    unsigned char *block = malloc(m->bytes ? (size_t)m->bytes : 1);
    if (!block)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory for member '%s'", z->name,
                         m->name);
    *bytes = block;
    const loam_status st = loam_arrays_own(a, block, err);
    return st ? st : loam_zip_unpack(z, m, block, (size_t)m->bytes, &got, err);
}

/* The header of a member, unpacked by itself; sizes must agree before more is unpacked. */
static loam_status read_header(loam_npy *h, const loam_zip *z, const loam_zip_member *m,
                               const char *where, loam_err *err) {
    unsigned char prefix[LOAM_NPY_PREFIX];
    size_t got, n_header = 0;
    loam_status st = loam_zip_unpack(z, m, prefix, sizeof prefix, &got, err);
    if (!st) st = loam_npy_prefix(prefix, got, where, &n_header, err);
    if (st) return st;
    unsigned char *header = malloc(n_header);
    if (!header) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", where);
    st = loam_zip_unpack(z, m, header, n_header, &got, err);
    if (!st) st = loam_npy_parse(h, header, got, where, err);
    free(header);
    if (!st && m->bytes != h->n_header + h->tensor.bytes)
        st = loam_fail(err, LOAM_ERR_FORMAT,
                       "%s: member of %llu bytes, its header says %llu and %llu of data", where,
                       (unsigned long long)m->bytes, (unsigned long long)h->n_header,
                       (unsigned long long)h->tensor.bytes);
    return st;
}

/* Array names become file names when someone unpacks them: none may lead elsewhere. */
static int is_inside(const char *name) {
    if (name[0] == '/' || strchr(name, '\\')) return 0;
    for (const char *p = name; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (p[0] == '.' && p[1] == '.' && p[2] == '/') return 0;
    }
    return 1;
}

static loam_status read_member(loam_arrays *a, const loam_zip *z, const loam_zip_member *m,
                               char **names, loam_err *err) {
    const size_t n = strlen(m->name);
    char where[256];
    loam_npy h = {0};
    if (n >= 4 && strcmp(m->name + n - 4, ".pkl") == 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "%s: a Python pickle, which loam never opens: convert it to safetensors",
                         z->name);
    if (n < 4 || strcmp(m->name + n - 4, ".npy") != 0) return LOAM_OK; /* a README, a folder */
    if (!is_inside(m->name))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: member '%s' is named as if outside the archive",
                         z->name, m->name);
    (void)snprintf(where, sizeof where, "%s: '%s'", z->name, m->name);
    loam_status st = read_header(&h, z, m, where, err);
    const unsigned char *bytes = m->packed;
    if (!st)
        st =
            m->method == 0 ? loam_zip_check_stored(z, m, err) : unpack_member(a, z, m, &bytes, err);
    if (st) return st;
    char *name = *names;
    memcpy(name, m->name, n - 4);
    name[n - 4] = '\0';
    *names += n - 3;
    return loam_npy_place(a, &h, bytes + h.n_header, name, where, err);
}

loam_status loam_npz_read(loam_arrays *a, loam_bytes file, loam_err *err) {
    loam_zip z;
    size_t n_names = 1;
    loam_status st = loam_zip_open(&z, file.p, file.n, file.name, err);
    if (st) return st;
    for (size_t i = 0; i < z.n; i++) n_names += strlen(z.members[i].name) + 1;
    char *names = malloc(n_names);
    if (!names) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory for names", file.name);
        goto done;
    }
    st = loam_arrays_own(a, names, err);
    for (size_t i = 0; i < z.n && !st; i++) st = read_member(a, &z, &z.members[i], &names, err);
    if (!st && z.n && !a->n)
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s: a zip archive without npy arrays", file.name);
done:
    loam_zip_close(&z);
    return st;
}

/* ---- writing ---- */

enum { ALIGNMENT = 64, PAD_ID = 0xd935, DOS_DATE = 0x21 /* 1980-01-01 */, UTF8_FLAG = 1 << 11 };

typedef struct member {
    loam_buf name;   /* with .npy */
    loam_buf header; /* of the npy */
    uint64_t at;     /* of the local header */
    uint64_t bytes;  /* header and data */
    uint32_t crc;
    uint16_t flags;
} member;

static void put_u16(loam_buf *b, uint64_t v) {
    loam_buf_putc(b, (char)(v & 0xff));
    loam_buf_putc(b, (char)(v >> 8 & 0xff));
}

static void put_u32(loam_buf *b, uint64_t v) {
    put_u16(b, v);
    put_u16(b, v >> 16);
}

static void put_u64(loam_buf *b, uint64_t v) {
    put_u32(b, v);
    put_u32(b, v >> 32);
}

static uint64_t low32(uint64_t v) {
    return v < UINT32_MAX ? v : UINT32_MAX;
}

static loam_status prepare_member(member *m, const loam_tensor *t, loam_err *err) {
    const loam_status st = loam_npy_header(&m->header, t, err);
    if (st) return st;
    loam_buf_puts(&m->name, t->name);
    loam_buf_puts(&m->name, ".npy");
    if (m->name.failed) return loam_fail(err, LOAM_ERR_MEMORY, "out of memory for names");
    if (m->name.n > 60000) return loam_fail(err, LOAM_ERR_LIMIT, "array name too long");
    for (size_t i = 0; i < m->name.n; i++)
        if ((unsigned char)m->name.data[i] >= 0x80) m->flags = UTF8_FLAG;
    m->bytes = m->header.n + t->bytes;
    m->crc = loam_zip_crc((const unsigned char *)m->header.data, m->header.n);
    m->crc = loam_zip_crc_more(m->crc, t->data, t->bytes);
    return LOAM_OK;
}

/* Version, flags, method, time, date, CRC, sizes, name length: the same in both headers. */
static void put_common(loam_buf *b, const member *m, int zip64) {
    put_u16(b, zip64 ? 45 : 20);
    put_u16(b, m->flags);
    put_u16(b, 0);
    put_u16(b, 0);
    put_u16(b, DOS_DATE);
    put_u32(b, m->crc);
    put_u32(b, low32(m->bytes));
    put_u32(b, low32(m->bytes));
    put_u16(b, m->name.n);
}

static void write_member(loam_file_out *o, member *m, const loam_tensor *t) {
    loam_buf b = {0};
    const int large = m->bytes >= UINT32_MAX;
    m->at = o->n_written;
    const uint64_t fixed = m->at + 30 + m->name.n + (large ? 20u : 0u);
    const size_t pad = (ALIGNMENT - (size_t)((fixed + 4) % ALIGNMENT)) % ALIGNMENT;
    put_u32(&b, 0x04034b50);
    put_common(&b, m, large);
    put_u16(&b, (large ? 20u : 0u) + 4 + pad);
    loam_buf_append(&b, m->name.data, m->name.n);
    if (large) {
        put_u16(&b, 1);
        put_u16(&b, 16);
        put_u64(&b, m->bytes);
        put_u64(&b, m->bytes);
    }
    put_u16(&b, PAD_ID);
    put_u16(&b, pad);
    for (size_t i = 0; i < pad; i++) loam_buf_putc(&b, 0);
    if (b.failed) o->failed = 12; /* ENOMEM */
    loam_file_out_write(o, b.data, b.n);
    loam_file_out_write(o, m->header.data, m->header.n);
    loam_file_out_write(o, t->data, (size_t)t->bytes);
    loam_buf_deinit(&b);
}

static void put_entry(loam_buf *b, const member *m) {
    const int large = m->bytes >= UINT32_MAX, far = m->at >= UINT32_MAX;
    const uint64_t n_extra = (large ? 16u : 0u) + (far ? 8u : 0u);
    put_u32(b, 0x02014b50);
    put_u16(b, large || far ? 45 : 20);
    put_common(b, m, large || far);
    put_u16(b, n_extra ? n_extra + 4 : 0);
    put_u16(b, 0); /* comment */
    put_u16(b, 0); /* disk */
    put_u16(b, 0);
    put_u32(b, 0);
    put_u32(b, low32(m->at));
    loam_buf_append(b, m->name.data, m->name.n);
    if (!n_extra) return;
    put_u16(b, 1);
    put_u16(b, n_extra);
    if (large) {
        put_u64(b, m->bytes);
        put_u64(b, m->bytes);
    }
    if (far) put_u64(b, m->at);
}

static void write_directory(loam_file_out *o, const member *members, size_t n) {
    loam_buf b = {0};
    const uint64_t start = o->n_written;
    for (size_t i = 0; i < n; i++) put_entry(&b, &members[i]);
    const uint64_t size = b.n;
    if (n >= 0xffff || size >= UINT32_MAX || start >= UINT32_MAX) {
        put_u32(&b, 0x06064b50);
        put_u64(&b, 44);
        put_u16(&b, 45);
        put_u16(&b, 45);
        put_u32(&b, 0);
        put_u32(&b, 0);
        put_u64(&b, n);
        put_u64(&b, n);
        put_u64(&b, size);
        put_u64(&b, start);
        put_u32(&b, 0x07064b50);
        put_u32(&b, 0);
        put_u64(&b, start + size);
        put_u32(&b, 1);
    }
    put_u32(&b, 0x06054b50);
    put_u32(&b, 0);
    put_u16(&b, n < 0xffff ? n : 0xffff);
    put_u16(&b, n < 0xffff ? n : 0xffff);
    put_u32(&b, low32(size));
    put_u32(&b, low32(start));
    put_u16(&b, 0);
    if (b.failed) o->failed = 12;
    loam_file_out_write(o, b.data, b.n);
    loam_buf_deinit(&b);
}

static loam_status check_names(const loam_tensor *tensors, size_t n, loam_err *err) {
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(tensors[i].name, tensors[k].name) == 0)
                return loam_fail(err, LOAM_ERR_ARGUMENT, "array '%s' occurs twice",
                                 tensors[i].name);
    return LOAM_OK;
}

loam_status loam_npz_write(const char *path, const loam_tensor *tensors, size_t n, loam_err *err) {
    loam_file_out o;
    member *members = loam_alloc(n, sizeof *members);
    loam_status st = check_names(tensors, n, err);
    if (!members) st = loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", path);
    for (size_t i = 0; i < n && !st; i++) st = prepare_member(&members[i], &tensors[i], err);
    if (!st) st = loam_file_out_open(&o, path, 0666, err);
    if (!st) {
        for (size_t i = 0; i < n; i++) write_member(&o, &members[i], &tensors[i]);
        write_directory(&o, members, n);
        st = loam_file_out_commit(&o, err);
    }
    for (size_t i = 0; members && i < n; i++) {
        loam_buf_deinit(&members[i].name);
        loam_buf_deinit(&members[i].header);
    }
    free(members);
    return st;
}

loam_status loam_npy_write(const char *path, const loam_tensor *tensor, loam_err *err) {
    loam_file_out o;
    loam_buf header = {0};
    loam_status st = loam_npy_header(&header, tensor, err);
    if (!st) st = loam_file_out_open(&o, path, 0666, err);
    if (!st) {
        loam_file_out_write(&o, header.data, header.n);
        loam_file_out_write(&o, tensor->data, (size_t)tensor->bytes);
        st = loam_file_out_commit(&o, err);
    }
    loam_buf_deinit(&header);
    return st;
}
