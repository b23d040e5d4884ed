/* test_embedder.c - the folder's settings (pooling, prompts, lengths, stages) on a tiny
 * encoder, whose hidden states test_encoder.c has checked; fingerprints; hostile settings.
 * With LOAM_MINILM set: the golden vectors of the real model. */
#include "base/base.h"
#include "model/encoder.h"
#include "test.h"

#include <loam/json.h>
#include <loam/rag.h>
#include <loam/tensor.h>
#include <loam/text.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIM = 32, MAX_ROWS = 512 };
static const char TINY[] = "tests/golden/rerank/tiny-bert-ce";
static const char *const FILES[] = {"config.json", "model.safetensors", "tokenizer.json",
                                    "tokenizer_config.json"};
static char folder[256];
static loam_pool *pool;

/* ---- a folder of links to the tiny model, and settings of our own ---- */

static void path_of(char out[512], const char *file) {
    snprintf(out, 512, "%s/%s", folder, file);
}

static void write_text(const char *file, const char *text) {
    char path[512];
    path_of(path, file);
    unlink(path); /* may be a link */
    FILE *f = fopen(path, "w");
    CHECK(f != NULL, "%s", path);
    if (!f) return;
    fputs(text, f);
    fclose(f);
}

static const char *const SETTINGS[] = {"modules.json",
                                       "1_Pooling/config.json",
                                       "sentence_bert_config.json",
                                       "config_sentence_transformers.json",
                                       "2_Dense/config.json",
                                       "2_Dense/model.safetensors"};

static void reset_folder(void) {
    char path[512], from[1024], here[512];
    if (!getcwd(here, sizeof here)) return;
    for (size_t i = 0; i < sizeof SETTINGS / sizeof *SETTINGS; i++) {
        path_of(path, SETTINGS[i]);
        unlink(path);
    }
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        path_of(path, FILES[i]);
        unlink(path);
        snprintf(from, sizeof from, "%s/%s/%s", here, TINY, FILES[i]);
        CHECK(symlink(from, path) == 0, "%s", path);
    }
}

static void remove_folder(void) {
    char path[512];
    reset_folder();
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        path_of(path, FILES[i]);
        unlink(path);
    }
    path_of(path, "1_Pooling");
    rmdir(path);
    path_of(path, "2_Dense");
    rmdir(path);
    rmdir(folder);
}

#define TRANSFORMER                                                                                \
    "{\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": "                                     \
    "\"sentence_transformers.models.Transformer\"}"
#define POOLING                                                                                    \
    "{\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\", \"type\": "                            \
    "\"sentence_transformers.models.Pooling\"}"
#define DENSE                                                                                      \
    "{\"idx\": 2, \"name\": \"2\", \"path\": \"2_Dense\", \"type\": "                              \
    "\"sentence_transformers.models.Dense\"}"
#define NORMALIZE                                                                                  \
    "{\"idx\": 2, \"name\": \"2\", \"path\": \"2_Normalize\", \"type\": "                          \
    "\"sentence_transformers.models.Normalize\"}"

static loam_status open_here(loam_embedder **e, loam_err *err) {
    const loam_embedder_options o = {.pool = pool, .precision = LOAM_EXACT};
    return loam_embedder_open(e, folder, &o, err);
}

static loam_text text_of(const char *s) {
    return (loam_text){s, strlen(s)};
}

/* ---- what the rows of a text are ---- */

typedef struct hidden {
    float rows[MAX_ROWS][DIM];
    size_t n;
} hidden;

static void keep_rows(void *ctx, size_t sequence, const float *rows, size_t n_rows) {
    hidden *h = ctx;
    (void)sequence;
    h->n = n_rows;
    memcpy(h->rows, rows, n_rows * sizeof *h->rows);
}

static void hidden_of(const char *text, size_t max, hidden *h) {
    loam_encoder *m = NULL;
    loam_tokenizer *tok = NULL;
    loam_ids ids = {0};
    loam_err err = {0};
    CHECK(!loam_encoder_open(&m, TINY, pool, LOAM_EXACT, &err), "%s", err.msg);
    CHECK(!loam_tokenizer_open(&tok, TINY, &err), "%s", err.msg);
    CHECK(!loam_tokenizer_encode(tok, text, strlen(text), LOAM_ENCODE_SPECIAL, &ids, &err), "%s",
          err.msg);
    if (ids.n > max) {
        ids.ids[max - 1] = ids.ids[ids.n - 1];
        ids.n = max;
    }
    const size_t starts[] = {0, ids.n};
    const loam_sequences s = {ids.ids, NULL, starts, 1};
    CHECK(!loam_encoder_run(m, &s, LOAM_ROWS_ALL, keep_rows, h, NULL, &err), "%s", err.msg);
    loam_ids_deinit(&ids);
    loam_tokenizer_close(tok);
    loam_encoder_close(m);
}

