/* test_bits.c - one result everywhere: the same ids and the same bits of every logit, vector and
 * score, whatever kernels compute them, on however many threads, however a prompt or a list of
 * texts or queries is cut, with prefixes from a file or read, with prompt lookup or without.
 *
 * What the reference kernels give on one thread, all at once, is what everything is compared to.
 * With LOAM_SMOLLM2 set (make test-models) a model of true size is among them. */
#include "kernels/kernels.h"
#include "llm/session.h"
#include "test.h"
#include <loam/rag.h>
#include <unistd.h>

enum { MAX_PROMPT = 300, MAX_ANSWER = 24, DIM = 32, N_TEXTS = 13 };
static const unsigned THREADS[] = {1, 2, 3, 5};
static const size_t CHUNKS[] = {MAX_PROMPT, 64, 16, 7, 3, 2, 1};
enum { N_THREADS = 4, N_CHUNKS = 7 };

static loam_pool *pools[N_THREADS];
static char file[64]; /* of a session */
static size_t n_answers, n_accepted, n_sets;

static const char *use_kernels(int isa) { /* NULL: not on this machine */
    if (!loam_isa_available((loam_isa)isa)) return NULL;
    CHECK(loam_kernels_init((loam_isa)isa) == (loam_isa)isa, "instruction set %d", isa);
    return loam_cpu_isa();
}

/* ---- language models ---- */

typedef struct answer {
    int32_t ids[MAX_ANSWER];
    size_t n;
    uint64_t prompt, steps; /* hash of the logits behind the prompt; of those at every step */
    uint64_t left;          /* of what the session holds at the end */
} answer;

typedef struct watch {
    answer *a;
    const loam_session *s;
} watch;

static uint64_t hash_logits(const loam_session *s, uint64_t before) {
    return loam_hash(loam_session_logits(s), s->vocab * sizeof(float), before);
}

static int on_step(void *ctx, const loam_step *step) {
    watch *w = ctx;
    w->a->ids[w->a->n++] = step->id;
    w->a->steps = hash_logits(w->s, w->a->steps);
    return 0;
}

/* A text that comes again with changes, so that lookup has something to find. */
static void fill_prompt(int32_t *ids, size_t n, size_t vocab) {
    uint32_t x = 2463534242u;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        ids[i] = i >= 12 && x % 10 ? ids[i - 12] : (int32_t)(x / 16 % (vocab < 250 ? vocab : 250));
    }
}

typedef struct way {
    size_t chunk;
    int from_file, to_file, lookup;
} way;

static answer run(loam_session *s, const int32_t *prompt, size_t n, const way *w) {
    loam_err err = {0};
    answer a = {0};
    watch watched = {&a, s};
    size_t kept = 0;
    loam_generate_result result = {0};
    const loam_generate_options o = {
        .max_tokens = MAX_ANSWER, .ignore_eos = 1, .reuse_prefix = 1, .no_speculation = !w->lookup};
    loam_session_reset(s);
    if (w->from_file)
        CHECK(!loam_session_load(s, file, prompt, n, &kept, &err) && kept == n, "%s", err.msg);
    else
        for (size_t i = 0; i < n; i += w->chunk)
            CHECK(
                !loam_session_feed(s, prompt + i, w->chunk < n - i ? w->chunk : n - i, NULL, &err),
                "%s", err.msg);
    a.prompt = hash_logits(s, 0);
    if (w->to_file) CHECK(!loam_session_save(s, n, file, &err), "%s", err.msg);
    CHECK(!loam_generate(s, prompt, n, &o, on_step, &watched, &result, &err), "%s", err.msg);
    a.left = hash_logits(s, loam_hash(loam_session_ids(s), loam_session_position(s) * 4, 0));
    n_accepted += result.n_accepted;
    n_answers++;
    return a;
}

static void compare(const answer *want, const answer *got, const char *name, const char *isa,
                    unsigned threads, const way *w) {
    const char *more = w->from_file ? ", prefix from a file" : "";
    CHECK(got->prompt == want->prompt, "%s, %s, %u threads, cut to %zu%s: other logits", name, isa,
          threads, w->chunk, more);
    CHECK(got->left == want->left, "%s, %s, %u threads, cut to %zu%s: left otherwise", name, isa,
          threads, w->chunk, more);
    CHECK(got->n == want->n && !memcmp(got->ids, want->ids, sizeof got->ids) &&
              got->steps == want->steps,
          "%s, %s, %u threads, cut to %zu%s%s: another answer", name, isa, threads, w->chunk, more,
          w->lookup ? ", lookup" : "");
}

typedef struct model_case {
    const char *folder;
    size_t n; /* ids of the prompt */
    int all;  /* every number of threads with every cut, else a choice */
    int from; /* the first set of kernels */
} model_case;

