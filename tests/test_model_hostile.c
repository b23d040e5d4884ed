/* test_model_hostile.c - damaged and hostile model folders: each gives an error that names
 * the file or tensor, never a crash, and a sound neighbour still opens.
 *
 * A folder is made of a good tiny model with one edit: a key of config.json replaced, a
 * tensor left out, reshaped or retyped. */
#include "model/config.h"
#include "test.h"
#include <fcntl.h>
#include <loam/engine.h>
#include <loam/tensor.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOOD  "tests/golden/llm/families/llama/q4g64"
#define PLAIN "tests/golden/llm/families/phi3_longrope/f32"

static loam_pool *pool;
static char folder[] = "/tmp/loam-hostile-XXXXXX";

static void write_file(const char *name, const void *bytes, size_t n) {
    char *path = loam_path_join(folder, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n, "%s", path);
    if (f) fclose(f);
    free(path);
}

static void copy_file(const char *from, const char *name) {
    loam_buf b = {0};
    loam_err err = {0};
    char *path = loam_path_join(from, name);
    CHECK(!loam_file_read(&b, path, 64 << 20, &err), "%s", err.msg);
    write_file(name, b.data, b.n);
    loam_buf_deinit(&b);
    free(path);
}

/* Opening and, when that works, one token: the status of whichever failed first. */
static loam_status try_model(loam_err *err) {
    loam_model *m = NULL;
    loam_session *s = NULL;
    *err = (loam_err){0};
    loam_status st = loam_model_open(
        &m, folder, &(loam_model_options){.pool = pool, .precision = LOAM_EXACT}, err);
    if (!st) st = loam_session_new(&s, m, 32, err);
    if (!st) st = loam_session_feed(s, (const int32_t[]){1, 2, 3}, 3, NULL, err);
    CHECK(st == LOAM_OK || m == NULL || s != NULL || err->msg[0], "no message");
    loam_session_free(s);
    loam_model_close(m);
    return st;
}

/* config.json of `base` with `key` set to the JSON text `value` (NULL: the key removed). */
static void write_config(const char *base, const char *key, const char *value) {
    loam_json *doc;
    loam_err err = {0};
    loam_buf b = {0};
    char *path = loam_path_join(base, "config.json");
    CHECK(!loam_json_read(&doc, path, 0, 0, &err), "%s", err.msg);
    int found = 0;
    loam_buf_putc(&b, '{');
    for (const loam_json_value *v = loam_json_first(loam_json_root(doc)); v;
         v = loam_json_next(v)) {
        size_t n;
        const char *k = loam_json_own_key(v, &n);
        const int same = strlen(key) == n && memcmp(k, key, n) == 0;
        found |= same;
        if (same && !value) continue;
        if (b.n > 1) loam_buf_puts(&b, ", ");
        loam_json_put_string(&b, k, n);
        loam_buf_puts(&b, ": ");
        if (same)
            loam_buf_puts(&b, value);
        else
            loam_json_put_value(&b, v, -1, 1);
    }
    if (!found && value) loam_buf_printf(&b, "%s\"%s\": %s", b.n > 1 ? ", " : "", key, value);
    loam_buf_putc(&b, '}');
    write_file("config.json", b.data, b.n);
    loam_buf_deinit(&b);
    loam_json_free(doc);
    free(path);
}

typedef struct config_case {
    const char *base, *key, *value;
    loam_status want; /* or 0: whatever, but no crash */
    const char *says;
} config_case;