/* Mode by its name, in double: rows skip .. n. */
static double pooled(const char *mode, const hidden *h, size_t skip, int c) {
    double sum = 0, weights = 0, top = -1e300;
    const int weighted = strcmp(mode, "weightedmean") == 0;
    for (size_t i = skip; i < h->n; i++) {
        const double x = (double)h->rows[i][c], w = weighted ? (double)(i + 1) : 1.0;
        sum += w * x;
        weights += w;
        top = x > top ? x : top;
    }
    if (strcmp(mode, "cls") == 0) return (double)h->rows[skip][c];
    if (strcmp(mode, "lasttoken") == 0) return (double)h->rows[h->n - 1][c];
    if (strcmp(mode, "max") == 0) return top;
    return sum / (strcmp(mode, "mean_sqrt_len_tokens") == 0 ? sqrt(weights) : weights);
}

static const char TEXT[] = "MLX is an array library for machine learning.";

/* ---- tests ---- */

static void check_pooling(const char *what, const char *const *modes, size_t n_modes, size_t skip,
                          loam_embed_kind kind, const char *full_text) {
    static hidden h;
    loam_embedder *e = NULL;
    loam_err err = {0};
    float got[6 * DIM];
    hidden_of(full_text, 512, &h);
    CHECK(!open_here(&e, &err), "%s: %s", what, err.msg);
    if (!e) return;
    CHECK(loam_embedder_dim(e) == n_modes * DIM, "%s: dim %zu", what, loam_embedder_dim(e));
    const loam_text t = text_of(TEXT);
    CHECK(!loam_embedder_encode(e, &t, 1, kind, got, NULL, &err), "%s: %s", what, err.msg);
    for (size_t k = 0; k < n_modes; k++)
        for (int c = 0; c < DIM; c++) {
            const double want = pooled(modes[k], &h, skip, c);
            const double have = (double)got[k * DIM + (size_t)c];
            CHECK(fabs(have - want) <= 1e-6 * (1 + fabs(want)), "%s %s[%d]: %g, want %g", what,
                  modes[k], c, have, want);
        }
    loam_embedder_close(e);
}

static void test_embedder_pooling_modes(void) {
    static const char *const FLAGS[][2] = {
        {"pooling_mode_cls_token", "cls"},
        {"pooling_mode_max_tokens", "max"},
        {"pooling_mode_mean_tokens", "mean"},
        {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
        {"pooling_mode_weightedmean_tokens", "weightedmean"},
        {"pooling_mode_lasttoken", "lasttoken"}};
    char text[256];
    reset_folder();
    write_text("modules.json", "[" TRANSFORMER ", " POOLING "]");
    for (size_t i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "{\"word_embedding_dimension\": 32, \"%s\": true}",
                 FLAGS[i][0]);
        write_text("1_Pooling/config.json", text);
        check_pooling("flag", &FLAGS[i][1], 1, 0, LOAM_EMBED_DOCUMENT, TEXT);
        snprintf(text, sizeof text, "{\"embedding_dimension\": 32, \"pooling_mode\": \"%s\"}",
                 FLAGS[i][1]);
        write_text("1_Pooling/config.json", text);
        check_pooling("name", &FLAGS[i][1], 1, 0, LOAM_EMBED_DOCUMENT, TEXT);
    }
    static const char *const TWO[] = {"cls", "mean"};
    write_text("1_Pooling/config.json",
               "{\"pooling_mode_mean_tokens\": true, \"pooling_mode_cls_token\": true}");
    check_pooling("two", TWO, 2, 0, LOAM_EMBED_DOCUMENT, TEXT);
}