typedef struct numbers {
    const char *name;
    loam_precision precision;
    loam_kv_type kv;
} numbers;

/* One set of kernels, one number of threads. */
static void check_threads(const model_case *c, const numbers *k, const char *isa, int t,
                          const int32_t *prompt, answer *want) {
    loam_err err = {0};
    loam_model *m;
    loam_session *s;
    const loam_model_options o = {pools[t], k->precision, k->kv};
    const int is_first = want->n == 0;
    char name[300];
    snprintf(name, sizeof name, "%s %s", c->folder, k->name);
    CHECK(!loam_model_open(&m, c->folder, &o, &err), "%s", err.msg);
    CHECK(m && !loam_session_new(&s, m, c->n + MAX_ANSWER + 8, &err), "%s", err.msg);
    if (is_first) *want = run(s, prompt, c->n, &(way){.chunk = MAX_PROMPT});
    for (size_t i = 0; i < N_CHUNKS; i++) {
        if ((!c->all || !strcmp(isa, "ref")) && i != 0 && i != 3) continue;
        const way w = {.chunk = CHUNKS[i], .to_file = i == 0 && t == 0, .lookup = i % 2 == 0};
        const answer got = run(s, prompt, c->n, &w);
        compare(want, &got, name, isa, THREADS[t], &w);
    }
    /* what one thread wrote to the file */
    for (int lookup = 0; lookup < 2; lookup++) {
        const way w = {.chunk = MAX_PROMPT, .from_file = 1, .lookup = lookup};
        loam_session_free(s); /* a new one: nothing of the prompt stands in it */
        CHECK(!loam_session_new(&s, m, c->n + MAX_ANSWER + 8, &err), "%s", err.msg);
        const answer got = run(s, prompt, c->n, &w);
        compare(want, &got, name, isa, THREADS[t], &w);
    }
    loam_session_free(s);
    loam_model_close(m);
}

static void check_model(const model_case *c) {
    int32_t prompt[MAX_PROMPT];
    static const numbers NUMBERS[] = {{"fast", LOAM_FAST, LOAM_KV_DEFAULT},
                                      {"fast, int8 cache", LOAM_FAST, LOAM_KV_INT8},
                                      {"exact", LOAM_EXACT, LOAM_KV_DEFAULT}};
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        answer want = {0};
        fill_prompt(prompt, c->n, 250);
        for (int isa = c->from; isa < LOAM_ISA_BEST; isa++) {
            const char *name = use_kernels(isa);
            for (int t = 0; name && t < N_THREADS; t++)
                if (t % 3 == 0 || (c->all && isa != LOAM_ISA_REF)) /* the reference is slow */
                    check_threads(c, &NUMBERS[i], name, t, prompt, &want);
        }
    }
}

static void check_models(void) {
    static const struct {
        const char *folder;
        size_t n;
        int all;
    } CASES[] = {{"llama/q4g64", 70, 1},      {"llama/mixed", 70, 1}, {"llama/q4g64bf16", 40, 0},
                 {"llama/q4g32f16", 40, 0},   {"llama/q8g32", 40, 0}, {"llama/q5g32", 40, 0},
                 {"llama/q6g64", 40, 0},      {"llama/q2g64", 40, 0}, {"phi3/q4g64", 40, 0},
                 {"gemma2/q4g64", 40, 0},     {"qwen3/q4g64", 40, 0}, {"starcoder2/f32", 40, 0},
                 {"llama_window/f32", 70, 0}, {"qwen2/q4g64", 270, 0}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char *folder = loam_format("tests/golden/llm/families/%s", CASES[i].folder);
        check_model(&(model_case){folder, CASES[i].n, CASES[i].all, LOAM_ISA_REF});
        free(folder);
    }
    const char *real = getenv("LOAM_SMOLLM2");
    if (real)
        check_model(&(model_case){real, 66, 0, LOAM_ISA_REF + 1}); /* the reference takes minutes */
}

/* ---- sentence encoder ---- */

static const char *const TEXTS[N_TEXTS] = {
    "the river",
    "a",
    "grain and tools",
    "",
    "every summer brings longer days to work in the fields under changing light with careful hands",
    "water",
    "houses near water",
    "people build houses near the water and trade grain for tools",
    "again",
    "light",
    "the",
    "hands",
    "it keeps its course while people trade"};

static void encode(loam_embedder *e, size_t batch, float out[N_TEXTS][DIM]) {
    loam_err err = {0};
    for (size_t i = 0; i < N_TEXTS; i += batch) {
        loam_text t[N_TEXTS];
        const size_t n = batch < N_TEXTS - i ? batch : N_TEXTS - i;
        for (size_t j = 0; j < n; j++) t[j] = (loam_text){TEXTS[i + j], strlen(TEXTS[i + j])};
        CHECK(!loam_embedder_encode(e, t, n, LOAM_EMBED_DOCUMENT, out[i], NULL, &err), "%s",
              err.msg);
    }
}

