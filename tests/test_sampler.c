/* test_sampler.c - the sampling steps against mlx-lm's, draws against their probabilities,
 * stop strings against a search in the whole text. */
#include "llm/sampler.h"
#include "test.h"
#include <loam/json.h>
#include <loam/tensor.h>

enum { MAX_VOCAB = 1000 };

static double number(const loam_json_value *args, const char *key) {
    double v = 0;
    loam_json_number(loam_json_get(args, key), &v);
    return v;
}

static size_t read_array(const loam_arrays *a, const char *name, float *out) {
    loam_err err = {0};
    const loam_tensor *t = loam_arrays_find(a, name);
    CHECK(t && loam_tensor_count(t) <= MAX_VOCAB, "%s", name);
    if (!t || loam_tensor_to_f32(t, 0, loam_tensor_count(t), out, &err)) return 0;
    return (size_t)loam_tensor_count(t);
}

/* The last `context` tokens of a case. */
static size_t read_tokens(const loam_json_value *args, int32_t *out) {
    const loam_json_value *list = loam_json_get(args, "tokens");
    const size_t all = loam_json_count(list), context = (size_t)number(args, "context");
    const size_t n = all < context ? all : context;
    for (size_t i = 0; i < n; i++) {
        int64_t id = 0;
        loam_json_int(loam_json_at(list, all - n + i), &id);
        out[i] = (int32_t)id;
    }
    return n;
}

/* Runs one step on x; 0: not a step of loam's. */
static int apply(const char *op, const loam_json_value *args, float *x, size_t n) {
    float scratch[MAX_VOCAB];
    int32_t tokens[64];
    if (strcmp(op, "top_p") == 0)
        loam_sample_top_p(x, n, (float)number(args, "top_p"), scratch);
    else if (strcmp(op, "min_p") == 0 && number(args, "min_tokens_to_keep") == 1)
        loam_sample_min_p(x, n, (float)number(args, "min_p"));
    else if (strcmp(op, "top_k") == 0)
        loam_sample_top_k(x, n, (size_t)number(args, "top_k"), scratch);
    else if (strcmp(op, "chain") == 0) {
        loam_sample_top_p(x, n, (float)number(args, "top_p"), scratch);
        loam_sample_min_p(x, n, (float)number(args, "min_p"));
        loam_sample_top_k(x, n, (size_t)number(args, "top_k"), scratch);
    } else if (strcmp(op, "repetition_penalty") == 0)
        loam_sample_penalise(x, tokens, read_tokens(args, tokens), (float)number(args, "penalty"));
    else
        return 0;
    return 1;
}

/* Equal where the reference kept; a dropped or kept entry may differ only among equal values at
 * the edge of top-k, and then as many as there are on the other side. */
static void compare(const char *name, const float *got, const float *want, const float *before,
                    size_t n, int ties) {
    size_t more = 0, fewer = 0;
    float edge = 0;
    for (size_t i = 0; i < n; i++) {
        const int kept = got[i] > -INFINITY, wanted = want[i] > -INFINITY;
        if (kept && wanted)
            CHECK(fabsf(got[i] - want[i]) <= 1e-5f, "%s[%zu]: %g, not %g", name, i, (double)got[i],
                  (double)want[i]);
        if (kept == wanted) continue;
        CHECK(ties && (more + fewer == 0 || before[i] == edge), "%s[%zu]: %s", name, i,
              kept ? "kept" : "dropped");
        edge = before[i];
        more += kept != 0;
        fewer += wanted != 0;
    }
    CHECK(more == fewer, "%s: %zu kept too many, %zu too few", name, more, fewer);
}

