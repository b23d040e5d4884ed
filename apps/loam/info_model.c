/* info_model.c - loam info of a model folder: config, weights, tokenizer, and whether loam
 * can run it, which is found out by opening it. */
#include "cli/cli.h"
#include "loam/info.h"

#include <loam/engine.h>
#include <loam/rag.h>

#include <string.h>
#include <unistd.h>

typedef struct model_facts {
    const char *role;    /* "language model", "embedder", "reranker"; NULL: cannot run */
    loam_err why;        /* when it cannot */
    uint64_t parameters; /* weights as they were before packing */
    uint64_t array_bytes;
    uint64_t packed; /* arrays that are quantised */
    const char *tokenizer;
    int template;
} model_facts;

/* ---- files ---- */

static int holds(const char *folder, const char *name) {
    loam_buf path = {0};
    loam_buf_printf(&path, "%s/%s", folder, name);
    const int there = path.data && access(path.data, R_OK) == 0;
    loam_buf_deinit(&path);
    return there;
}

static const char *find_tokenizer(const char *folder) {
    static const char *const NAMES[] = {"tokenizer.json", "tokenizer.model", "vocab.json",
                                        "vocab.txt"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (holds(folder, NAMES[i])) return NAMES[i];
    return NULL;
}

/* NULL: the file is not there; damage ends the program. */
static loam_json *read_json(const char *folder, const char *name) {
    loam_json *doc = NULL;
    loam_buf path = {0};
    loam_err err = {0};
    loam_buf_printf(&path, "%s/%s", folder, name);
    const loam_status st =
        path.data ? loam_json_read(&doc, path.data, 0, LOAM_JSON_ALLOW_NAN, &err) : LOAM_OK;
    if (st && st != LOAM_ERR_NOT_FOUND) cli_die(&err);
    loam_buf_deinit(&path);
    return doc;
}

static int has_template(const char *folder) {
    if (holds(folder, "chat_template.jinja") || holds(folder, "chat_template.json")) return 1;
    loam_json *doc = read_json(folder, "tokenizer_config.json");
    const loam_json_type type =
        loam_json_type_of(loam_json_get(loam_json_root(doc), "chat_template"));
    loam_json_free(doc);
    return type == LOAM_JSON_STRING || type == LOAM_JSON_ARRAY;
}

/* ---- parameters ---- */

/* The sibling of PATH.weight that is called PATH`end`. */
static const loam_tensor *sibling(const loam_arrays *arrays, const char *name, const char *end) {
    loam_buf other = {0};
    const size_t n_path = strlen(name) - strlen(".weight");
    loam_buf_append(&other, name, n_path);
    loam_buf_puts(&other, end);
    const loam_tensor *t = other.failed ? NULL : loam_arrays_find(arrays, other.data);
    loam_buf_deinit(&other);
    return t;
}

/* bits of PATH: its own entry in "quantization", else the global one. */
static int64_t bits_of(const loam_json_value *quantization, const char *name) {
    int64_t bits = 0;
    const size_t n_path = strlen(name) - strlen(".weight");
    const loam_json_value *own = loam_json_get_n(quantization, name, n_path);
    if (loam_json_int(loam_json_get(own, "bits"), &bits)) return bits;
    return loam_json_int(loam_json_get(quantization, "bits"), &bits) ? bits : 0;
}

/* As mlx-lm counts: scales and biases of packed weights are not parameters. */
static void count_parameters(model_facts *f, const loam_arrays *arrays,
                             const loam_json_value *quantization) {
    for (size_t i = 0; i < loam_arrays_count(arrays); i++) {
        const loam_tensor *t = loam_arrays_at(arrays, i);
        const uint64_t n = loam_tensor_count(t);
        f->array_bytes += t->bytes;
        if (loam_ends_with(t->name, ".scales")) continue;
        if (loam_ends_with(t->name, ".biases")) continue;
        if (t->dtype == LOAM_U32 && loam_ends_with(t->name, ".weight") &&
            sibling(arrays, t->name, ".scales")) {
            const int64_t bits = bits_of(quantization, t->name);
            f->packed++;
            if (bits >= 2 && bits <= 8) f->parameters += n * 32 / (uint64_t)bits;
        } else {
            f->parameters += n;
        }
    }
}

/* ---- can it run? ---- */

static int is_classifier(const loam_json_value *config) {
    const char *name =
        loam_json_string(loam_json_at(loam_json_get(config, "architectures"), 0), NULL);
    return name && strstr(name, "ForSequenceClassification");
}

/* Damage ends the program; what loam cannot run is a fact to tell. */
static int judge(model_facts *f, loam_status st, const char *role, const loam_err *err) {
    if (!st) f->role = role;
    if (st == LOAM_ERR_FORMAT) cli_die(err);
    if (st && !f->why.status) f->why = *err;
    return !st;
}

static void find_role(model_facts *f, const char *folder, const loam_json_value *config) {
    loam_pool *pool = cli_pool(1);
    loam_err err = {0};
    loam_model *model = NULL;
    loam_embedder *embedder = NULL;
    loam_reranker *reranker = NULL;
    loam_status st = loam_model_open(&model, folder, &(loam_model_options){.pool = pool}, &err);
    if (judge(f, st, "language model", &err)) goto done;
    if (st != LOAM_ERR_UNSUPPORTED) goto done; /* a known family in trouble */
    if (is_classifier(config)) {
        st = loam_reranker_open(&reranker, folder, &(loam_embedder_options){.pool = pool}, &err);
        judge(f, st, "reranker", &err);
        goto done;
    }
    const loam_err decoder_err = f->why;
    f->why = (loam_err){0};
    st = loam_embedder_open(&embedder, folder, &(loam_embedder_options){.pool = pool}, &err);
    if (!judge(f, st, "embedder", &err) && st == LOAM_ERR_UNSUPPORTED) f->why = decoder_err;
done:
    loam_model_close(model);
    loam_embedder_close(embedder);
    loam_reranker_close(reranker);
    loam_pool_free(pool);
}

/* ---- output ---- */

/* Keys of config.json that people look for, under names of our own. */
static const struct {
    const char *key, *name;
} NUMBERS[] = {{"num_hidden_layers", "layers"},  {"hidden_size", "hidden_size"},
               {"num_attention_heads", "heads"}, {"num_key_value_heads", "kv_heads"},
               {"vocab_size", "vocab"},          {"max_position_embeddings", "context"}};

static const loam_json_value *quantization_of(const loam_json_value *config) {
    const loam_json_value *q = loam_json_get(config, "quantization");
    if (loam_json_type_of(q) != LOAM_JSON_OBJECT) q = loam_json_get(config, "quantization_config");
    return loam_json_type_of(q) == LOAM_JSON_OBJECT ? q : NULL;
}

static void put_quoted(loam_buf *b, const char *s) {
    if (s)
        loam_json_put_string(b, s, strlen(s));
    else
        loam_buf_puts(b, "null");
}

static void put_json(loam_buf *b, const char *folder, const loam_json_value *config,
                     const model_facts *f, const loam_arrays *arrays, const info_arguments *a) {
    const loam_json_value *q = quantization_of(config);
    loam_buf_puts(b, "{\"path\": ");
    put_quoted(b, folder);
    loam_buf_puts(b, ", \"kind\": \"model\", \"model_type\": ");
    loam_json_put_value(b, loam_json_get(config, "model_type"), -1, 0);
    loam_buf_puts(b, ", \"architectures\": ");
    loam_json_put_value(b, loam_json_get(config, "architectures"), -1, 0);
    loam_buf_printf(b, ", \"supported\": %s, \"role\": ", f->role ? "true" : "false");
    put_quoted(b, f->role);
    loam_buf_puts(b, ", \"reason\": ");
    put_quoted(b, f->role ? NULL : f->why.msg);
    loam_buf_printf(
        b, ", \"parameters\": %llu, \"quantization\": ", (unsigned long long)f->parameters);
    loam_json_put_value(b, q, -1, 0);
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        loam_buf_printf(b, ", \"%s\": ", NUMBERS[i].name);
        loam_json_put_value(b, loam_json_get(config, NUMBERS[i].key), -1, 0);
    }
    loam_buf_puts(b, ", \"tokenizer\": ");
    put_quoted(b, f->tokenizer);
    loam_buf_printf(
        b, ", \"chat_template\": %s, \"n_arrays\": %zu, \"weight_bytes\": %llu, \"bytes\": %llu",
        f->template ? "true" : "false", loam_arrays_count(arrays),
        (unsigned long long)f->array_bytes, (unsigned long long)loam_arrays_file_bytes(arrays));
    if (a->arrays || a->sha256) info_put_arrays(b, arrays, a);
    loam_buf_puts(b, "}\n");
}