static const config_case CONFIGS[] = {
    {GOOD, "hidden_size", "\"64\"", LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", "64.5", LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", "[64]", LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", "0", LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", "-64", LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", "9223372036854775807", LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", "1e300", LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", "null", LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", NULL, LOAM_ERR_FORMAT, "hidden_size"},
    {GOOD, "hidden_size", "63", LOAM_ERR_FORMAT, "multiple"},
    {GOOD, "hidden_size", "128", LOAM_ERR_FORMAT, "tensor"},
    {GOOD, "num_hidden_layers", "0", LOAM_ERR_FORMAT, "num_hidden_layers"},
    {GOOD, "num_hidden_layers", "1000000", LOAM_ERR_FORMAT, "num_hidden_layers"},
    {GOOD, "num_hidden_layers", "4", LOAM_ERR_FORMAT, "model.layers.3."},
    {GOOD, "num_hidden_layers", "2", LOAM_ERR_UNSUPPORTED, "model.layers.2."},
    {GOOD, "num_attention_heads", "0", LOAM_ERR_FORMAT, "num_attention_heads"},
    {GOOD, "num_attention_heads", "7", LOAM_ERR_FORMAT, "multiple"},
    {GOOD, "num_attention_heads", "4", LOAM_ERR_FORMAT, "k_proj"},
    {GOOD, "num_key_value_heads", "3", LOAM_ERR_FORMAT, "num_key_value_heads"},
    {GOOD, "num_key_value_heads", "8", LOAM_ERR_FORMAT, "k_proj"},
    {GOOD, "num_key_value_heads", "true", LOAM_ERR_FORMAT, "num_key_value_heads"},
    {GOOD, "head_dim", "0", LOAM_ERR_FORMAT, "head_dim"},
    {GOOD, "head_dim", "7", LOAM_ERR_FORMAT, "rotated"},
    {GOOD, "head_dim", "513", LOAM_ERR_FORMAT, "head_dim"},
    {GOOD, "head_dim", "100000", LOAM_ERR_FORMAT, "head_dim"},
    {GOOD, "intermediate_size", "0", LOAM_ERR_FORMAT, "intermediate_size"},
    {GOOD, "intermediate_size", "127", LOAM_ERR_FORMAT, "mlp."},
    {GOOD, "vocab_size", "0", LOAM_ERR_FORMAT, "vocab_size"},
    {GOOD, "vocab_size", "511", LOAM_ERR_FORMAT, "embed_tokens"},
    {GOOD, "vocab_size", "100000000000", LOAM_ERR_FORMAT, "vocab_size"},
    {GOOD, "rms_norm_eps", "\"x\"", LOAM_ERR_FORMAT, "rms_norm_eps"},
    {GOOD, "rms_norm_eps", "-1", LOAM_ERR_FORMAT, "rms_norm_eps"},
    {GOOD, "rms_norm_eps", "NaN", LOAM_ERR_FORMAT, "rms_norm_eps"},
    {GOOD, "rope_theta", "0", LOAM_ERR_FORMAT, "rope_theta"},
    {GOOD, "rope_theta", "NaN", LOAM_ERR_FORMAT, "rope_theta"},
    {GOOD, "rope_theta", "Infinity", LOAM_ERR_FORMAT, "rope_theta"},
    {GOOD, "rope_theta", "[]", LOAM_ERR_FORMAT, "rope_theta"},
    {GOOD, "rope_scaling", "3", LOAM_ERR_FORMAT, "rope_scaling"},
    {GOOD, "rope_scaling", "{\"type\": \"linear\"}", LOAM_ERR_FORMAT, "factor"},
    {GOOD, "rope_scaling", "{\"type\": \"linear\", \"factor\": 0}", LOAM_ERR_FORMAT, "factor"},
    {GOOD, "rope_scaling", "{\"type\": \"spiral\"}", LOAM_ERR_UNSUPPORTED, "spiral"},
    {GOOD, "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2}", LOAM_ERR_UNSUPPORTED,
     "dynamic"},
    {GOOD, "rope_scaling", "{\"type\": 1}", LOAM_ERR_FORMAT, "type"},
    {GOOD, "rope_scaling",
     "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4}",
     LOAM_ERR_FORMAT, "high_freq_factor"},
    {GOOD, "rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 1e9}", LOAM_ERR_FORMAT, "factor"},
    {GOOD, "rope_scaling", "{\"type\": \"longrope\", \"long_factor\": [1, 2]}", LOAM_ERR_FORMAT,
     "long_factor"},
    {GOOD, "rope_parameters", "[1]", LOAM_ERR_FORMAT, "rope_parameters"},
    {PLAIN, "partial_rotary_factor", "0.001", LOAM_ERR_FORMAT, "rotated"},
    {PLAIN, "partial_rotary_factor", "2", LOAM_ERR_FORMAT, "partial_rotary_factor"},
    {PLAIN, "num_key_value_heads", "4", LOAM_ERR_FORMAT, "qkv_proj"},
    {PLAIN, "intermediate_size", "64", LOAM_ERR_FORMAT, "gate_up_proj"},
    {GOOD, "max_position_embeddings", "0", LOAM_ERR_FORMAT, "max_position_embeddings"},
    {GOOD, "max_position_embeddings", "1e18", LOAM_ERR_FORMAT, "max_position_embeddings"},
    {GOOD, "max_position_embeddings", "16", LOAM_ERR_LIMIT, "context"},
    {GOOD, "tie_word_embeddings", "\"yes\"", LOAM_ERR_FORMAT, "tie_word_embeddings"},
    {GOOD, "tie_word_embeddings", "false", LOAM_OK,
     ""}, /* no head in the file: tied all the same */
    {GOOD, "attention_bias", "true", LOAM_ERR_FORMAT, "bias"},
    {GOOD, "attention_bias", "1", LOAM_ERR_FORMAT, "attention_bias"},
    {GOOD, "layer_types", "[\"full_attention\"]", LOAM_ERR_FORMAT, "layer_types"},
    {GOOD, "layer_types", "[\"full_attention\", \"linear_attention\", \"full_attention\"]",
     LOAM_ERR_UNSUPPORTED, "layer_types[1]"},
    {GOOD, "layer_types", "[\"full_attention\", \"sliding_attention\", \"full_attention\"]",
     LOAM_ERR_FORMAT, "sliding_window"},
    {GOOD, "model_type", "\"nosuch\"", LOAM_ERR_UNSUPPORTED, "llama"},
    {GOOD, "model_type", "7", LOAM_ERR_FORMAT, "model_type"},
    {GOOD, "model_type", NULL, LOAM_ERR_FORMAT, "model_type"},
    {GOOD, "model_type", "\"llama\\u0000\"", LOAM_ERR_FORMAT, "model_type"},
    {GOOD, "model_type", "\"bert\"", LOAM_ERR_UNSUPPORTED, "bert"},
    {GOOD, "model_type", "\"qwen2\"", LOAM_ERR_FORMAT, "bias"},
    {GOOD, "model_file", "\"model.py\"", LOAM_ERR_UNSUPPORTED, "model_file"},
    {GOOD, "quantization", "{\"group_size\": 0, \"bits\": 4}", LOAM_ERR_FORMAT, "group_size"},
    {GOOD, "quantization", "{\"group_size\": 63, \"bits\": 4}", LOAM_ERR_FORMAT, "group_size"},
    {GOOD, "quantization", "{\"group_size\": \"64\", \"bits\": 4}", LOAM_ERR_FORMAT, "group_size"},
    {GOOD, "quantization", "{\"group_size\": 64, \"bits\": 1}", LOAM_ERR_FORMAT, "bits"},
    {GOOD, "quantization", "{\"group_size\": 64, \"bits\": 7}", LOAM_ERR_FORMAT, "bits"},
    {GOOD, "quantization", "[4]", LOAM_ERR_FORMAT, "quantization"},
    {GOOD, "quantization", "{\"group_size\": 64, \"bits\": 4, \"mode\": 4}", LOAM_ERR_FORMAT,
     "mode"},
    {GOOD, "quantization",
     "{\"group_size\": 64, \"bits\": 4, \"model.layers.1.mlp.up_proj\": {\"group_size\": 32, "
     "\"bits\": 4}}",
     LOAM_ERR_FORMAT, "model.layers.1.mlp.up_proj"},
    {GOOD, "quantization",
     "{\"group_size\": 64, \"bits\": 4, \"model.layers.1.mlp.up_proj\": {\"group_size\": 64, "
     "\"bits\": 8}}",
     LOAM_ERR_FORMAT, "model.layers.1.mlp.up_proj"},
    {GOOD, "quantization",
     "{\"group_size\": 64, \"bits\": 4, \"model.layers.1.mlp.up_proj\": false}", LOAM_ERR_FORMAT,
     "model.layers.1.mlp.up_proj"},
    {GOOD, "quantization",
     "{\"group_size\": 64, \"bits\": 4, \"model.layers.1.mlp.up_proj\": {\"group_size\": 32, "
     "\"bits\": 4, \"mode\": "
     "\"mxfp4\"}}",
     LOAM_ERR_FORMAT, "model.layers.1.mlp.up_proj"},
    {GOOD, "quantization",
     "{\"group_size\": 64, \"bits\": 4, \"model.layers.1.mlp.up_proj\": {\"group_size\": 32, "
     "\"bits\": 4, \"mode\": "
     "\"int4\"}}",
     LOAM_ERR_UNSUPPORTED, "model.layers.1.mlp.up_proj"},
    {GOOD, "quantization",
     "{\"group_size\": 64, \"bits\": 4, \"model.layers.1.mlp.up_proj\": \"no\"}", LOAM_ERR_FORMAT,
     "model.layers.1.mlp.up_proj"},
    /* what is not named is told by its shapes, whatever the global numbers say */
    {GOOD, "quantization", "{\"group_size\": 32, \"bits\": 8}", LOAM_OK, ""},
    {GOOD, "quantization", NULL, LOAM_OK, ""},
    {GOOD, "eos_token_id", "\"</s>\"", LOAM_ERR_FORMAT, "eos_token_id"},
    {GOOD, "eos_token_id", "[2, -1]", LOAM_ERR_FORMAT, "eos_token_id"},
    {GOOD, "eos_token_id", "[2, 3]", LOAM_OK, ""},
};