static void test_reference(void) {
    loam_arrays *a = NULL;
    loam_json *doc = NULL;
    loam_err err = {0};
    size_t n_cases = 0;
    static float x[MAX_VOCAB], want[MAX_VOCAB], before[MAX_VOCAB];

    CHECK(!loam_arrays_open(&a, "tests/golden/llm/samplers/samplers.safetensors", &err), "%s",
          err.msg);
    CHECK(!loam_json_read(&doc, "tests/golden/llm/samplers/samplers.json", 0, 0, &err), "%s",
          err.msg);
    if (!a || !doc) return;
    for (const loam_json_value *c = loam_json_first(loam_json_root(doc)); c;
         c = loam_json_next(c)) {
        char name[64];
        const char *op = loam_json_string(loam_json_get(c, "op"), NULL);
        const char *result = loam_json_string(loam_json_get(c, "result"), NULL);
        snprintf(name, sizeof name, "%s.%s", loam_json_string(loam_json_get(c, "vector"), NULL),
                 loam_json_string(loam_json_get(c, "from"), NULL));
        const size_t n = read_array(a, name, x);
        memcpy(before, x, n * sizeof *x);
        read_array(a, result, want);
        if (strcmp(op, "argmax") == 0) {
            CHECK((float)loam_sample_argmax(x, n) == want[0], "%s: %zu", result,
                  loam_sample_argmax(x, n));
            n_cases++;
        } else if (apply(op, loam_json_get(c, "args"), x, n)) {
            compare(result, x, want, before, n,
                    strcmp(op, "top_k") == 0 || strcmp(op, "chain") == 0);
            n_cases++;
        }
    }
    static const char *const VECTORS[] = {"v64",    "v1000",  "flat64",
                                          "peak64", "ties64", "v1000_sharp"};
    for (size_t i = 0; i < 6; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.logits", VECTORS[i]);
        const size_t n = read_array(a, name, x);
        snprintf(name, sizeof name, "%s.logprobs", VECTORS[i]);
        read_array(a, name, want);
        loam_sample_log_softmax(x, n, x);
        compare(name, x, want, want, n, 0);
        n_cases++;
    }
    printf("%zu sampling steps compared\n", n_cases);
    CHECK(n_cases >= 145, "%zu cases", n_cases);
    loam_json_free(doc);
    loam_arrays_close(a);
}

/* Frequencies of 200,000 draws against softmax(x / t): within five standard deviations. */
static void test_draws(void) {
    const float logits[6] = {0.5f, 2.0f, -1.0f, 0.0f, -INFINITY, 1.0f};
    const size_t n_draws = 200000;
    for (int warm = 0; warm < 2; warm++) {
        const float t = warm ? 1.7f : 0.6f;
        size_t count[6] = {0};
        double total = 0;
        loam_rng rng;
        loam_rng_seed(&rng, 42);
        for (size_t i = 0; i < n_draws; i++)
            count[loam_sample_draw(logits, 6, t, loam_rng_uniform(&rng))]++;
        for (int i = 0; i < 6; i++) total += exp((double)logits[i] / (double)t);
        for (int i = 0; i < 6; i++) {
            const double p = exp((double)logits[i] / (double)t) / total;
            const double sd = sqrt(p * (1 - p) * (double)n_draws);
            CHECK(fabs((double)count[i] - p * (double)n_draws) <= 5 * sd,
                  "t %g, id %d: %zu of %zu, p %g", (double)t, i, count[i], n_draws, p);
        }
        CHECK(count[4] == 0, "a dropped id was drawn");
    }
    CHECK(loam_sample_draw(logits, 6, 1.0f, 0.0) == 0, "u = 0");
    CHECK(loam_sample_draw(logits, 6, 1.0f, 1.0 - 1e-17) == 5, "u near 1");
}

/* Large vectors with many equal values: top-k keeps exactly k, top-p the same as by sorting all. */
/* Against its meaning, the first that no other is greater than: ties, infinities and NaN anywhere. */
static void test_argmax(void) {
    static const float some[] = {NAN, -INFINITY, INFINITY, 0.0f, -0.0f, 3.0f, 3.0f, -3.0f};
    float x[300];
    uint32_t state = 1;
    for (size_t turn = 0; turn < 6000; turn++) {
        const size_t n = 1 + turn % 300, kinds = turn % 3 ? 8 : 2;
        size_t want = 0;
        for (size_t i = 0; i < n; i++) {
            state = state * 1664525u + 1013904223u;
            x[i] = state >> 29 < turn % 8 ? some[(state >> 20) % kinds]
                                          : (float)(int32_t)(state & 0xfff00) - 5e5f;
        }
        for (size_t i = 1; i < n; i++)
            if (x[i] > x[want]) want = i;
        CHECK(loam_sample_argmax(x, n) == want, "turn %zu: %zu, want %zu", turn,
              loam_sample_argmax(x, n), want);
    }
}

