/* loam_convert on small models made here: every GGUF block type, the row order of q and k, tied
 * heads, folders, damage, and that a failure leaves nothing. */
#include "test.h"

#include "../src/io/shards.h"
#include "../src/kernels/quantize.h"

#include <dirent.h>
#include <loam/convert.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[256];

/* ---- a GGUF writer ---- */

enum { G_U32 = 4, G_F32 = 6, G_BOOL = 7, G_STRING = 8, G_ARRAY = 9 };

typedef struct gguf {
    loam_buf kv, infos, data;
    uint32_t n_kv, n_tensors;
} gguf;

static void put_u32(loam_buf *b, uint32_t v) {
    loam_buf_append(b, &v, 4);
}
static void put_u64(loam_buf *b, uint64_t v) {
    loam_buf_append(b, &v, 8);
}
static void put_text(loam_buf *b, const char *s) {
    put_u64(b, strlen(s));
    loam_buf_puts(b, s);
}
static void kv_u32(gguf *g, const char *key, uint32_t v) {
    put_text(&g->kv, key), put_u32(&g->kv, G_U32), put_u32(&g->kv, v);
    g->n_kv++;
}
static void kv_f32(gguf *g, const char *key, float v) {
    put_text(&g->kv, key), put_u32(&g->kv, G_F32), loam_buf_append(&g->kv, &v, 4);
    g->n_kv++;
}
static void kv_text(gguf *g, const char *key, const char *v) {
    put_text(&g->kv, key), put_u32(&g->kv, G_STRING), put_text(&g->kv, v);
    g->n_kv++;
}
static void kv_texts(gguf *g, const char *key, const char *const *v, size_t n) {
    put_text(&g->kv, key), put_u32(&g->kv, G_ARRAY), put_u32(&g->kv, G_STRING), put_u64(&g->kv, n);
    for (size_t i = 0; i < n; i++) put_text(&g->kv, v[i]);
    g->n_kv++;
}
static void kv_ints(gguf *g, const char *key, const uint32_t *v, size_t n) {
    put_text(&g->kv, key), put_u32(&g->kv, G_ARRAY), put_u32(&g->kv, 5), put_u64(&g->kv, n);
    for (size_t i = 0; i < n; i++) put_u32(&g->kv, v[i]);
    g->n_kv++;
}

typedef struct kind {
    const char *name;
    uint32_t type;
    loam_dtype dtype;
    size_t block, bytes; /* values and bytes of a block */
    int n_halves;        /* f16 numbers at these offsets, to be kept sane */
    size_t halves[2];
    int bits; /* of the triple; 0: no triple */
} kind;

static const kind KINDS[] = {
    {"F32", 0, LOAM_F32, 1, 4, 0, {0, 0}, 0},
    {"F16", 1, LOAM_F16, 1, 2, 0, {0, 0}, 0},
    {"BF16", 30, LOAM_BF16, 1, 2, 0, {0, 0}, 0},
    {"Q4_0", 2, LOAM_Q4_0, 32, 18, 1, {0, 0}, 4},
    {"Q4_1", 3, LOAM_Q4_1, 32, 20, 2, {0, 2}, 4},
    {"Q5_0", 6, LOAM_Q5_0, 32, 22, 1, {0, 0}, 5},
    {"Q5_1", 7, LOAM_Q5_1, 32, 24, 2, {0, 2}, 5},
    {"Q8_0", 8, LOAM_Q8_0, 32, 34, 1, {0, 0}, 8},
    {"Q4_K", 12, LOAM_Q4_K, 256, 144, 2, {0, 2}, 4},
    {"Q5_K", 13, LOAM_Q5_K, 256, 176, 2, {0, 2}, 5},
    {"Q6_K", 14, LOAM_Q6_K, 256, 210, 1, {208, 0}, 8},
};
enum { F32 = 0, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, N_KINDS };

static uint64_t rng = 88172645463325252u;
static uint32_t next_random(void) {
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return (uint32_t)(rng >> 16);
}

/* Random blocks of a type, with scales between 2^-8 and 2^-4. */
static void put_blocks(loam_buf *b, const kind *k, size_t n) {
    for (size_t i = 0; i < n / k->block; i++) {
        unsigned char block[256];
        for (size_t j = 0; j < k->bytes; j++) block[j] = (unsigned char)next_random();
        for (int h = 0; h < k->n_halves; h++) {
            const uint16_t d = (uint16_t)((next_random() & 0x83ff) | (7 + next_random() % 4) << 10);
            memcpy(block + k->halves[h], &d, 2);
        }
        if (k->block == 1) {
            float v = ((float)(next_random() & 0xffff) - 32768.0f) / 65536.0f;
            loam_float_store(&v, 1,
                             k->dtype == LOAM_F32   ? LOAM_FLOAT_F32
                             : k->dtype == LOAM_F16 ? LOAM_FLOAT_F16
                                                    : LOAM_FLOAT_BF16,
                             block);
        }
        loam_buf_append(b, block, k->bytes);
    }
}

