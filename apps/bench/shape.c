/* shape.c - model folders with random weights of true shapes, for machines without the models.
 *
 * Speed depends on shapes and formats, not on values: every tensor of the file is written
 * from one random block, with scales that keep the activations in range. */
#include "bench/bench.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <loam/tensor.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct shape {
    const char *name, *type;
    size_t layers, dim, hidden, heads, kv_heads, head_dim, vocab;
    int tied, fused, qkv_bias;
    int bits, group;
} shape;

static const shape SHAPES[] = {
    {"phi3-mini-4bit", "phi3", 32, 3072, 8192, 32, 32, 96, 32064, 0, 1, 0, 4, 64},
    {"llama3-8b-4bit", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 0, 0, 0, 4, 64},
    {"llama3.2-1b-4bit", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 1, 0, 0, 4, 64},
    {"qwen2.5-1.5b-4bit", "qwen2", 28, 1536, 8960, 12, 2, 128, 151936, 1, 0, 1, 4, 64},
    {"qwen2.5-0.5b-4bit", "qwen2", 24, 896, 4864, 14, 2, 64, 151936, 1, 0, 1, 4, 64},
    {"smollm2-135m-4bit", "llama", 30, 576, 1536, 9, 3, 64, 49152, 1, 0, 0, 4, 32},
};

enum { MAX_TENSORS = 1024, NAME_BYTES = 96 };

typedef struct builder {
    const shape *s;
    loam_tensor *tensors;
    char (*names)[NAME_BYTES];
    size_t n;
    unsigned char *random;
    uint16_t *scales, *biases, *ones;
} builder;

static void add(builder *b, loam_dtype dtype, size_t rows, size_t cols, const void *data,
                const char *layer, const char *part) {
    if (b->n == MAX_TENSORS)
        cli_fail(CLI_EXIT_RUNTIME, "%s: more than %d tensors", b->s->name, MAX_TENSORS);
    char *name = b->names[b->n];
    snprintf(name, NAME_BYTES, "%s%s", layer, part);
    loam_tensor *t = &b->tensors[b->n++];
    *t = (loam_tensor){.name = name, .dtype = dtype, .rank = rows ? 2 : 1, .data = data};
    t->shape[0] = rows ? rows : cols;
    t->shape[1] = rows ? cols : 0;
    t->bytes = (rows ? rows : 1) * cols * loam_dtype_bytes(dtype);
}

static void add_linear(builder *b, size_t rows, size_t cols, const char *layer, const char *part) {
    char path[NAME_BYTES];
    snprintf(path, sizeof path, "%s%s", layer, part);
    add(b, LOAM_U32, rows, cols * (size_t)b->s->bits / 32, b->random, path, ".weight");
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): write_model frees them */
    add(b, LOAM_F16, rows, cols / (size_t)b->s->group, b->scales, path, ".scales");
    add(b, LOAM_F16, rows, cols / (size_t)b->s->group, b->biases, path, ".biases");
}

static void add_layer(builder *b, size_t i) {
    const shape *s = b->s;
    char layer[48];
    const size_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    snprintf(layer, sizeof layer, "model.layers.%zu.", i);
    add(b, LOAM_F16, 0, s->dim, b->ones, layer, "input_layernorm.weight");
    add(b, LOAM_F16, 0, s->dim, b->ones, layer, "post_attention_layernorm.weight");
    if (s->fused) {
        add_linear(b, q + 2 * kv, s->dim, layer, "self_attn.qkv_proj");
        add_linear(b, 2 * s->hidden, s->dim, layer, "mlp.gate_up_proj");
    } else {
        add_linear(b, q, s->dim, layer, "self_attn.q_proj");
        add_linear(b, kv, s->dim, layer, "self_attn.k_proj");
        add_linear(b, kv, s->dim, layer, "self_attn.v_proj");
        add_linear(b, s->hidden, s->dim, layer, "mlp.gate_proj");
        add_linear(b, s->hidden, s->dim, layer, "mlp.up_proj");
    }
    if (s->qkv_bias) {
        add(b, LOAM_F16, 0, q, b->scales, layer, "self_attn.q_proj.bias");
        add(b, LOAM_F16, 0, kv, b->scales, layer, "self_attn.k_proj.bias");
        add(b, LOAM_F16, 0, kv, b->scales, layer, "self_attn.v_proj.bias");
    }
    add_linear(b, s->dim, q, layer, "self_attn.o_proj");
    add_linear(b, s->dim, s->hidden, layer, "mlp.down_proj");
}

static void *block(size_t bytes) {
    void *p = malloc(bytes);
    if (!p) cli_fail(CLI_EXIT_RESOURCES, "out of memory for a random model");
    return p;
}

/* q is uniform in 0 .. 15: scale 2^-8 and bias -8 * scale give weights of deviation 0.018. */
static void fill_blocks(builder *b) {
    const shape *s = b->s;
    const size_t widest = s->vocab * s->dim, inner = 2 * s->hidden * s->dim;
    const size_t most = widest > inner ? widest : inner, groups = most / (size_t)s->group;
    uint64_t x = 88172645463325252u;
    b->random = block(most * (size_t)s->bits / 8);
    b->scales = block(groups * 2);
    b->biases = block(groups * 2);
    b->ones = block(s->dim * 2);
    for (size_t i = 0; i + 8 <= most * (size_t)s->bits / 8; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(b->random + i, &x, 8);
    }
    for (size_t i = 0; i < groups; i++) {
        b->scales[i] = 0x1C00; /* 2^-8 */
        b->biases[i] = 0xA800; /* -2^-5 */
    }
    for (size_t i = 0; i < s->dim; i++) b->ones[i] = 0x3C00;
}