static void test_configs(void) {
    for (size_t i = 0; i < sizeof CONFIGS / sizeof *CONFIGS; i++) {
        const config_case *c = &CONFIGS[i];
        loam_err err;
        copy_file(c->base, "model.safetensors");
        write_config(c->base, c->key, c->value);
        const loam_status st = try_model(&err);
        CHECK(st == c->want && strstr(err.msg, c->says), "%s = %s: status %d, '%s'", c->key,
              c->value ? c->value : "(gone)", st, err.msg);
    }
}

/* The model.safetensors of GOOD with one tensor changed by `edit` (0: left out). */
static void write_weights(const char *name, int (*edit)(loam_tensor *t)) {
    loam_arrays *a;
    loam_err err = {0};
    loam_tensor list[256];
    size_t n = 0, hits = 0;
    CHECK(!loam_arrays_open(&a, GOOD "/model.safetensors", &err), "%s", err.msg);
    for (size_t i = 0; i < loam_arrays_count(a) && n < 256; i++) {
        list[n] = *loam_arrays_at(a, i);
        const int hit = strcmp(list[n].name, name) == 0;
        hits += hit != 0;
        if (!hit || edit(&list[n])) n++;
    }
    CHECK(hits == 1, "no tensor %s", name);
    char *path = loam_path_join(folder, "model.safetensors");
    CHECK(!loam_safetensors_write(path, list, n, NULL, &err), "%s", err.msg);
    free(path);
    loam_arrays_close(a);
}