static void test_embedder_prompts(void) {
    static const char *const MEAN[] = {"mean"};
    char full[256];
    reset_folder();
    write_text("modules.json", "[" TRANSFORMER ", " POOLING "]");
    write_text("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\": true}");
    write_text("config_sentence_transformers.json",
               "{\"prompts\": {\"query\": \"query: \", \"passage\": \"passage: \"}}");
    snprintf(full, sizeof full, "query: %s", TEXT);
    check_pooling("query", MEAN, 1, 0, LOAM_EMBED_QUERY, full);
    snprintf(full, sizeof full, "passage: %s", TEXT);
    check_pooling("passage", MEAN, 1, 0, LOAM_EMBED_DOCUMENT, full);
    /* [CLS] and "query" and ":" do not take part */
    write_text("1_Pooling/config.json",
               "{\"pooling_mode_mean_tokens\": true, \"include_prompt\": false}");
    snprintf(full, sizeof full, "query: %s", TEXT);
    check_pooling("without prompt", MEAN, 1, 3, LOAM_EMBED_QUERY, full);
    write_text("config_sentence_transformers.json",
               "{\"prompts\": {\"x\": \"query: \"}, \"default_prompt_name\": \"x\"}");
    check_pooling("default prompt", MEAN, 1, 3, LOAM_EMBED_DOCUMENT, full);
}

static void test_embedder_cuts_at_max_tokens(void) {
    static hidden h;
    char text[2048] = "";
    for (int i = 0; i < 60; i++) strcat(text, "purging removes files ");
    loam_embedder *e = NULL;
    loam_err err = {0};
    float got[DIM];
    reset_folder();
    write_text("modules.json", "[" TRANSFORMER ", " POOLING "]");
    write_text("1_Pooling/config.json", "{\"pooling_mode_lasttoken\": true}");
    write_text("sentence_bert_config.json", "{\"max_seq_length\": 20, \"do_lower_case\": false}");
    CHECK(!open_here(&e, &err), "%s", err.msg);
    if (!e) return;
    size_t n = 0;
    const loam_text t = text_of(text);
    CHECK(loam_embedder_max_tokens(e) == 20, "%zu", loam_embedder_max_tokens(e));
    CHECK(!loam_embedder_count_tokens(e, t, &n, &err) && n > 180, "%zu tokens", n);
    CHECK(!loam_embedder_encode(e, &t, 1, LOAM_EMBED_DOCUMENT, got, NULL, &err), "%s", err.msg);
    hidden_of(text, 20, &h); /* the last of 20 rows is [SEP] */
    CHECK(h.n == 20, "%zu rows", h.n);
    for (int c = 0; c < DIM; c++)
        CHECK(got[c] == h.rows[19][c], "[%d] %g, want %g", c, (double)got[c],
              (double)h.rows[19][c]);
    loam_embedder_close(e);

    /* more than there are positions: cut at those */
    write_text("sentence_bert_config.json", "{\"max_seq_length\": 100000}");
    CHECK(!open_here(&e, &err), "%s", err.msg);
    CHECK(e && loam_embedder_max_tokens(e) == 512, "max tokens");
    loam_embedder_close(e);
}

static void test_embedder_dense(void) {
    static hidden h;
    enum { OUT = 48 };
    static float weight[OUT * DIM], bias[OUT], got[OUT];
    loam_rng rng;
    loam_err err = {0};
    loam_embedder *e = NULL;
    char path[512];
    loam_rng_seed(&rng, 5);
    for (size_t i = 0; i < OUT * DIM; i++) weight[i] = (float)(loam_rng_uniform(&rng) - 0.5);
    for (size_t i = 0; i < OUT; i++) bias[i] = (float)(loam_rng_uniform(&rng) - 0.5);
    const loam_tensor t[] = {{.name = "linear.weight",
                              .dtype = LOAM_F32,
                              .rank = 2,
                              .shape = {OUT, DIM},
                              .data = weight,
                              .bytes = sizeof weight},
                             {.name = "linear.bias",
                              .dtype = LOAM_F32,
                              .rank = 1,
                              .shape = {OUT},
                              .data = bias,
                              .bytes = sizeof bias}};
    reset_folder();
    path_of(path, "2_Dense/model.safetensors");
    CHECK(!loam_safetensors_write(path, t, 2, NULL, &err), "%s", err.msg);
    write_text("modules.json", "[" TRANSFORMER ", " POOLING ", " DENSE ", " NORMALIZE "]");
    write_text("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\": true}");
    write_text("2_Dense/config.json",
               "{\"in_features\": 32, \"out_features\": 48, \"bias\": true, "
               "\"activation_function\": \"torch.nn.modules.activation.Tanh\"}");
    CHECK(!open_here(&e, &err), "%s", err.msg);
    if (!e) return;
    CHECK(loam_embedder_dim(e) == OUT, "dim %zu", loam_embedder_dim(e));
    const loam_text text = text_of(TEXT);
    CHECK(!loam_embedder_encode(e, &text, 1, LOAM_EMBED_DOCUMENT, got, NULL, &err), "%s", err.msg);
    hidden_of(TEXT, 512, &h);
    double want[OUT], norm = 0;
    for (int r = 0; r < OUT; r++) {
        want[r] = (double)bias[r];
        for (int c = 0; c < DIM; c++)
            want[r] += (double)weight[r * DIM + c] * pooled("mean", &h, 0, c);
        want[r] = tanh(want[r]);
        norm += want[r] * want[r];
    }
    for (int r = 0; r < OUT; r++)
        CHECK(fabs((double)got[r] - want[r] / sqrt(norm)) <= 2e-6, "[%d] %g, want %g", r,
              (double)got[r], want[r] / sqrt(norm));
    loam_embedder_close(e);
}