static void write_config(const shape *s, const char *folder) {
    char path[512];
    loam_buf c = {0};
    loam_err err = {0};
    loam_buf_printf(&c,
                    "{\"model_type\":\"%s\",\"hidden_size\":%zu,\"num_hidden_layers\":%zu,"
                    "\"intermediate_size\":%zu,"
                    "\"num_attention_heads\":%zu,\"num_key_value_heads\":%zu,\"head_dim\":%zu,"
                    "\"vocab_size\":%zu,"
                    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"max_position_embeddings\":8192,"
                    "\"original_max_position_embeddings\":8192,\"tie_word_embeddings\":%s,"
                    "\"quantization\":{\"group_size\":%d,\"bits\":%d}}\n",
                    s->type, s->dim, s->layers, s->hidden, s->heads, s->kv_heads, s->head_dim,
                    s->vocab, s->tied ? "true" : "false", s->group, s->bits);
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (loam_file_write(path, c.data, c.n, 0644, &err)) cli_die(&err);
    loam_buf_deinit(&c);
}

static void write_model(const shape *s, const char *folder) {
    builder b = {.s = s};
    char path[512];
    loam_err err = {0};
    b.tensors = block(MAX_TENSORS * sizeof *b.tensors);
    b.names = block(MAX_TENSORS * sizeof *b.names);
    fill_blocks(&b);
    add_linear(&b, s->vocab, s->dim, "model.", "embed_tokens");
    for (size_t i = 0; i < s->layers; i++) add_layer(&b, i);
    add(&b, LOAM_F16, 0, s->dim, b.ones, "model.", "norm.weight");
    if (!s->tied) add_linear(&b, s->vocab, s->dim, "", "lm_head");
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (loam_safetensors_write(path, b.tensors, b.n, "{\"format\":\"mlx\"}", &err)) cli_die(&err);
    write_config(s, folder); /* last: its presence says that the folder is whole */
    free(b.random);
    free(b.scales);
    free(b.biases);
    free(b.ones);
    free(b.tensors);
    free(b.names);
}

static char temp_folder[400]; /* to be removed; "" when there is none */

void bench_shape_done(void) {
    char path[PATH_MAX];
    if (!temp_folder[0]) return;
    DIR *d = opendir(temp_folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) { /* half a file has another name */
        snprintf(path, sizeof path, "%s/%s", temp_folder, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) unlink(path);
    }
    if (d) closedir(d);
    rmdir(temp_folder);
    temp_folder[0] = 0;
}

/* A child writes, so that Ctrl-C is heeded at once and leaves nothing. */
static void write_in_child(const shape *s, const char *folder) {
    int status = 0;
    fprintf(stderr, "bench-cli: writing random weights of %s to %s\n", s->name, folder);
    fflush(NULL);
    const pid_t child = fork();
    if (child < 0) cli_fail(CLI_EXIT_RESOURCES, "cannot start a process");
    if (child == 0) {
        temp_folder[0] = 0; /* the parent's to remove */
        write_model(s, folder);
        _exit(CLI_EXIT_OK);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        if (cli_cancel.requested) kill(child, SIGKILL);
    if (cli_cancel.requested) cli_die(&(loam_err){.status = LOAM_ERR_CANCELLED});
    if (status) exit(WIFEXITED(status) ? WEXITSTATUS(status) : CLI_EXIT_RUNTIME);
}

static void make_temp_folder(char *folder, size_t size) {
    const char *temp = getenv("TMPDIR");
    snprintf(folder, size, "%.300s/loam-shape-XXXXXX", temp && *temp ? temp : "/tmp");
    if (atexit(bench_shape_done)) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    if (!mkdtemp(folder))
        cli_fail(CLI_EXIT_RUNTIME, "%s: cannot be made: %s", folder, strerror(errno));
    snprintf(temp_folder, sizeof temp_folder, "%s", folder);
}

/* $XDG_CACHE_HOME/loam/shapes/NAME; nobody else may write to it. */
static void make_kept_folder(char *folder, size_t size, const char *name) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct stat st;
    if (cache && cache[0] == '/')
        snprintf(folder, size, "%.300s/loam/shapes/%s", cache, name);
    else if (home && home[0] == '/')
        snprintf(folder, size, "%.300s/.cache/loam/shapes/%s", home, name);
    else
        cli_fail(CLI_EXIT_RUNTIME, "--keep: neither XDG_CACHE_HOME nor HOME names a folder");
    for (char *p = folder + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        mkdir(folder, 0700);
        *p = '/';
    }
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        cli_fail(CLI_EXIT_RUNTIME, "%s: cannot be made: %s", folder, strerror(errno));
    if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        cli_fail(CLI_EXIT_RUNTIME, "%s: not a folder that only its owner may write to", folder);
}

static const shape *find_shape(const char *name) {
    const size_t n = sizeof SHAPES / sizeof *SHAPES;
    loam_buf list = {0};
    for (size_t i = 0; i < n; i++)
        if (!strcmp(SHAPES[i].name, name)) return &SHAPES[i];
    for (size_t i = 0; i < n; i++) loam_buf_printf(&list, "%s%s", i ? ", " : "", SHAPES[i].name);
    cli_fail(CLI_EXIT_USAGE, "unknown shape '%s': %s", name, list.data ? list.data : "");
}

char *bench_shape_folder(const char *name, int keep) {
    char folder[400], config[512];
    struct stat st;
    const shape *s = find_shape(name);
    if (keep)
        make_kept_folder(folder, sizeof folder, name);
    else
        make_temp_folder(folder, sizeof folder);
    snprintf(config, sizeof config, "%s/config.json", folder);
    if (stat(config, &st) != 0) write_in_child(s, folder);
    char *out = strdup(folder);
    if (!out) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    return out;
}