static unsigned char edited[1 << 20];

static int leave_out(loam_tensor *t) {
    return t == NULL;
}
static int transpose(loam_tensor *t) {
    const uint64_t rows = t->shape[0];
    t->shape[0] = t->shape[1];
    t->shape[1] = rows;
    return 1;
}
static int flatten(loam_tensor *t) {
    t->shape[0] *= t->rank == 2 ? t->shape[1] : 1;
    t->rank = 1;
    return 1;
}
static int halve(loam_tensor *t) {
    t->shape[0] /= 2;
    t->bytes /= 2;
    return 1;
}
static int halve_columns(loam_tensor *t) {
    t->shape[1] /= 2;
    t->bytes /= 2;
    return 1;
}
static int as_i32(loam_tensor *t) {
    t->dtype = LOAM_I32;
    return 1;
}
static int as_f32(loam_tensor *t) {
    t->dtype = LOAM_F32;
    return 1;
}
static int as_bf16(loam_tensor *t) { /* the same bytes as twice the columns */
    t->dtype = LOAM_BF16;
    t->shape[t->rank - 1] *= 2;
    return 1;
}
static int empty(loam_tensor *t) {
    t->shape[0] = 0;
    t->bytes = 0;
    return 1;
}
static int fill(loam_tensor *t, uint32_t word) {
    CHECK(t->bytes <= sizeof edited, "%s: %llu bytes", t->name, (unsigned long long)t->bytes);
    for (size_t i = 0; i < t->bytes; i += 4) memcpy(edited + i, &word, 4);
    t->data = edited;
    return 1;
}
static int all_nan(loam_tensor *t) {
    return fill(t, 0x7fc00000u);
}
static int all_infinite(loam_tensor *t) {
    return fill(t, 0x7f800000u);
}
static int all_denormal(loam_tensor *t) {
    return fill(t, 0x00000001u);
}
static int all_huge(loam_tensor *t) {
    return fill(t, 0x7f7fffffu);
}