static void test_embedder_bare_folder_and_batches(void) {
    enum { N = 60 };
    static const char *const SOME[] = {"", "x", "a much longer text than the others, with a comma",
                                       "caf\xc3\xa9", "two words"};
    loam_text texts[N];
    static float all[N][DIM], one[DIM];
    loam_embedder *e = NULL;
    loam_err err = {0};
    reset_folder(); /* no modules.json: mean, unit length */
    CHECK(!open_here(&e, &err), "%s", err.msg);
    if (!e) return;
    CHECK(loam_embedder_dim(e) == DIM && loam_embedder_max_tokens(e) == 512, "sizes");
    for (size_t i = 0; i < N; i++) texts[i] = text_of(SOME[i * 7 % 5]);
    CHECK(!loam_embedder_encode(e, texts, N, LOAM_EMBED_DOCUMENT, all[0], NULL, &err), "%s",
          err.msg);
    for (size_t i = 0; i < N; i++) {
        double norm = 0;
        CHECK(!loam_embedder_encode(e, &texts[i], 1, LOAM_EMBED_QUERY, one, NULL, &err), "%s",
              err.msg);
        CHECK(memcmp(one, all[i], sizeof one) == 0, "text %zu differs in a batch", i);
        for (int c = 0; c < DIM; c++) norm += (double)one[c] * (double)one[c];
        CHECK(fabs(norm - 1) < 1e-6, "text %zu: length %g", i, sqrt(norm));
    }
    CHECK(!loam_embedder_encode(e, NULL, 0, LOAM_EMBED_QUERY, NULL, NULL, &err), "no texts");
    texts[1] = text_of("broken \xff byte");
    const loam_status st =
        loam_embedder_encode(e, texts, N, LOAM_EMBED_DOCUMENT, all[0], NULL, &err);
    CHECK(st == LOAM_ERR_FORMAT && strstr(err.msg, "text 2"), "not UTF-8: %d: %s", (int)st,
          err.msg);
    loam_embedder_close(e);
}

static void fingerprint_here(char out[65]) {
    loam_embedder *e = NULL;
    loam_err err = {0};
    out[0] = 0;
    CHECK(!open_here(&e, &err), "%s", err.msg);
    if (e) memcpy(out, loam_embedder_fingerprint(e), 65);
    loam_embedder_close(e);
}