static void test_large(void) {
    enum { N = 50000 };
    static float x[N], y[N], scratch[N];
    static loam_logprob top[N];
    loam_rng rng;
    loam_rng_seed(&rng, 7);
    for (size_t i = 0; i < N; i++) x[i] = (float)(int)(loam_rng_uniform(&rng) * 40.0) * 0.3f;
    loam_sample_log_softmax(x, N, x);
    for (size_t k = 1; k < N; k = k * 3 + 1) {
        memcpy(y, x, sizeof x);
        loam_sample_top_k(y, N, k, scratch);
        size_t kept = 0;
        for (size_t i = 0; i < N; i++) kept += y[i] > -INFINITY;
        CHECK(kept == k, "top-k %zu kept %zu", k, kept);
    }
    loam_sample_top(x, N, 500, top);
    for (size_t i = 1; i < 500; i++)
        CHECK(top[i - 1].logprob > top[i].logprob ||
                  (top[i - 1].logprob == top[i].logprob && top[i - 1].id < top[i].id),
              "order at %zu", i);
    for (int p = 1; p < 100; p += 7) {
        memcpy(y, x, sizeof x);
        loam_sample_top_p(y, N, (float)p / 100.0f, scratch);
        double mass = 0, smallest = 1, dropped = -1e9;
        for (size_t i = 0; i < N; i++) {
            if (y[i] > -INFINITY) {
                mass += exp((double)y[i]);
                if (exp((double)y[i]) < smallest) smallest = exp((double)y[i]);
            } else if ((double)x[i] > dropped)
                dropped = (double)x[i];
        }
        /* enough mass; without the ties at the edge it would be too little */
        size_t ties = 0;
        for (size_t i = 0; i < N; i++) ties += y[i] > -INFINITY && exp((double)y[i]) == smallest;
        CHECK(mass >= (double)p / 100 - 1e-6 &&
                  mass - (double)ties * smallest < (double)p / 100 + 1e-6,
              "top-p %d: mass %g", p, mass);
        CHECK(dropped < log(smallest), "top-p %d dropped more likely ones", p);
    }
}

/* Any cut of a text into pieces shows the text up to the first stop string. */
static void check_stops(const char *text, const char *const *stops, size_t n_stops) {
    const size_t n = strlen(text);
    size_t want = n;
    for (size_t i = 0; i < n_stops; i++) {
        const char *p = strstr(text, stops[i]);
        if (p && (size_t)(p - text) < want) want = (size_t)(p - text);
    }
    for (size_t cut = 1; cut <= n; cut++) {
        loam_stops *s;
        loam_buf out = {0};
        int stopped = 0;
        size_t at = 0;
        loam_err err = {0};
        CHECK(!loam_stops_new(&s, stops, n_stops, &err), "%s", err.msg);
        for (; at < n && !stopped; at += cut) {
            stopped = loam_stops_push(s, text + at, n - at < cut ? n - at : cut, &out);
            CHECK(out.n <= want && !memcmp(out.data ? out.data : "", text, out.n),
                  "'%s' cut %zu shows too much", text, cut);
        }
        loam_stops_flush(s, &out);
        CHECK(stopped == (want < n), "'%s' cut %zu: stopped %d", text, cut, stopped);
        CHECK(out.n == want, "'%s' cut %zu: %zu of %zu shown", text, cut, out.n, want);
        CHECK(!stopped || loam_stops_push(s, "more", 4, &out) == 1, "goes on after a stop");
        CHECK(out.n == want, "text after the stop");
        loam_buf_deinit(&out);
        loam_stops_free(s);
    }
}

static void test_stops(void) {
    static const char *const STOPS[] = {"\n\n", "User:", "aab", "</s>"};
    static const char *const TEXTS[] = {
        "Hello world", "Answer.\n\nUser: more", "aaaaab", "aaab</s>", "no stop <", "Use r Us",
        "</s",         "ab\naab\n\n",           "x\n",    "UserUser:"};
    loam_err err = {0};
    loam_stops *s;
    const char *empty = "";
    for (size_t t = 0; t < sizeof TEXTS / sizeof *TEXTS; t++)
        for (size_t n = 0; n <= 4; n++) check_stops(TEXTS[t], STOPS, n);
    CHECK(loam_stops_new(&s, &empty, 1, &err) == LOAM_ERR_ARGUMENT && !s, "an empty stop string");
}

int main(void) {
    test_reference();
    test_draws();
    test_argmax();
    test_large();
    test_stops();
    return TEST_END("test_sampler");
}
