/* info.c - loam info: what a model folder, an index or a file of arrays holds.
 *
 * Reading is checking: what is damaged fails here with the one line that any other
 * command would give. */
#include "loam/info.h"
#include "cli/cli.h"
#include "loam/commands.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const cli_option OPTIONS[] = {
    {"json", 0, CLI_FLAG, offsetof(info_arguments, json), "", "one JSON object on stdout", 0, 0},
    {"arrays", 0, CLI_FLAG, offsetof(info_arguments, arrays), "",
     "list a model folder's or an index's arrays too (files are always listed)", 0, 0},
    {"sha256", 0, CLI_FLAG, offsetof(info_arguments, sha256), "",
     "list arrays with the SHA-256 of their bytes (C order, little endian)", 0, 0},
    {0}};

static const char EXAMPLES[] = "  loam info models/qwen2.5-coder-1.5b\n"
                               "  loam info models/indexes/combined_vdb.npz --json\n"
                               "  loam info model.gguf --sha256\n";

static const cli_program PROGRAM = {
    "loam info",
    "PATH [OPTIONS]",
    "tell what a model folder, an index or a safetensors, npy, npz or GGUF file holds",
    OPTIONS,
    EXAMPLES,
    1,
    1,
};

/* ---- sizes and counts for people ---- */

void info_put_bytes(loam_buf *b, uint64_t n) {
    static const char *const UNITS[] = {"bytes", "kB", "MB", "GB", "TB"};
    double v = (double)n;
    int unit = 0;
    for (; v >= 1000.0 && unit < 4; unit++) v /= 1000.0;
    loam_buf_printf(b, unit ? "%.1f %s" : "%.0f %s", v, UNITS[unit]);
}

void info_put_count(loam_buf *b, uint64_t n) {
    if (n >= 1000000000)
        loam_buf_printf(b, "%.2f billion", (double)n / 1e9);
    else if (n >= 1000000)
        loam_buf_printf(b, "%.1f million", (double)n / 1e6);
    else
        loam_buf_printf(b, "%llu", (unsigned long long)n);
}

/* ---- arrays ---- */

/* The names numpy and MLX use; block formats have none there. */
static const char *dtype_name(loam_dtype d) {
    switch (d) {
    case LOAM_U8: return "uint8";
    case LOAM_I8: return "int8";
    case LOAM_U16: return "uint16";
    case LOAM_I16: return "int16";
    case LOAM_F16: return "float16";
    case LOAM_BF16: return "bfloat16";
    case LOAM_U32: return "uint32";
    case LOAM_I32: return "int32";
    case LOAM_F32: return "float32";
    case LOAM_U64: return "uint64";
    case LOAM_I64: return "int64";
    case LOAM_F64: return "float64";
    case LOAM_C64: return "complex64";
    default: return loam_dtype_name(d);
    }
}

static void put_shape(loam_buf *b, const loam_tensor *t) {
    loam_buf_putc(b, '[');
    for (int i = 0; i < t->rank; i++)
        loam_buf_printf(b, "%s%llu", i ? ", " : "", (unsigned long long)t->shape[i]);
    loam_buf_putc(b, ']');
}

static void put_array(loam_buf *b, const loam_tensor *t, const info_arguments *a) {
    char hex[65] = "";
    if (a->sha256) loam_tensor_sha256(t, hex);
    if (a->json) {
        loam_buf_puts(b, "{\"name\": ");
        loam_json_put_string(b, t->name, strlen(t->name));
        loam_buf_printf(b, ", \"dtype\": \"%s\", \"shape\": ", dtype_name(t->dtype));
        put_shape(b, t);
        loam_buf_printf(b, ", \"bytes\": %llu", (unsigned long long)t->bytes);
        if (a->sha256) loam_buf_printf(b, ", \"sha256\": \"%s\"", hex);
        loam_buf_putc(b, '}');
    } else {
        loam_buf_printf(b, "  %-10s", dtype_name(t->dtype));
        put_shape(b, t);
        loam_buf_printf(b, "  %s%s%s\n", t->name, a->sha256 ? "  " : "", hex);
    }
}

void info_put_arrays(loam_buf *b, const loam_arrays *arrays, const info_arguments *a) {
    const size_t n = loam_arrays_count(arrays);
    if (a->json) loam_buf_puts(b, ", \"arrays\": [");
    for (size_t i = 0; i < n; i++) {
        if (a->json && i) loam_buf_puts(b, ", ");
        put_array(b, loam_arrays_at(arrays, i), a);
    }
    if (a->json) loam_buf_putc(b, ']');
}