static void check_encoder(void) {
    static const size_t BATCHES[] = {N_TEXTS, 1, 2, 3, 7};
    static float want[N_TEXTS][DIM], got[N_TEXTS][DIM];
    loam_err err = {0};
    for (int precision = LOAM_FAST; precision <= LOAM_EXACT; precision++) {
        int is_first = 1;
        for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++) {
            const char *name = use_kernels(isa);
            for (int t = 0; name && t < N_THREADS; t++) {
                loam_embedder *e;
                const loam_embedder_options o = {pools[t], (loam_precision)precision};
                CHECK(!loam_embedder_open(&e, "tests/golden/rerank/tiny-bert-ce", &o, &err), "%s",
                      err.msg);
                CHECK(e && loam_embedder_dim(e) == DIM, "an encoder of %d", DIM);
                for (size_t b = 0; b < sizeof BATCHES / sizeof *BATCHES; b++, is_first = 0) {
                    encode(e, BATCHES[b], is_first ? want : got);
                    CHECK(is_first || !memcmp(want, got, sizeof got),
                          "encoder, precision %d, %s, %u threads, %zu at once: other vectors",
                          precision, name, THREADS[t], BATCHES[b]);
                }
                loam_embedder_close(e);
            }
        }
    }
}

/* ---- search ---- */

static void check_search(size_t count, size_t dim) {
    enum { QUERIES = 70, K = 10 };
    static const size_t BATCHES[] = {QUERIES, 1, 3, 64};
    static loam_hit want[QUERIES * K], got[QUERIES * K];
    float *v = loam_alloc((count + QUERIES) * dim, sizeof *v);
    uint32_t x = 2463534242u;
    loam_err err = {0};
    for (size_t i = 0; i < count + QUERIES; i++) {
        float sum = 0;
        for (size_t k = 0; k < dim; k++) {
            x = x * 1664525u + 1013904223u;
            v[i * dim + k] = (float)(int32_t)x * 0x1p-31f;
            sum += v[i * dim + k] * v[i * dim + k];
        }
        for (size_t k = 0; k < dim; k++) v[i * dim + k] /= sqrtf(sum);
    }
    for (int scan = LOAM_SCAN_F32; scan <= LOAM_SCAN_INT8; scan++) {
        int is_first = 1;
        for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++) {
            const char *name = use_kernels(isa);
            for (int t = 0; name && t < N_THREADS; t += isa == LOAM_ISA_REF ? 3 : 1) {
                loam_flat *f;
                CHECK(!loam_flat_new(&f, v, count, dim, &err), "%s", err.msg);
                for (size_t b = 0; b < sizeof BATCHES / sizeof *BATCHES; b++, is_first = 0) {
                    loam_hit *hits = is_first ? want : got;
                    for (size_t q = 0; q < QUERIES; q += BATCHES[b]) {
                        const size_t n = BATCHES[b] < QUERIES - q ? BATCHES[b] : QUERIES - q;
                        CHECK(!loam_flat_search(f, pools[t], (loam_scan)scan, v + (count + q) * dim,
                                                n, hits + q * K, K, NULL, &err),
                              "%s", err.msg);
                    }
                    int same = 1;
                    for (size_t i = 0; !is_first && i < QUERIES * K; i++)
                        same &= got[i].id == want[i].id &&
                                !memcmp(&got[i].score, &want[i].score, sizeof(float));
                    CHECK(same, "search, scan %d of %zu, %s, %u threads, %zu at once: other hits",
                          scan, dim, name, THREADS[t], BATCHES[b]);
                }
                loam_flat_free(f);
            }
        }
    }
    free(v);
}

int main(void) {
    loam_err err = {0};
    snprintf(file, sizeof file, "/tmp/test_bits.XXXXXX");
    const int fd = mkstemp(file);
    if (fd < 0) return 1;
    close(fd);
    for (int t = 0; t < N_THREADS; t++)
        if (loam_pool_new(&pools[t], THREADS[t], &err)) return 1;
    for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++)
        if (use_kernels(isa)) printf("%s%s", n_sets++ ? ", " : "kernels: ", loam_cpu_isa());
    printf("\n");
    check_models();
    check_encoder();
    check_search(900, 100);
    check_search(300, 384);
    unlink(file);
    for (int t = 0; t < N_THREADS; t++) loam_pool_free(pools[t]);
    printf("%zu kernel sets, %zu answers, %zu guesses came true\n", n_sets, n_answers, n_accepted);
    CHECK(n_accepted > 100, "too few guesses came true to tell");
    return TEST_END("test_bits");
}