#define UP "model.layers.1.mlp.up_proj"
static const struct {
    const char *name;
    int (*edit)(loam_tensor *t);
    loam_status want;
    const char *says;
} TENSORS[] = {
    {UP ".weight", leave_out, LOAM_ERR_FORMAT, UP ".weight"},
    {UP ".scales", leave_out, LOAM_ERR_FORMAT, UP ".weight"},
    {UP ".biases", leave_out, LOAM_ERR_FORMAT, UP ".biases"},
    {UP ".weight", transpose, LOAM_ERR_FORMAT, UP ".weight"},
    {UP ".scales", transpose, LOAM_ERR_FORMAT, UP ".scales"},
    {UP ".biases", transpose, LOAM_ERR_FORMAT, UP ".biases"},
    {UP ".weight", flatten, LOAM_ERR_FORMAT, UP ".weight"},
    {UP ".scales", flatten, LOAM_ERR_FORMAT, UP ".scales"},
    {UP ".weight", halve, LOAM_ERR_FORMAT, UP ".weight"},
    {UP ".weight", halve_columns, LOAM_OK, ""}, /* 2 bits by its shapes */
    {UP ".weight", empty, LOAM_ERR_FORMAT, UP ".weight"},
    {UP ".scales", empty, LOAM_ERR_FORMAT, UP ".scales"},
    {UP ".scales", as_i32, LOAM_ERR_FORMAT, UP ".scales"},
    {UP ".biases", as_i32, LOAM_ERR_FORMAT, UP ".scales"},
    {UP ".weight", as_i32, LOAM_ERR_FORMAT, UP ".weight"},
    {UP ".weight", as_f32, LOAM_ERR_FORMAT, UP ".weight"},
    {UP ".scales", as_bf16, LOAM_ERR_FORMAT, UP ".scales"},
    {"model.norm.weight", leave_out, LOAM_ERR_FORMAT, "model.norm.weight"},
    {"model.norm.weight", halve, LOAM_ERR_FORMAT, "model.norm.weight"},
    {"model.norm.weight", as_i32, LOAM_ERR_FORMAT, "model.norm.weight"},
    {"model.layers.0.input_layernorm.weight", empty, LOAM_ERR_FORMAT, "input_layernorm"},
    {"model.embed_tokens.weight", leave_out, LOAM_ERR_FORMAT, "embed_tokens"},
    {UP ".scales", all_nan, LOAM_ERR_FORMAT, "layer 1"},
    {UP ".scales", all_infinite, LOAM_ERR_FORMAT, "layer 1"},
    {UP ".scales", all_denormal, LOAM_OK, ""},
    {UP ".scales", all_huge, LOAM_ERR_FORMAT, "layer 1"},
    {"model.embed_tokens.biases", all_nan, LOAM_ERR_FORMAT, "layer 0"},
    {"model.layers.2.self_attn.v_proj.biases", all_nan, LOAM_ERR_FORMAT, "layer 2"},
};

