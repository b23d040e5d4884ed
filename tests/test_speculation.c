/* test_speculation.c - prompt lookup changes how many passes an answer takes and nothing else:
 * ids, logprobs, draws, stops and the session afterwards are the same bits with and without. */
#include "llm/lookup.h"
#include "llm/session.h"
#include "test.h"

enum { MAX_TOKENS = 200, TOP = 3 };

static loam_pool *pool;
static size_t n_runs, n_drafted, n_accepted, n_saved;

/* Everything a caller can see of an answer. */
typedef struct answer {
    int32_t ids[MAX_TOKENS];
    loam_logprob top[MAX_TOKENS][TOP];
    size_t n, stop_after; /* stop_after 0: never */
    loam_session *session;
    uint64_t seen; /* hash over the logits that each step's callback saw */
    loam_status status;
    loam_generate_result result;
    float *logits;
    int32_t held[1024];
    size_t n_held;
} answer;

static int on_step(void *ctx, const loam_step *step) {
    answer *a = ctx;
    const float *logits = loam_session_logits(a->session);
    if (logits) a->seen = loam_hash(logits, a->session->vocab * sizeof *logits, a->seen);
    a->ids[a->n] = step->id;
    if (step->n_top) memcpy(a->top[a->n], step->top, step->n_top * sizeof *step->top);
    a->n++;
    return a->n == a->stop_after;
}

static void run(answer *a, loam_session *s, const int32_t *prompt, size_t n,
                const loam_generate_options *o, size_t stop_after) {
    loam_err err = {0};
    *a = (answer){.session = s, .stop_after = stop_after};
    loam_session_reset(s);
    a->status = loam_generate(s, prompt, n, o, on_step, a, &a->result, &err);
    a->n_held = loam_session_position(s);
    memcpy(a->held, loam_session_ids(s), a->n_held * sizeof *a->held);
    a->logits = loam_alloc(s->vocab, sizeof *a->logits);
    if (loam_session_logits(s))
        memcpy(a->logits, loam_session_logits(s), s->vocab * sizeof *a->logits);
    /* and what the keys and values behind it are good for */
    const int32_t next = 7;
    if (a->n_held < loam_session_n_ctx(s) && a->n_held > 0 &&
        !loam_session_feed(s, &next, 1, NULL, &err))
        a->seen = loam_hash(loam_session_logits(s), s->vocab * sizeof(float), a->seen);
}

static void compare(const answer *a, const answer *b, size_t vocab, const char *name) {
    CHECK(a->status == b->status, "%s: status %d, not %d", name, b->status, a->status);
    CHECK(a->n == b->n && !memcmp(a->ids, b->ids, sizeof a->ids), "%s: other ids", name);
    CHECK(!memcmp(a->top, b->top, sizeof a->top), "%s: other logprobs", name);
    CHECK(a->result.stop == b->result.stop, "%s: another stop", name);
    CHECK(a->n_held == b->n_held && !memcmp(a->held, b->held, sizeof a->held),
          "%s: the session holds %zu, not %zu", name, b->n_held, a->n_held);
    CHECK(!memcmp(a->logits, b->logits, vocab * sizeof *a->logits), "%s: other logits left", name);
    CHECK(a->seen == b->seen, "%s: a callback or the next feed saw other logits", name);
    CHECK(b->result.n_passes <= a->result.n_passes, "%s: %zu passes, without %zu", name,
          b->result.n_passes, a->result.n_passes);
}

static void check_both(loam_session *s, const int32_t *prompt, size_t n,
                       const loam_generate_options *options, size_t stop_after, const char *name) {
    static answer a, b;
    loam_generate_options o = *options;
    o.no_speculation = 1;
    run(&a, s, prompt, n, &o, stop_after);
    CHECK(a.result.n_drafted == 0, "%s: drafts though told not to", name);
    o.no_speculation = 0;
    run(&b, s, prompt, n, &o, stop_after);
    compare(&a, &b, s->vocab, name);
    n_runs++;
    n_drafted += b.result.n_drafted;
    n_accepted += b.result.n_accepted;
    n_saved += a.result.n_passes - b.result.n_passes;
    free(a.logits);
    free(b.logits);
}

/* A text that comes again with changes: drafts come true for a while. */
static void fill_prompt(int32_t *ids, size_t n, size_t vocab, uint64_t seed) {
    loam_rng r;
    loam_rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        ids[i] = i >= 12 && loam_rng_below(&r, 10) > 0 ? ids[i - 12]
                                                       : (int32_t)loam_rng_below(&r, vocab);
}