/* ---- metadata ---- */

enum { LONG_LIST = 64 }; /* a vocabulary is not printed */

static void put_member(loam_buf *b, const loam_json_value *v, int json) {
    const size_t n = loam_json_count(v);
    if (loam_json_type_of(v) == LOAM_JSON_ARRAY && n > LONG_LIST)
        loam_buf_printf(b, json ? "{\"items\": %zu}" : "(%zu items)", n);
    else
        loam_json_put_value(b, v, -1, 0);
}

static void put_metadata(loam_buf *b, const loam_json_value *metadata, int json) {
    if (!metadata) return;
    loam_buf_puts(b, json ? ", \"metadata\": {" : "metadata\n");
    const char *comma = "";
    for (const loam_json_value *m = loam_json_first(metadata); m; m = loam_json_next(m)) {
        size_t n;
        const char *key = loam_json_own_key(m, &n);
        if (json) {
            loam_buf_puts(b, comma);
            loam_json_put_string(b, key, n);
            loam_buf_puts(b, ": ");
        } else {
            loam_buf_printf(b, "  %s  ", key);
        }
        put_member(b, m, json);
        if (!json) loam_buf_putc(b, '\n');
        comma = ", ";
    }
    if (json) loam_buf_putc(b, '}');
}

/* ---- one file ---- */

static const char *container_name(loam_container c) {
    switch (c) {
    case LOAM_SAFETENSORS: return "safetensors";
    case LOAM_NPY: return "npy";
    case LOAM_NPZ: return "npz";
    case LOAM_GGUF: return "gguf";
    }
    return "unknown";
}

static void describe_file(loam_buf *b, const char *path, const loam_arrays *arrays,
                          const info_arguments *a) {
    const char *kind = container_name(loam_arrays_container(arrays));
    const uint64_t bytes = loam_arrays_file_bytes(arrays);
    const size_t n = loam_arrays_count(arrays);
    if (a->json) {
        loam_buf_puts(b, "{\"path\": ");
        loam_json_put_string(b, path, strlen(path));
        loam_buf_printf(b, ", \"kind\": \"%s\", \"bytes\": %llu", kind, (unsigned long long)bytes);
    } else {
        loam_buf_printf(b, "%s: %s file, %zu array%s, ", path, kind, n, n == 1 ? "" : "s");
        info_put_bytes(b, bytes);
        loam_buf_putc(b, '\n');
    }
    put_metadata(b, loam_arrays_metadata(arrays), a->json);
    if (!a->json && loam_arrays_metadata(arrays)) loam_buf_puts(b, "arrays\n");
    info_put_arrays(b, arrays, a);
    if (a->json) loam_buf_puts(b, "}\n");
}

/* An index is an archive with the members of the reference lab's VectorDB.  Two of the three
 * are enough: that the third is missing is for the index reader to say. */
static int is_index(const loam_arrays *arrays) {
    static const char *const MEMBERS[] = {"embeddings", "chunk_data", "chunk_lengths"};
    int n = 0;
    for (size_t i = 0; i < sizeof MEMBERS / sizeof MEMBERS[0]; i++)
        n += loam_arrays_find(arrays, MEMBERS[i]) != NULL;
    return n >= 2;
}

static void print(loam_buf *b) {
    if (b->failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    cli_stdout_text(b->data, b->n);
    loam_buf_deinit(b);
}

int loam_cmd_info(int argc, char **argv) {
    info_arguments a = {0};
    cli_strings rest;
    loam_err err = {0};
    loam_buf b = {0};
    struct stat st;
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    const char *path = rest.items[0];

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        info_model(&b, path, &a);
    } else {
        loam_arrays *arrays;
        if (loam_arrays_open(&arrays, path, &err)) cli_die(&err);
        if (loam_arrays_container(arrays) == LOAM_NPY && loam_ends_with(path, ".npz"))
            cli_fail(CLI_EXIT_INVALID, "%s: damaged: one npy array and no archive", path);
        const int index = is_index(arrays);
        if (!index) describe_file(&b, path, arrays, &a);
        loam_arrays_close(arrays);
        if (index) info_index(&b, path, &a);
    }
    print(&b);
    return CLI_EXIT_OK;
}