static void test_embedder_fingerprint(void) {
    char plain[65], same[65], changed[65];
    reset_folder();
    fingerprint_here(plain);
    CHECK(strlen(plain) == 64 && strspn(plain, "0123456789abcdef") == 64, "%s", plain);
    fingerprint_here(same);
    CHECK(strcmp(plain, same) == 0, "not stable");
    static const struct {
        const char *file, *text;
    } CHANGES[] = {{"sentence_bert_config.json", "{\"max_seq_length\": 100}"},
                   {"config_sentence_transformers.json", "{\"prompts\": {\"query\": \"q: \"}}"},
                   {"1_Pooling/config.json", "{\"pooling_mode_cls_token\": true}"}};
    for (size_t i = 0; i < 3; i++) {
        reset_folder();
        if (i == 2) write_text("modules.json", "[" TRANSFORMER ", " POOLING ", " NORMALIZE "]");
        write_text(CHANGES[i].file, CHANGES[i].text);
        fingerprint_here(changed);
        CHECK(strcmp(plain, changed) != 0, "%s did not count", CHANGES[i].file);
    }
    /* one bit of one weight array and of the tokenizer */
    for (int i = 1; i < 3; i++) {
        loam_buf b = {0};
        loam_err err = {0};
        char path[512];
        reset_folder();
        path_of(path, FILES[i]);
        CHECK(!loam_file_read(&b, path, 1 << 24, &err), "%s", err.msg);
        if (i == 1)
            b.data[b.n - 1] = (char)(b.data[b.n - 1] ^ 1);
        else
            loam_buf_putc(&b, ' ');
        unlink(path);
        CHECK(!loam_file_write(path, b.data, b.n, 0600, &err), "%s", err.msg);
        fingerprint_here(changed);
        CHECK(strcmp(plain, changed) != 0, "%s did not count", FILES[i]);
        loam_buf_deinit(&b);
    }
}

static void test_embedder_bad_settings(void) {
    static const struct {
        const char *what, *modules, *pooling, *length;
        loam_status status;
    } CASES[] = {
        {"not JSON", "[", NULL, NULL, LOAM_ERR_FORMAT},
        {"an object", "{}", NULL, NULL, LOAM_ERR_FORMAT},
        {"no modules", "[]", NULL, NULL, LOAM_ERR_FORMAT},
        {"no pooling", "[" TRANSFORMER "]", NULL, NULL, LOAM_ERR_UNSUPPORTED},
        {"outside", "[{\"path\": \"../x\", \"type\": \"a.Transformer\"}]", NULL, NULL,
         LOAM_ERR_FORMAT},
        {"absolute", "[{\"path\": \"/etc\", \"type\": \"a.Transformer\"}]", NULL, NULL,
         LOAM_ERR_FORMAT},
        {"no type", "[{\"path\": \"\"}]", NULL, NULL, LOAM_ERR_FORMAT},
        {"unknown", "[" TRANSFORMER ", " POOLING ", {\"path\": \"\", \"type\": \"a.LSTM\"}]", "{}",
         NULL, LOAM_ERR_UNSUPPORTED},
        {"pooling missing", "[" TRANSFORMER ", " POOLING "]", NULL, NULL, LOAM_ERR_NOT_FOUND},
        {"pooling a list", "[" TRANSFORMER ", " POOLING "]", "[]", NULL, LOAM_ERR_FORMAT},
        {"pooling mode", "[" TRANSFORMER ", " POOLING "]", "{\"pooling_mode\": \"best\"}", NULL,
         LOAM_ERR_UNSUPPORTED},
        {"length 0", NULL, NULL, "{\"max_seq_length\": 0}", LOAM_ERR_FORMAT},
        {"length -1", NULL, NULL, "{\"max_seq_length\": -1}", LOAM_ERR_FORMAT},
        {"length 2", NULL, NULL, "{\"max_seq_length\": 2}", LOAM_ERR_FORMAT},
        {"length of text", NULL, NULL, "{\"max_seq_length\": \"many\"}", LOAM_ERR_FORMAT}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        loam_embedder *e = NULL;
        loam_err err = {0};
        reset_folder();
        if (CASES[i].modules) write_text("modules.json", CASES[i].modules);
        if (CASES[i].pooling) write_text("1_Pooling/config.json", CASES[i].pooling);
        if (CASES[i].length) write_text("sentence_bert_config.json", CASES[i].length);
        const loam_status st = open_here(&e, &err);
        CHECK(st == CASES[i].status && !e, "%s: %d: %s", CASES[i].what, (int)st, err.msg);
        loam_embedder_close(e);
    }
}

/* ---- the real model ---- */

enum { N_GOLDEN = 301, GOLDEN_DIM = 384 };