static void check_model(const char *folder, loam_precision precision) {
    loam_err err = {0};
    loam_model *m;
    loam_session *s;
    int32_t prompt[60];
    const loam_model_options mo = {.pool = pool, .precision = precision};

    CHECK(!loam_model_open(&m, folder, &mo, &err), "%s", err.msg);
    if (!m) return;
    loam_model_info info;
    loam_model_get_info(m, &info);
    CHECK(!loam_session_new(&s, m, 200, &err), "%s", err.msg);
    fill_prompt(prompt, 60, info.vocab, 5);

    loam_generate_options o = {.max_tokens = 80, .ignore_eos = 1};
    check_both(s, prompt, 60, &o, 0, folder);
    o.n_logprobs = TOP;
    check_both(s, prompt, 60, &o, 0, folder);
    o.ignore_eos = 0;
    for (size_t stop = 1; stop < 24; stop += 1 + stop / 8)
        check_both(s, prompt, 60, &o, stop, folder); /* the callback ends it amid a draft */
    for (size_t max = 0; max < 24; max += 1 + max / 8) {
        o.max_tokens = max;
        check_both(s, prompt, 60, &o, 0, folder);
    }
    o.max_tokens = MAX_TOKENS; /* until the context is full */
    o.ignore_eos = 1;
    check_both(s, prompt, 60, &o, 0, folder);
    /* draws: so cold that much repeats, then so warm that nearly every draft is wrong */
    static const float TEMPERATURES[] = {0.02f, 0.1f, 1.0f};
    for (int i = 0; i < 3; i++) {
        o.max_tokens = 60;
        o.sampling = (loam_sampling){.temperature = TEMPERATURES[i], .seed = 11, .top_p = 0.95f};
        check_both(s, prompt, 60, &o, 0, folder);
        o.sampling.repetition_penalty = 1.1f;
        o.sampling.top_k = 4;
        check_both(s, prompt, 60, &o, 0, folder);
    }
    o.sampling = (loam_sampling){.repetition_penalty = 1.05f};
    check_both(s, prompt, 60, &o, 0, folder);
    loam_session_free(s);

    /* contexts that are full soon: a draft never goes past the end */
    o.sampling = (loam_sampling){0};
    for (size_t n_ctx = 1; n_ctx < 40; n_ctx += 1 + n_ctx / 6) {
        CHECK(!loam_session_new(&s, m, n_ctx, &err), "%s", err.msg);
        check_both(s, prompt, n_ctx < 20 ? (n_ctx + 1) / 2 : 20, &o, 0, folder);
        loam_session_free(s);
    }
    loam_model_close(m);
}

/* A draft that ends in an eos, and a cancel between passes. */
static int cancel_later(void *ctx, const loam_step *step) {
    answer *a = ctx;
    a->ids[a->n++] = step->id;
    if (a->n == a->stop_after) ((loam_cancel *)(uintptr_t)a->seen)->requested = 1;
    return 0;
}

static void check_cancel(const char *folder) {
    loam_err err = {0};
    loam_model *m;
    loam_session *s;
    int32_t prompt[40];
    CHECK(!loam_model_open(&m, folder, &(loam_model_options){.pool = pool}, &err), "%s", err.msg);
    CHECK(!loam_session_new(&s, m, 100, &err), "%s", err.msg);
    fill_prompt(prompt, 40, 500, 9);
    for (size_t after = 1; after < 12; after++) {
        loam_cancel cancel = {0};
        answer a = {.stop_after = after, .seen = (uint64_t)(uintptr_t)&cancel};
        const loam_generate_options o = {.max_tokens = 50, .ignore_eos = 1, .cancel = &cancel};
        loam_session_reset(s);
        CHECK(loam_generate(s, prompt, 40, &o, cancel_later, &a, NULL, &err) == LOAM_ERR_CANCELLED,
              "cancelled");
        const size_t held = loam_session_position(s);
        CHECK(a.n == after && (held == 40 + after || held == 40 + after - 1),
              "cancelled after %zu: the session holds %zu", after, held);
        CHECK(!memcmp(loam_session_ids(s) + 40, a.ids, (held - 40) * sizeof *a.ids),
              "cancelled after %zu: other ids", after);
    }
    loam_session_free(s);
    loam_model_close(m);
}