static void add_tensor(gguf *g, const char *name, int i_kind, uint64_t rows, uint64_t cols) {
    put_text(&g->infos, name);
    put_u32(&g->infos, rows ? 2 : 1);
    put_u64(&g->infos, cols);
    if (rows) put_u64(&g->infos, rows);
    put_u32(&g->infos, KINDS[i_kind].type);
    put_u64(&g->infos, g->data.n);
    put_blocks(&g->data, &KINDS[i_kind], (rows ? rows : 1) * cols);
    while (g->data.n % 32) loam_buf_putc(&g->data, 0);
    g->n_tensors++;
}

static void finish(gguf *g, loam_buf *out) {
    loam_buf_clear(out);
    loam_buf_append(out, "GGUF", 4);
    put_u32(out, 3);
    put_u64(out, g->n_tensors);
    put_u64(out, g->n_kv);
    loam_buf_append(out, g->kv.data, g->kv.n);
    loam_buf_append(out, g->infos.data, g->infos.n);
    while (out->n % 32) loam_buf_putc(out, 0);
    loam_buf_append(out, g->data.data, g->data.n);
    loam_buf_deinit(&g->kv), loam_buf_deinit(&g->infos), loam_buf_deinit(&g->data);
}

enum { HIDDEN = 256, FFN = 512, HEADS = 4, KV_HEADS = 2, VOCAB = 40 };

/* A model of one layer; linears of type `k`, head of type `head` (-1: none). */
static void make_gguf(loam_buf *out, const char *arch, int k, int embed, int head) {
    static const char *const tokens[] = {"<|endoftext|>", "<s>", "a", "b", "ab", "\xc4\xa0"};
    static const char *const merges[] = {"a b"};
    static const uint32_t types[] = {3, 3, 1, 1, 1, 1};
    gguf g = {0};
    char key[80];
    const int phi3 = !strcmp(arch, "phi3"), qwen3 = !strcmp(arch, "qwen3");
    kv_text(&g, "general.architecture", arch);
#define KEY(name) (snprintf(key, sizeof key, "%s." name, arch), key)
    kv_u32(&g, KEY("block_count"), 1);
    kv_u32(&g, KEY("context_length"), 128);
    kv_u32(&g, KEY("embedding_length"), HIDDEN);
    kv_u32(&g, KEY("feed_forward_length"), FFN);
    kv_u32(&g, KEY("attention.head_count"), HEADS);
    kv_u32(&g, KEY("attention.head_count_kv"), KV_HEADS);
    kv_f32(&g, KEY("rope.freq_base"), 10000.0f);
    kv_f32(&g, KEY("attention.layer_norm_rms_epsilon"), 1e-6f);
    kv_text(&g, "tokenizer.ggml.model", "gpt2");
    kv_text(&g, "tokenizer.ggml.pre", "qwen2");
    kv_texts(&g, "tokenizer.ggml.tokens", tokens, 6);
    kv_ints(&g, "tokenizer.ggml.token_type", types, 6);
    kv_texts(&g, "tokenizer.ggml.merges", merges, 1);
    kv_u32(&g, "tokenizer.ggml.bos_token_id", 1);
    kv_u32(&g, "tokenizer.ggml.eos_token_id", 0);
    kv_text(&g, "tokenizer.chat_template", "{{ messages }}");

    const uint64_t kv_rows = HIDDEN / HEADS * KV_HEADS;
    add_tensor(&g, "token_embd.weight", embed, VOCAB, HIDDEN);
    if (head >= 0) add_tensor(&g, "output.weight", head, VOCAB, HIDDEN);
    add_tensor(&g, "output_norm.weight", F32, 0, HIDDEN);
    add_tensor(&g, "blk.0.attn_norm.weight", F32, 0, HIDDEN);
    add_tensor(&g, "blk.0.ffn_norm.weight", F32, 0, HIDDEN);
    add_tensor(&g, "blk.0.attn_output.weight", k, HIDDEN, HIDDEN);
    add_tensor(&g, "blk.0.ffn_down.weight", k, HIDDEN, FFN);
    add_tensor(&g, "blk.0.ffn_up.weight", k, phi3 ? 2 * FFN : FFN, HIDDEN);
    if (phi3) {
        add_tensor(&g, "blk.0.attn_qkv.weight", k, HIDDEN + 2 * kv_rows, HIDDEN);
    } else {
        add_tensor(&g, "blk.0.ffn_gate.weight", k, FFN, HIDDEN);
        add_tensor(&g, "blk.0.attn_q.weight", k, HIDDEN, HIDDEN);
        add_tensor(&g, "blk.0.attn_q.bias", F32, 0, HIDDEN);
        add_tensor(&g, "blk.0.attn_k.weight", k, kv_rows, HIDDEN);
        add_tensor(&g, "blk.0.attn_v.weight", k, kv_rows, HIDDEN);
    }
    if (qwen3) {
        add_tensor(&g, "blk.0.attn_q_norm.weight", F32, 0, HIDDEN / HEADS);
        add_tensor(&g, "blk.0.attn_k_norm.weight", F32, 0, HIDDEN / HEADS);
    }
    finish(&g, out);
}