static void put_quantization(loam_buf *b, const loam_json_value *q, const model_facts *f) {
    if (!q && !f->packed) {
        loam_buf_puts(b, "none");
        return;
    }
    int64_t bits = 0, group = 0;
    const int known = loam_json_int(loam_json_get(q, "bits"), &bits) &&
                      loam_json_int(loam_json_get(q, "group_size"), &group);
    const char *mode = loam_json_string(loam_json_get(q, "mode"), NULL);
    if (known)
        loam_buf_printf(b, "%lld bits, groups of %lld", (long long)bits, (long long)group);
    else
        loam_json_put_value(b, q, -1, 0);
    if (mode && strcmp(mode, "affine") != 0) loam_buf_printf(b, ", %s", mode);
    size_t own = 0;
    for (const loam_json_value *m = loam_json_first(q); m; m = loam_json_next(m))
        own += loam_json_type_of(m) == LOAM_JSON_OBJECT;
    if (own)
        loam_buf_printf(b, ", %zu layer%s with settings of their own", own, own == 1 ? "" : "s");
}

static void put_text(loam_buf *b, const char *folder, const loam_json_value *config,
                     const model_facts *f, const loam_arrays *arrays, const info_arguments *a) {
    const char *type = loam_json_string(loam_json_get(config, "model_type"), NULL);
    loam_buf_printf(b, "%s: model folder\n  family        %s", folder, type ? type : "unknown");
    if (f->role)
        loam_buf_printf(b, ", supported as %s\n", f->role);
    else
        loam_buf_printf(b, ", cannot be run: %s\n", f->why.msg);
    loam_buf_puts(b, "  parameters    ");
    info_put_count(b, f->parameters);
    loam_buf_puts(b, "\n  quantisation  ");
    put_quantization(b, quantization_of(config), f);
    loam_buf_printf(b, "\n  weights       %zu arrays, ", loam_arrays_count(arrays));
    info_put_bytes(b, loam_arrays_file_bytes(arrays));
    loam_buf_puts(b, "\n  shape         ");
    const char *comma = "";
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        int64_t v;
        if (!loam_json_int(loam_json_get(config, NUMBERS[i].key), &v)) continue;
        loam_buf_printf(b, "%s%s %lld", comma, NUMBERS[i].name, (long long)v);
        comma = ", ";
    }
    loam_buf_printf(b, "\n  tokenizer     %s\n  chat template %s\n",
                    f->tokenizer ? f->tokenizer : "none", f->template ? "yes" : "none");
    if (a->arrays || a->sha256) info_put_arrays(b, arrays, a);
}

void info_model(loam_buf *b, const char *folder, const info_arguments *a) {
    model_facts f = {.tokenizer = find_tokenizer(folder), .template = has_template(folder)};
    loam_arrays *arrays;
    loam_err err = {0};
    loam_json *doc = read_json(folder, "config.json");
    if (!doc)
        cli_fail(
            CLI_EXIT_NOT_FOUND,
            "%s: no config.json: not a model folder, or an incomplete download (run `loam pull`)",
            folder);
    const loam_json_value *config = loam_json_root(doc);
    if (loam_json_type_of(config) != LOAM_JSON_OBJECT)
        cli_fail(CLI_EXIT_INVALID, "%s/config.json: not a JSON object", folder);
    if (loam_arrays_open_folder(&arrays, folder, &err)) cli_die(&err);
    count_parameters(&f, arrays, quantization_of(config));
    find_role(&f, folder, config);
    if (a->json)
        put_json(b, folder, config, &f, arrays, a);
    else
        put_text(b, folder, config, &f, arrays, a);
    loam_arrays_close(arrays);
    loam_json_free(doc);
}