static void check_golden(const char *dir, loam_precision precision, const loam_text *texts,
                         const size_t *n_full, const loam_tensor *want) {
    const loam_embedder_options o = {.pool = pool, .precision = precision};
    static float got[N_GOLDEN][GOLDEN_DIM];
    loam_embedder *e = NULL;
    loam_err err = {0};
    double worst = 0, least = 1, mean = 0;
    const double start = loam_now();
    CHECK(!loam_embedder_open(&e, dir, &o, &err), "%s", err.msg);
    const double opened = loam_now();
    if (!e) return;
    CHECK(loam_embedder_dim(e) == GOLDEN_DIM && loam_embedder_max_tokens(e) == 256, "settings");
    CHECK(!loam_embedder_encode(e, texts, N_GOLDEN, LOAM_EMBED_DOCUMENT, got[0], NULL, &err), "%s",
          err.msg);
    const double done = loam_now();
    for (size_t i = 0; i < N_GOLDEN; i++) {
        size_t n = 0;
        CHECK(!loam_embedder_count_tokens(e, texts[i], &n, &err) && n == n_full[i],
              "text %zu: %zu tokens, want %zu", i, n, n_full[i]);
        double cosine = 0;
        for (size_t c = 0; c < GOLDEN_DIM; c++) {
            const double v =
                (double)loam_read_f32((const char *)want->data + 4 * (i * GOLDEN_DIM + c));
            const double d = fabs((double)got[i][c] - v);
            if (!(d <= worst)) worst = d;
            cosine += v * (double)got[i][c];
        }
        if (!(cosine >= least)) least = cosine;
        mean += cosine / N_GOLDEN;
    }
    CHECK(precision == LOAM_FAST || worst <= 1e-6, "off by %g", worst);
    CHECK(least >= 0.9998 && mean >= 0.99995, "cosine at least %g, mean %g", least, mean);
    printf("MiniLM %s: %d texts within %.2g, cosine at least %.6f, mean %.6f; open %.1f ms, "
           "encode %.0f ms\n",
           precision == LOAM_EXACT ? "exact" : "fast", N_GOLDEN, worst, least, mean,
           (opened - start) * 1e3, (done - opened) * 1e3);
    loam_embedder_close(e);
}

static void test_embedder_golden_minilm(const char *dir) {
    loam_err err = {0};
    loam_buf text = {0};
    loam_arrays *a = NULL;
    static loam_json *docs[N_GOLDEN];
    static loam_text texts[N_GOLDEN];
    static size_t n_full[N_GOLDEN];
    size_t n = 0;
    CHECK(!loam_file_read(&text, "tests/golden/minilm/texts.jsonl", 1 << 24, &err), "%s", err.msg);
    CHECK(!loam_arrays_open(&a, "tests/golden/minilm/embeddings_f32.npy", &err), "%s", err.msg);
    if (!text.data || !a) return;
    for (char *line = text.data, *end; *line && n < N_GOLDEN; line = end + 1, n++) {
        end = strchr(line, '\n');
        CHECK(!loam_json_parse(&docs[n], line, (size_t)(end - line), "texts.jsonl", 0, &err), "%s",
              err.msg);
        const loam_json_value *r = loam_json_root(docs[n]);
        int64_t full = 0;
        texts[n].data = loam_json_string(loam_json_get(r, "text"), &texts[n].n);
        loam_json_int(loam_json_get(r, "n_full"), &full);
        n_full[n] = (size_t)full;
    }
    CHECK(n == N_GOLDEN, "%zu texts", n);
    const loam_tensor *want = loam_arrays_at(a, 0);
    CHECK(want->shape[0] == N_GOLDEN && want->shape[1] == GOLDEN_DIM, "shape");
    check_golden(dir, LOAM_EXACT, texts, n_full, want);
    check_golden(dir, LOAM_FAST, texts, n_full, want);
    for (size_t i = 0; i < n; i++) loam_json_free(docs[i]);
    loam_arrays_close(a);
    loam_buf_deinit(&text);
}

int main(void) {
    char path[512];
    const char *tmp = getenv("TMPDIR"), *minilm = getenv("LOAM_MINILM");
    snprintf(folder, sizeof folder, "%s/loam-test-embedder-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder) || loam_pool_new(&pool, minilm ? 0 : 1, NULL)) return 1;
    path_of(path, "1_Pooling");
    mkdir(path, 0700);
    path_of(path, "2_Dense");
    mkdir(path, 0700);
    test_embedder_pooling_modes();
    test_embedder_prompts();
    test_embedder_cuts_at_max_tokens();
    test_embedder_dense();
    test_embedder_bare_folder_and_batches();
    test_embedder_fingerprint();
    test_embedder_bad_settings();
    if (minilm) test_embedder_golden_minilm(minilm);
    remove_folder();
    loam_pool_free(pool);
    return TEST_END("test_embedder");
}