/* ---- folders ---- */

static const char *path_of(const char *name) {
    static char paths[4][400];
    static int i;
    i = (i + 1) % 4;
    snprintf(paths[i], sizeof paths[i], "%s/%s", top, name);
    return paths[i];
}

static void write_file(const char *name, const void *bytes, size_t n) {
    loam_err err = {0};
    CHECK(loam_file_write(path_of(name), bytes, n, 0666, &err) == LOAM_OK, "%s", err.msg);
}

static void write_text(const char *name, const char *text) {
    write_file(name, text, strlen(text));
}

static void remove_folder(const char *name) {
    char command[500];
    snprintf(command, sizeof command, "rm -rf '%s'", path_of(name));
    CHECK(system(command) == 0, "rm");
}

/* Nothing in the top folder but what is named. */
static int entries(void) {
    int n = 0;
    DIR *d = opendir(top);
    for (const struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static loam_arrays *open_folder(const char *name) {
    loam_arrays *a = NULL;
    loam_err err = {0};
    CHECK(loam_arrays_open_folder(&a, path_of(name), &err) == LOAM_OK, "%s: %s", name, err.msg);
    return a;
}

static loam_json *config_of(const char *name, const char *file) {
    loam_json *doc = NULL;
    loam_err err = {0};
    char path[500];
    snprintf(path, sizeof path, "%s/%s", path_of(name), file);
    CHECK(loam_json_read(&doc, path, 0, 0, &err) == LOAM_OK, "%s", err.msg);
    return doc;
}

static const loam_tensor *find3(const loam_arrays *a, const char *path, const char *part) {
    char name[160];
    snprintf(name, sizeof name, "%s.%s", path, part);
    return loam_arrays_find(a, name);
}

/* scale * q + bias in f32, two roundings: what a block means. */
static void triple_row(const loam_arrays *a, const char *path, int bits, int group, size_t row,
                       size_t cols, float *out) {
    const loam_tensor *w = find3(a, path, "weight"), *s = find3(a, path, "scales"),
                      *b = find3(a, path, "biases");
    const size_t n = cols / (size_t)group;
    float scales[64], biases[64];
    loam_err err;
    if (!w || !s || !b) {
        CHECK(0, "%s: no triple", path);
        return;
    }
    CHECK(!loam_tensor_to_f32(s, row * n, n, scales, &err) &&
              !loam_tensor_to_f32(b, row * n, n, biases, &err),
          "%s", path);
    loam_dequantize_affine_row((const char *)w->data + row * loam_quant_row_bytes(cols, bits),
                               scales, biases, cols, bits, group, LOAM_FLOAT_F32, out);
}

static loam_status convert(const char *from, const char *to, const loam_convert_options *o,
                           loam_err *err) {
    memset(err, 0, sizeof *err);
    char src[400];
    snprintf(src, sizeof src, "%s", path_of(from));
    return loam_convert(src, path_of(to), o, NULL, NULL, err);
}

/* ---- GGUF ---- */

/* llama's q: output row (h, half, i) is source row (h, i, half). */
static size_t source_row(size_t row, size_t rows, size_t heads) {
    const size_t dim = rows / heads, r = row % dim;
    return row / dim * dim + r % (dim / 2) * 2 + r / (dim / 2);
}

static void check_linear(const loam_arrays *src, const loam_arrays *dst, const kind *k,
                         const char *from, const char *to, size_t heads) {
    char name[80];
    snprintf(name, sizeof name, "%s.weight", from);
    const loam_tensor *t = loam_arrays_find(src, name), *w = find3(dst, to, "weight");
    CHECK(t && w, "%s %s: missing", k->name, to);
    if (!t || !w) return;
    const size_t rows = (size_t)t->shape[0], cols = (size_t)t->shape[1];
    float want[FFN], got[FFN];
    loam_err err;
    size_t wrong = 0;
    for (size_t r = 0; r < rows; r++) {
        const size_t from_row = heads ? source_row(r, rows, heads) : r;
        CHECK(!loam_tensor_to_f32(t, from_row * cols, cols, want, &err), "row");
        if (k->bits)
            triple_row(dst, to, k->bits, 32, r, cols, got);
        else
            CHECK(w->dtype == t->dtype && !loam_tensor_to_f32(w, r * cols, cols, got, &err), "row");
        for (size_t g = 0; g < cols; g += 32) {
            float mn = 0, mx = 0;
            for (size_t j = g; j < g + 32; j++) {
                mn = want[j] < mn ? want[j] : mn;
                mx = want[j] > mx ? want[j] : mx;
            }
            /* Q6_K: half a step of 8 bits; where snapping the edge to a whole q narrows the
             * scale, the far end is clamped by up to one */
            const float bound = k->dtype == LOAM_Q6_K ? (mx - mn) / 255.0f * 1.01f : 0.0f;
            for (size_t j = g; j < g + 32; j++) wrong += !(fabsf(got[j] - want[j]) <= bound);
        }
    }
    CHECK(wrong == 0, "%s %s: %zu values differ", k->name, to, wrong);
}

static void test_blocks(const char *arch, int i_kind) {
    const kind *k = &KINDS[i_kind];
    const int llama = !strcmp(arch, "llama"), phi3 = !strcmp(arch, "phi3");
    loam_buf file = {0};
    loam_err err;
    loam_arrays *src = NULL;
    make_gguf(&file, arch, i_kind, i_kind, F16);
    write_file("m.gguf", file.data, file.n);
    const loam_convert_options exact = {.exact_scales = 1};
    CHECK(convert("m.gguf", "out", &exact, &err) == LOAM_OK, "%s %s: %s", arch, k->name, err.msg);
    CHECK(!loam_arrays_open(&src, path_of("m.gguf"), &err), "%s", err.msg);
    loam_arrays *dst = open_folder("out");
    if (src && dst) {
#define L "model.layers.0."
        check_linear(src, dst, k, "token_embd", "model.embed_tokens", 0);
        check_linear(src, dst, k, "blk.0.attn_output", L "self_attn.o_proj", 0);
        check_linear(src, dst, k, "blk.0.ffn_down", L "mlp.down_proj", 0);
        check_linear(src, dst, &KINDS[F16], "output", "lm_head", 0);
        if (phi3) {
            check_linear(src, dst, k, "blk.0.attn_qkv", L "self_attn.qkv_proj", 0);
            check_linear(src, dst, k, "blk.0.ffn_up", L "mlp.gate_up_proj", 0);
        } else {
            check_linear(src, dst, k, "blk.0.attn_q", L "self_attn.q_proj", llama ? HEADS : 0);
            check_linear(src, dst, k, "blk.0.attn_k", L "self_attn.k_proj", llama ? KV_HEADS : 0);
            check_linear(src, dst, k, "blk.0.attn_v", L "self_attn.v_proj", 0);
            check_linear(src, dst, k, "blk.0.ffn_up", L "mlp.up_proj", 0);
            const loam_tensor *a = loam_arrays_find(src, "blk.0.attn_q.bias"),
                              *b = loam_arrays_find(dst, L "self_attn.q_proj.bias");
            size_t wrong = 0;
            for (size_t r = 0; a && b && r < HIDDEN; r++)
                wrong +=
                    memcmp((const char *)b->data + 4 * r,
                           (const char *)a->data + 4 * (llama ? source_row(r, HIDDEN, HEADS) : r),
                           4) != 0;
            CHECK(a && b && wrong == 0, "%s: q bias, %zu rows", arch, wrong);
        }
        CHECK(loam_arrays_find(dst, L "input_layernorm.weight") &&
                  loam_arrays_find(dst, "model.norm.weight"),
              "norms");
    }
    loam_arrays_close(src);
    loam_arrays_close(dst);
    remove_folder("out");
    unlink(path_of("m.gguf"));
    loam_buf_deinit(&file);
}

static void test_scales_and_config(void) {
    loam_buf file = {0};
    loam_err err;
    make_gguf(&file, "qwen2", Q4_K, Q6_K, -1);
    write_file("m.gguf", file.data, file.n);
    const loam_convert_options none = {0};
    CHECK(convert("m.gguf", "out", &none, &err) == LOAM_OK, "%s", err.msg);
    loam_arrays *a = open_folder("out");
    const loam_tensor *s = loam_arrays_find(a, "model.layers.0.mlp.up_proj.scales");
    CHECK(s && s->dtype == LOAM_F16, "f16 scales");
    loam_json *doc = config_of("out", "config.json");
    const loam_json_value *root = loam_json_root(doc), *q = loam_json_get(root, "quantization");
    int64_t bits = 0, own = 0, context = 0;
    int tied = 0;
    loam_json_int(loam_json_get(q, "bits"), &bits);
    loam_json_int(loam_json_get(loam_json_get(q, "model.embed_tokens"), "bits"), &own);
    loam_json_int(loam_json_get(root, "max_position_embeddings"), &context);
    loam_json_bool(loam_json_get(root, "tie_word_embeddings"), &tied);
    CHECK(bits == 4 && own == 8 && context == 128 && tied == 1, "%d %d %d %d", (int)bits, (int)own,
          (int)context, tied);
    CHECK(!strcmp(loam_json_string(loam_json_get(root, "model_type"), NULL), "qwen2"), "type");
    loam_json_free(doc);
    doc = config_of("out", "tokenizer.json");
    root = loam_json_get(loam_json_root(doc), "model");
    CHECK(loam_json_count(loam_json_get(root, "vocab")) == 6 &&
              loam_json_count(loam_json_get(root, "merges")) == 1 &&
              loam_json_count(loam_json_get(loam_json_root(doc), "added_tokens")) == 2,
          "tokenizer.json");
    loam_json_free(doc);
    loam_json_free(config_of("out", "tokenizer_config.json"));
    loam_json_free(config_of("out", "generation_config.json"));
    loam_arrays_close(a);

    CHECK(convert("m.gguf", "out", &none, &err) == LOAM_ERR_ARGUMENT, "exists: %s", err.msg);
    CHECK(convert("m.gguf", "out", &(loam_convert_options){.force = 1}, &err) == LOAM_OK, "%s",
          err.msg);
    remove_folder("out");
    mkdir(path_of("out"), 0777);
    write_file("out/precious", "x", 1);
    CHECK(convert("m.gguf", "out", &(loam_convert_options){.force = 1}, &err) == LOAM_ERR_ARGUMENT,
          "not a model: %s", err.msg);
    CHECK(access(path_of("out/precious"), F_OK) == 0, "kept");
    remove_folder("out");
    CHECK(entries() == 1, "%d entries", entries());
    unlink(path_of("m.gguf"));
    loam_buf_deinit(&file);
}

/* The same matrix as embedding and head: the finer copy serves, no head is written. */
static void test_tied(void) {
    gguf g = {0};
    loam_buf file = {0};
    loam_err err;
    make_gguf(&file, "llama", F32, F32, -1);
    write_file("m.gguf", file.data, file.n);
    loam_arrays *a = NULL;
    CHECK(!loam_arrays_open(&a, path_of("m.gguf"), &err), "%s", err.msg);
    const loam_tensor *e = loam_arrays_find(a, "token_embd.weight");
    unsigned char *f16 = malloc(VOCAB * HIDDEN * 2);
    loam_float_store(e->data, VOCAB * HIDDEN, LOAM_FLOAT_F16, f16);
    /* token_embd becomes the F16 copy, output the F32 original */
    rng = 88172645463325252u;
    loam_arrays_close(a);
    loam_buf_deinit(&file);
    make_gguf(&file, "llama", F32, F16, F32);
    write_file("m.gguf", file.data, file.n);
    CHECK(!loam_arrays_open(&a, path_of("m.gguf"), &err), "%s", err.msg);
    const loam_tensor *embed = loam_arrays_find(a, "token_embd.weight"),
                      *head = loam_arrays_find(a, "output.weight");
    FILE *f = fopen(path_of("m.gguf"), "r+b");
    float *w = malloc(VOCAB * HIDDEN * 4);
    loam_float_load(f16, VOCAB * HIDDEN, LOAM_FLOAT_F16, w);
    w[5] += 1e-5f;           /* so that it is seen which copy was taken */
    char *start = file.data; /* the mapped file has the same bytes in the same places */
    const size_t at_embed = (size_t)((const char *)memmem(start, file.n, embed->data, 64) - start);
    const size_t at_head = (size_t)((const char *)memmem(start, file.n, head->data, 64) - start);
    fseek(f, (long)at_embed, SEEK_SET);
    CHECK(fwrite(f16, 2, VOCAB * HIDDEN, f) == VOCAB * HIDDEN, "write");
    fseek(f, (long)at_head, SEEK_SET);
    CHECK(fwrite(w, 4, VOCAB * HIDDEN, f) == VOCAB * HIDDEN, "write");
    fclose(f);
    loam_arrays_close(a);
    CHECK(convert("m.gguf", "out", NULL, &err) == LOAM_OK, "%s", err.msg);
    a = open_folder("out");
    const loam_tensor *t = a ? loam_arrays_find(a, "model.embed_tokens.weight") : NULL;
    CHECK(t && t->dtype == LOAM_F32 && !memcmp(t->data, w, VOCAB * HIDDEN * 4), "finer copy");
    CHECK(a && !loam_arrays_find(a, "lm_head.weight"), "no head");
    loam_arrays_close(a);
    free(f16), free(w);
    remove_folder("out");
    unlink(path_of("m.gguf"));
    loam_buf_deinit(&file);
    (void)g;
}

/* Cut anywhere or with any bytes changed: a clean answer, and no folder unless it is OK. */
static void test_damage(void) {
    loam_buf file = {0};
    loam_err err;
    make_gguf(&file, "qwen3", Q4_K, Q8_0, -1);
    const size_t head = file.n < 4000 ? file.n : 4000;
    size_t accepted = 0, n = 0;
    for (size_t cut = 0; cut < file.n; cut += cut < head ? 29 : 9973, n++) {
        write_file("m.gguf", file.data, cut);
        const loam_status st = convert("m.gguf", "out", NULL, &err);
        CHECK(st != LOAM_OK && err.msg[0], "cut at %zu: accepted", cut);
        CHECK(access(path_of("out"), F_OK) != 0, "cut at %zu: a folder", cut);
    }
    for (int i = 0; i < 400; i++, n++) {
        char kept[3];
        size_t at[3];
        for (int k = 0; k < 3; k++) {
            at[k] = next_random() % head;
            kept[k] = file.data[at[k]];
            file.data[at[k]] = (char)next_random();
        }
        write_file("m.gguf", file.data, file.n);
        const loam_status st = convert("m.gguf", "out", NULL, &err);
        const int there = access(path_of("out"), F_OK) == 0;
        CHECK((st == LOAM_OK) == there, "change %d: status %d, folder %d", i, (int)st, there);
        CHECK(st == LOAM_OK || err.msg[0], "change %d: no message", i);
        accepted += st == LOAM_OK;
        if (there) remove_folder("out");
        for (int k = 2; k >= 0; k--) file.data[at[k]] = kept[k];
    }
    CHECK(entries() == 1, "%d entries left", entries());
    printf("damage: %zu files, %zu accepted\n", n, accepted);
    unlink(path_of("m.gguf"));
    loam_buf_deinit(&file);
}

static void test_refusals(void) {
    loam_buf file = {0};
    loam_err err;
    make_gguf(&file, "mamba", F16, F16, -1);
    write_file("m.gguf", file.data, file.n);
    CHECK(convert("m.gguf", "out", NULL, &err) == LOAM_ERR_UNSUPPORTED &&
              strstr(err.msg, "architecture mamba"),
          "%s", err.msg);
    make_gguf(&file, "qwen3", F16, F16, -1);
    char *pre = memmem(file.data, file.n, "qwen2", 5);
    memcpy(pre, "nosuc", 5);
    write_file("m.gguf", file.data, file.n);
    CHECK(convert("m.gguf", "out", NULL, &err) == LOAM_ERR_UNSUPPORTED &&
              strstr(err.msg, "pre-tokeniser"),
          "%s", err.msg);
    memcpy(pre, "qwen2", 5);
    char *name = memmem(file.data, file.n, "attn_k_norm", 11);
    memcpy(name, "attn_x_norm", 11);
    write_file("m.gguf", file.data, file.n);
    CHECK(convert("m.gguf", "out", NULL, &err) == LOAM_ERR_FORMAT && strstr(err.msg, "missing"),
          "%s", err.msg);
    memcpy(name, "attn_k_norm", 11);
    write_file("m.gguf", file.data, file.n);
    const loam_convert_options wrong[] = {{.bits = 7},
                                          {.bits = 4, .group_size = 48},
                                          {.bits = 4, .dequantize = 1},
                                          {.mode = "nf4"},
                                          {.mode = "mxfp4", .bits = 8},
                                          {.recipe = "mixed_9_9"},
                                          {.dtype = LOAM_I32 + 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(convert("m.gguf", "out", &wrong[i], &err) == LOAM_ERR_ARGUMENT, "%zu: %s", i,
              err.msg);
    CHECK(convert("none", "out", NULL, &err) == LOAM_ERR_NOT_FOUND, "%s", err.msg);
    CHECK(convert("m.gguf", "no/such/out", NULL, &err) == LOAM_ERR_NOT_FOUND, "%s", err.msg);
    loam_cancel stop = {1};
    CHECK(convert("m.gguf", "out", &(loam_convert_options){.cancel = &stop}, &err) ==
              LOAM_ERR_CANCELLED,
          "%s", err.msg);
    CHECK(entries() == 1, "%d entries left", entries());
    unlink(path_of("m.gguf"));
    loam_buf_deinit(&file);
}

/* ---- folders ---- */

static void test_folder(void) {
    static const char config[] = "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, "
                                 "\"torch_dtype\": \"bfloat16\", \"tie_word_embeddings\": true, "
                                 "\"_name_or_path\": \"x\", \"a\": [1, 2.5]}";
    enum { ROWS = 6, COLS = 128 };
    float w[ROWS * COLS], row[COLS];
    loam_err err = {0};
    for (size_t i = 0; i < ROWS * COLS; i++)
        w[i] = ((float)(next_random() & 0xffff) - 32768.0f) / 65536.0f;
    const loam_tensor tensors[] = {
        {"lm_head.weight", LOAM_F32, 2, {ROWS, COLS}, w, sizeof w},
        {"model.embed_tokens.weight", LOAM_F32, 2, {ROWS, COLS}, w, sizeof w},
        {"model.layers.0.odd.weight", LOAM_F32, 2, {COLS, ROWS}, w, sizeof w},
        {"model.norm.weight", LOAM_F32, 1, {COLS}, w, COLS * 4},
        {"rotary_emb.inv_freq", LOAM_F32, 1, {COLS}, w, COLS * 4}};
    mkdir(path_of("hf"), 0777);
    write_file("hf/config.json", config, sizeof config - 1);
    write_file("hf/tokenizer.json", "{}", 2);
    write_file("hf/weights.bin", "x", 1);
    CHECK(!loam_safetensors_write(path_of("hf/model.safetensors"), tensors, 5, NULL, &err), "%s",
          err.msg);
    CHECK(convert("hf", "q", &(loam_convert_options){.bits = 5, .group_size = 32}, &err) == LOAM_OK,
          "%s", err.msg);
    loam_arrays *a = open_folder("q");
    CHECK(a && loam_arrays_count(a) == 5, "%zu tensors", a ? loam_arrays_count(a) : 0);
    const loam_tensor *s = a ? loam_arrays_find(a, "model.embed_tokens.scales") : NULL;
    CHECK(s && s->dtype == LOAM_BF16 && s->shape[1] == 4, "scales");
    const loam_tensor *odd = a ? loam_arrays_find(a, "model.layers.0.odd.weight") : NULL;
    CHECK(odd && odd->dtype == LOAM_BF16, "columns that no group divides stay plain");
    uint16_t narrow[COLS], scales[4], biases[4];
    unsigned char packed[COLS];
    loam_float_store(w, COLS, LOAM_FLOAT_BF16, narrow);
    loam_float_load(narrow, COLS, LOAM_FLOAT_BF16, row);
    loam_quantize_affine_row(row, COLS, 5, 32, LOAM_FLOAT_BF16, packed, scales, biases);
    const loam_tensor *q = a ? loam_arrays_find(a, "model.embed_tokens.weight") : NULL;
    CHECK(q && !memcmp(q->data, packed, COLS * 5 / 8) && s && !memcmp(s->data, scales, 8), "row 0");
    loam_json *doc = config_of("q", "config.json");
    CHECK(loam_json_get(loam_json_root(doc), "quantization_config") &&
              !loam_json_get(loam_json_root(doc), "_name_or_path"),
          "config");
    loam_json_free(doc);
    CHECK(access(path_of("q/tokenizer.json"), F_OK) == 0 && access(path_of("q/weights.bin"), F_OK),
          "small files travel, others do not");

    CHECK(convert("q", "same", NULL, &err) == LOAM_OK, "%s", err.msg);
    loam_arrays *b = open_folder("same");
    for (size_t i = 0; a && b && i < loam_arrays_count(a); i++) {
        const loam_tensor *x = loam_arrays_at(a, i), *y = loam_arrays_find(b, x->name);
        CHECK(y && x->dtype == y->dtype && x->bytes == y->bytes &&
                  !memcmp(x->data, y->data, x->bytes),
              "%s: passes through", x->name);
    }
    loam_arrays_close(b);
    const loam_convert_options plain = {.dequantize = 1, .dtype = LOAM_F32 + 1};
    CHECK(convert("q", "plain", &plain, &err) == LOAM_OK, "%s", err.msg);
    b = open_folder("plain");
    const loam_tensor *d = b ? loam_arrays_find(b, "model.embed_tokens.weight") : NULL;
    if (a && d && d->dtype == LOAM_F32) {
        triple_row(a, "model.embed_tokens", 5, 32, 0, COLS, row);
        CHECK(!memcmp(d->data, row, sizeof row), "dequantised row");
    } else {
        CHECK(0, "no dequantised tensor");
    }
    doc = config_of("plain", "config.json");
    CHECK(!loam_json_get(loam_json_root(doc), "quantization"), "config without quantization");
    loam_json_free(doc);
    loam_arrays_close(a);
    loam_arrays_close(b);
    remove_folder("same"), remove_folder("plain");

    write_text("q/config.json", "{\"quantization\": {\"bits\": 4, \"group_size\": 32}}");
    CHECK(convert("q", "bad", &plain, &err) == LOAM_ERR_FORMAT, "wrong bits: %s", err.msg);
    write_text("hf/config.json", "{\"quantization_config\": {\"quant_method\": \"gptq\"}}");
    CHECK(convert("hf", "bad", NULL, &err) == LOAM_ERR_UNSUPPORTED, "%s", err.msg);
    write_file("hf/config.json", "[]", 2);
    CHECK(convert("hf", "bad", NULL, &err) == LOAM_ERR_FORMAT, "%s", err.msg);
    unlink(path_of("hf/config.json"));
    CHECK(convert("hf", "bad", NULL, &err) == LOAM_ERR_NOT_FOUND, "%s", err.msg);
    CHECK(access(path_of("bad"), F_OK) != 0, "nothing left");
    remove_folder("hf"), remove_folder("q");
}

static void test_shards(void) {
    loam_shards *s = NULL;
    loam_err err = {0};
    const uint64_t shape[] = {4, 5};
    float x[20];
    mkdir(path_of("sh"), 0777);
    for (int i = 0; i < 20; i++) x[i] = (float)i;
    CHECK(!loam_shards_new(&s, path_of("sh"), &err), "%s", err.msg);
    static const char *const names[] = {"b", "a", "c", "large"};
    for (int i = 0; i < 4; i++)
        CHECK(!loam_shards_add(s, names[i], LOAM_F32, 2, shape, &err), "%s", err.msg);
    CHECK(!loam_shards_begin(s, 170, "{\"format\":\"mlx\"}", &err), "%s", err.msg);
    for (size_t i = 0; i < 4; i++) {
        CHECK(!loam_shards_write(s, i, 40, x + 10, 40, &err), "%s", err.msg);
        CHECK(!loam_shards_write(s, i, 0, x, 40, &err), "%s", err.msg);
    }
    CHECK(!loam_shards_finish(s, 80, &err), "%s", err.msg);
    loam_shards_free(s);
    CHECK(access(path_of("sh/model-00001-of-00002.safetensors"), F_OK) == 0 &&
              access(path_of("sh/model-00002-of-00002.safetensors"), F_OK) == 0,
          "two files");
    loam_arrays *a = open_folder("sh");
    for (int i = 0; a && i < 4; i++) {
        const loam_tensor *t = loam_arrays_find(a, names[i]);
        CHECK(t && t->bytes == 80 && !memcmp(t->data, x, 80), "%s", names[i]);
    }
    loam_arrays_close(a);
    loam_json *doc = config_of("sh", "model.safetensors.index.json");
    int64_t total = 0;
    loam_json_int(loam_json_get(loam_json_get(loam_json_root(doc), "metadata"), "total_size"),
                  &total);
    CHECK(total == 320, "total %d", (int)total);
    loam_json_free(doc);
    remove_folder("sh");
}

int main(void) {
    const char *base = getenv("TMPDIR");
    snprintf(top, sizeof top, "%s/loam-convert-XXXXXX",
             base && *base                   ? base
             : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                             : "/tmp");
    if (!mkdtemp(top)) return perror(top), 1;
    for (int k = 0; k < N_KINDS; k++) test_blocks("llama", k);
    test_blocks("qwen2", Q4_K);
    test_blocks("qwen3", Q5_K);
    test_blocks("phi3", Q4_0);
    test_scales_and_config();
    test_tied();
    test_damage();
    test_refusals();
    test_folder();
    test_shards();
    rmdir(top);
    return TEST_END("test_convert");
}