/* What a session holds of a prompt is not read again, and it makes no difference. */
static void check_reuse(const char *folder, loam_precision precision) {
    static answer a;
    loam_err err = {0};
    loam_model *m;
    loam_session *s, *fresh;
    int32_t prompt[60];
    const loam_model_options mo = {.pool = pool, .precision = precision};
    loam_generate_options o = {.max_tokens = 20, .ignore_eos = 1, .n_logprobs = TOP};

    CHECK(!loam_model_open(&m, folder, &mo, &err), "%s", err.msg);
    CHECK(!loam_session_new(&s, m, 128, &err), "%s", err.msg);
    CHECK(!loam_session_new(&fresh, m, 128, &err), "%s", err.msg);
    fill_prompt(prompt, 60, 500, 3);
    static const struct {
        size_t n, change, reused; /* change: this id differs from here on */
    } STEPS[] = {{60, 60, 0}, {60, 60, 59}, {60, 41, 41}, {30, 41, 29},
                 {50, 0, 0},  {1, 1, 0},    {60, 1, 1}};
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++) {
        answer b = {.session = s};
        prompt[STEPS[i].change % 60] += STEPS[i].change < 60;
        run(&a, fresh, prompt, STEPS[i].n, &o, 0);
        o.reuse_prefix = 1;
        CHECK(!loam_generate(s, prompt, STEPS[i].n, &o, on_step, &b, &b.result, &err), "%s",
              err.msg);
        o.reuse_prefix = 0;
        CHECK(b.result.n_reused == STEPS[i].reused, "%s: step %zu: %zu reused", folder, i,
              b.result.n_reused);
        CHECK(b.result.n_prompt == STEPS[i].n && b.n == 20 && !memcmp(a.ids, b.ids, sizeof a.ids) &&
                  !memcmp(a.top, b.top, sizeof a.top),
              "%s: step %zu: another answer", folder, i);
        free(a.logits);
    }
    /* the whole prompt and its logits are there: nothing is read */
    loam_session_reset(s);
    CHECK(!loam_session_feed(s, prompt, 60, NULL, &err), "%s", err.msg);
    CHECK(loam_session_keep_prefix(s, prompt, 60) == 60 && loam_session_logits(s), "all kept");
    CHECK(loam_session_keep_prefix(s, prompt, 59) == 58 && loam_session_position(s) == 58,
          "the last one of a shorter prompt is read again");
    CHECK(loam_session_keep_prefix(s, prompt, 0) == 0 && loam_session_position(s) == 0, "none");
    o.reuse_prefix = 1;
    int32_t many[129];
    fill_prompt(many, 129, 500, 3);
    CHECK(loam_generate(s, many, 129, &o, NULL, NULL, NULL, &err) == LOAM_ERR_LIMIT &&
              strstr(err.msg, "prompt of 129 tokens is longer than the context of 128"),
          "%s", err.msg);
    CHECK(loam_generate(s, many, 0, &o, NULL, NULL, NULL, &err) == LOAM_ERR_ARGUMENT, "no ids");
    loam_session_free(s);
    loam_session_free(fresh);
    loam_model_close(m);
}

/* The lookup by itself, with passes that cost nothing more for their length. */
static void check_lookup(void) {
    loam_lookup l;
    loam_pass_cost flat;
    int32_t draft[LOAM_MAX_DRAFT];
    const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 2, 3, 4, 99, 30, 1, 2, 3, 4};
    loam_pass_cost_init(&flat);
    for (size_t m = 1; m <= LOAM_MAX_PASS; m++) loam_pass_cost_learn(&flat, m, 0.01);
    loam_lookup_init(&l);
    size_t n = loam_lookup_draft(&l, &flat, ids, 20, 100, draft);
    CHECK(l.match == 4 && n > 0 && draft[0] == 5, "the longest match: %zu, %zu drafted", l.match,
          n);
    CHECK(!l.is_contested, "a single place");
    n = loam_lookup_draft(&l, &flat, ids + 1, 19, 100, draft);
    CHECK(n > 0 && draft[0] == 99, "of equal ones the latest: %d", draft[0]);
    CHECK(l.is_contested && l.match == 3, "two places that go on otherwise");
    loam_lookup_learn(&l, 0);
    CHECK(l.hit[1][3] < l.hit[0][3] && l.hit[0][4] > 0.7, "and it is known of such places only");
    CHECK(loam_lookup_draft(&l, &flat, ids, 20, 1, draft) <= 1, "no more than there is room for");
    CHECK(loam_lookup_draft(&l, &flat, ids, 0, 7, draft) == 0 &&
              loam_lookup_draft(&l, &flat, ids, 1, 7, draft) == 0 &&
              loam_lookup_draft(&l, &flat, ids, 20, 0, draft) == 0,
          "nothing to draft from");
    const int32_t same[] = {5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6};
    n = loam_lookup_draft(&l, &flat, same, 12, 100, draft);
    CHECK(n >= 3 && !l.is_contested, "a repetition: %zu", n);
    for (size_t i = 0; i < n; i++) CHECK(draft[i] == (i % 2 ? 6 : 5), "it goes on");
    /* drafts that never come true get short; ones that do get as long as can be */
    size_t longest = 0;
    for (int i = 0; i < 100; i++)
        if ((n = loam_lookup_draft(&l, &flat, ids, 20, 100, draft)) > 0) loam_lookup_learn(&l, 0);
    CHECK(l.hit[0][4] < 0.1, "hopeless drafts: %.2f", l.hit[0][4]);
    for (int i = 0; i < 400; i++) {
        n = loam_lookup_draft(&l, &flat, ids, 20, 100, draft);
        if (n > longest) longest = n;
        if (n) loam_lookup_learn(&l, n);
    }
    CHECK(longest == LOAM_MAX_DRAFT, "sure drafts: %zu", longest);
}