static void test_tensors(void) {
    copy_file(GOOD, "config.json");
    for (size_t i = 0; i < sizeof TENSORS / sizeof *TENSORS; i++) {
        loam_err err;
        write_weights(TENSORS[i].name, TENSORS[i].edit);
        const loam_status st = try_model(&err);
        CHECK(st == TENSORS[i].want && strstr(err.msg, TENSORS[i].says),
              "tensor case %zu (%s): status %d, '%s'", i, TENSORS[i].name, st, err.msg);
    }
}

static loam_status try_bytes(const char *name, const void *bytes, size_t n, loam_err *err) {
    copy_file(GOOD, "config.json");
    copy_file(GOOD, "model.safetensors");
    write_file(name, bytes, n);
    return try_model(err);
}

static void remove_file(const char *name) {
    char *path = loam_path_join(folder, name);
    if (unlink(path)) rmdir(path);
    free(path);
}

static void test_files(void) {
    static const char *const BAD_JSON[] = {
        "", "{", "[]", "3", "{\"a\": }", "\xff\xfe", "{\"model_type\": \"llama\"} x"};
    loam_err err;
    for (size_t i = 0; i < sizeof BAD_JSON / sizeof *BAD_JSON; i++)
        CHECK(try_bytes("config.json", BAD_JSON[i], strlen(BAD_JSON[i]), &err) == LOAM_ERR_FORMAT &&
                  strstr(err.msg, "config.json"),
              "config '%s': %s", BAD_JSON[i], err.msg);
    CHECK(try_bytes("model.safetensors", "junk", 4, &err) == LOAM_ERR_FORMAT, "%s", err.msg);
    CHECK(try_bytes("generation_config.json", "{\"eos_token_id\": {}}", 20, &err) ==
              LOAM_ERR_FORMAT,
          "%s", err.msg);
    CHECK(try_bytes("generation_config.json", "[", 1, &err) == LOAM_ERR_FORMAT, "%s", err.msg);
    CHECK(try_bytes("generation_config.json", "{\"eos_token_id\": [5, 6]}", 24, &err) == LOAM_OK,
          "%s", err.msg);
    remove_file("generation_config.json");

    remove_file("model.safetensors");
    CHECK(try_model(&err) == LOAM_ERR_NOT_FOUND && err.msg[0], "no weights: %d '%s'", err.status,
          err.msg);
    remove_file("config.json");
    CHECK(try_model(&err) == LOAM_ERR_NOT_FOUND && strstr(err.msg, "config.json"),
          "no config: '%s'", err.msg);
    char *path = loam_path_join(folder, "config.json");
    CHECK(mkfifo(path, 0600) == 0, "fifo");
    CHECK(try_model(&err) != LOAM_OK, "a FIFO as config.json"); /* and does not hang */
    remove_file("config.json");
    CHECK(mkdir(path, 0700) == 0, "folder");
    CHECK(try_model(&err) != LOAM_OK, "a folder as config.json");
    remove_file("config.json");
    CHECK(symlink("nowhere", path) == 0, "dangling link");
    CHECK(try_model(&err) == LOAM_ERR_NOT_FOUND, "a dangling link as config.json: '%s'", err.msg);
    remove_file("config.json");
    free(path);
}

int main(void) {
    loam_err err = {0};
    if (loam_pool_new(&pool, 1, &err) || !mkdtemp(folder)) return 1;
    test_configs();
    test_tensors();
    test_files();
    remove_file("model.safetensors");
    rmdir(folder);
    loam_pool_free(pool);
    return TEST_END("test_model_hostile");
}