static size_t draft_for(const loam_pass_cost *c) {
    static const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 2, 3, 4, 5, 6, 7, 8, 9};
    int32_t draft[LOAM_MAX_DRAFT];
    loam_lookup l;
    loam_lookup_init(&l);
    return loam_lookup_draft(&l, c, ids, 19, 100, draft);
}

/* Drafts follow what passes take, and a pass that was held up does not lead astray for long. */
static void check_cost(void) {
    loam_pass_cost c;
    loam_pass_cost_init(&c);
    CHECK(loam_pass_cost_of(&c, 1) == 1.0 && loam_pass_cost_of(&c, 4) > 1.0, "before any pass");
    CHECK(draft_for(&c) >= 3, "a good match is tried before anything is known");
    /* every position costs more than the first: there is nothing to gain */
    for (int i = 0; i < 40; i++)
        for (size_t m = 1; m <= LOAM_MAX_PASS; m++)
            loam_pass_cost_learn(&c, m, 0.011 * (double)m - 0.001);
    CHECK(draft_for(&c) == 0, "dearer than single passes: %zu drafted", draft_for(&c));
    /* cheap up to eight, then a step */
    loam_pass_cost_init(&c);
    for (int i = 0; i < 40; i++)
        for (size_t m = 1; m <= LOAM_MAX_PASS; m++)
            loam_pass_cost_learn(&c, m, m <= 8 ? 0.01 + 0.0005 * (double)m : 0.05);
    CHECK(draft_for(&c) == 7, "up to the step: %zu drafted", draft_for(&c));
    CHECK(fabs(loam_pass_cost_of(&c, 4) - 0.012 / 0.0105) < 0.03, "as timed: %.3f",
          loam_pass_cost_of(&c, 4));
    /* one of any length is held up for 40 s */
    for (size_t m = 1; m <= LOAM_MAX_PASS; m++) {
        loam_pass_cost held = c;
        loam_pass_cost_learn(&held, m, 40.0);
        CHECK(draft_for(&held) >= 4, "held up at %zu: %zu drafted", m, draft_for(&held));
        for (int i = 0; i < 8; i++) loam_pass_cost_learn(&held, m, c.seconds[m]);
        CHECK(fabs(loam_pass_cost_of(&held, m) / loam_pass_cost_of(&c, m) - 1) < 0.05,
              "after it, at %zu: %.3f, not %.3f", m, loam_pass_cost_of(&held, m),
              loam_pass_cost_of(&c, m));
    }
    /* the very first */
    loam_pass_cost_init(&c);
    loam_pass_cost_learn(&c, 1, 40.0);
    for (int i = 0; i < 30; i++) loam_pass_cost_learn(&c, 1, 0.01);
    CHECK(fabs(c.seconds[1] - 0.01) < 0.001, "the first held up: %g", c.seconds[1]);
    /* a length that looks too dear is tried again some time */
    for (int i = 0; i < 4; i++) loam_pass_cost_learn(&c, 4, 0.1);
    const double dear = loam_pass_cost_of(&c, 4);
    for (int i = 0; i < 1500; i++) loam_pass_cost_learn(&c, 1, 0.01);
    CHECK(dear > 2.0 && loam_pass_cost_of(&c, 4) < 2.0, "%.2f, then %.2f", dear,
          loam_pass_cost_of(&c, 4));
}

int main(void) {
    static const char *const FOLDERS[] = {"llama/q4g64", "gemma2/q4g64", "llama_window/f32",
                                          "phi3/q4g64",  "qwen2/q4g64",  "granite/q4g64"};
    loam_err err = {0};
    if (loam_pool_new(&pool, 2, &err)) return 1;
    check_lookup();
    check_cost();
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        char *folder = loam_format("tests/golden/llm/families/%s", FOLDERS[i]);
        if (loam_path_exists(folder)) {
            check_model(folder, LOAM_FAST);
            check_model(folder, LOAM_EXACT);
        }
        free(folder);
    }
    check_cancel("tests/golden/llm/families/llama/q4g64");
    check_reuse("tests/golden/llm/families/llama/q4g64", LOAM_FAST);
    check_reuse("tests/golden/llm/families/llama/q4g64", LOAM_EXACT);
    printf("%zu answers compared, %zu ids drafted, %zu came true, %zu passes less\n", n_runs,
           n_drafted, n_accepted, n_saved);
    CHECK(n_runs > 200 && n_accepted > 1000 && n_drafted > n_accepted + 300,
          "too little was drafted to tell");
    loam_pool_free(pool);
    return TEST_END("test_speculation");
}
