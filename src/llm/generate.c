/* generate.c - prompt in, ids out: feed, sample, stop. */
#include "llm/lookup.h"
#include "llm/sampler.h"
#include "llm/session.h"
#include <math.h>

enum { DEFAULT_WINDOW = 20, MAX_WINDOW = 4096, MAX_LOGPROBS = 1000 };

/* Memory of one call, taken before the first token. */
typedef struct run {
    loam_session *s;
    const loam_generate_options *o;
    loam_rng rng;
    int32_t *recent; /* ring of the last `window` ids */
    size_t window, n_recent, next;
    loam_logprob *top;
    size_t n_top;
    loam_lookup lookup;
    int32_t pass[LOAM_MAX_DRAFT + 1]; /* the newest id, then guesses of what follows */
    size_t n_guesses;                 /* of this pass */
    size_t n_true;                    /* of them, so far */
    size_t position;                  /* the session's, but for guesses that have not come true */
    loam_generate_result *result;
} run;

static loam_status check_options(const loam_generate_options *o, loam_err *err) {
    const loam_sampling *p = &o->sampling;
    if (!(p->temperature >= 0.0f && p->temperature <= 100.0f))
        return loam_fail(err, LOAM_ERR_ARGUMENT, "temperature %g is outside 0 .. 100",
                         (double)p->temperature);
    if (!(p->top_p >= 0.0f && p->top_p <= 1.0f))
        return loam_fail(err, LOAM_ERR_ARGUMENT, "top-p %g is outside 0 .. 1", (double)p->top_p);
    if (!(p->min_p >= 0.0f && p->min_p <= 1.0f))
        return loam_fail(err, LOAM_ERR_ARGUMENT, "min-p %g is outside 0 .. 1", (double)p->min_p);
    if (!(p->repetition_penalty >= 0.0f && p->repetition_penalty <= 100.0f))
        return loam_fail(err, LOAM_ERR_ARGUMENT, "repetition penalty %g is outside 0 .. 100",
                         (double)p->repetition_penalty);
    if (p->repetition_window > MAX_WINDOW)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "repetition window %u is more than %d",
                         p->repetition_window, MAX_WINDOW);
    if (o->n_logprobs > MAX_LOGPROBS)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%zu logprobs a token are more than %d",
                         o->n_logprobs, MAX_LOGPROBS);
    return LOAM_OK;
}

static void remember(run *r, int32_t id) {
    if (r->window == 0) return;
    r->recent[r->next] = id;
    r->next = (r->next + 1) % r->window;
    if (r->n_recent < r->window) r->n_recent++;
}

static loam_status start_run(run *r, loam_session *s, const loam_generate_options *o,
                             loam_generate_result *result, loam_err *err) {
    const float penalty = o->sampling.repetition_penalty;

    *r = (run){.s = s, .o = o, .result = result};
    loam_lookup_init(&r->lookup);
    loam_rng_seed(&r->rng, o->sampling.seed);
    r->window =
        penalty > 0.0f && penalty != 1.0f
            ? (o->sampling.repetition_window ? o->sampling.repetition_window : DEFAULT_WINDOW)
            : 0;
    r->n_top = o->n_logprobs < s->vocab ? o->n_logprobs : s->vocab;
    r->recent = loam_alloc(r->window, sizeof *r->recent);
    r->top = loam_alloc(r->n_top, sizeof *r->top);
    if (!r->recent || !r->top) return loam_fail(err, LOAM_ERR_MEMORY, "no memory to sample with");
    return o->no_speculation ? LOAM_OK : loam_session_make_rows(s, err);
}

/* The next id from the session's logits; r->top is filled when asked for. */
static int32_t sample(run *r) {
    loam_session *s = r->s;
    const loam_sampling *p = &r->o->sampling;
    const size_t n = s->vocab;

    if (p->temperature == 0.0f && r->n_top == 0 && r->window == 0)
        return (int32_t)loam_sample_argmax(s->logits, n);
    memcpy(s->logprobs, s->logits, n * sizeof *s->logprobs);
    if (r->window) loam_sample_penalise(s->logprobs, r->recent, r->n_recent, p->repetition_penalty);
    /* the choice is made before the log softmax: its rounding may make ties */
    const int32_t best = (int32_t)loam_sample_argmax(s->logprobs, n);
    if (p->temperature == 0.0f && r->n_top == 0) return best;
    loam_sample_log_softmax(s->logprobs, n, s->logprobs);
    loam_sample_top(s->logprobs, n, r->n_top, r->top);
    if (p->temperature == 0.0f) return best;
    if (p->top_p > 0.0f && p->top_p < 1.0f) loam_sample_top_p(s->logprobs, n, p->top_p, s->sort);
    if (p->min_p > 0.0f) loam_sample_min_p(s->logprobs, n, p->min_p);
    if (p->top_k > 0) loam_sample_top_k(s->logprobs, n, p->top_k, s->sort);
    return (int32_t)loam_sample_draw(s->logprobs, n, p->temperature, loam_rng_uniform(&r->rng));
}

static int is_eos(const loam_model *m, int32_t id) {
    const int32_t *eos;
    const size_t n = loam_model_eos(m, &eos);
    for (size_t i = 0; i < n; i++)
        if (eos[i] == id) return 1;
    return 0;
}

/* End of a pass: of its guesses the session keeps those that came true. */
static void settle(run *r) {
    if (r->n_guesses == 0) return;
    loam_lookup_learn(&r->lookup, r->n_true);
    r->result->n_accepted += r->n_true;
    loam_session_settle(r->s, r->position, r->n_true);
    r->n_guesses = 0;
}

/* How many ids may follow the newest one in a pass. */
static size_t room_for_guesses(const run *r) {
    const size_t positions = loam_session_n_ctx(r->s) - r->position - 1;
    const size_t wanted = r->o->max_tokens - r->result->n_tokens - 1; /* the last is not read */
    size_t most = loam_timeline_chunk(r->s->timeline) - 1;
    if (most > LOAM_MAX_DRAFT) most = LOAM_MAX_DRAFT;
    if (most > positions) most = positions;
    return most < wanted ? most : wanted;
}

/* Guesses behind `id` into r->pass: what may follow the session's ids and this one. */
static size_t guess(run *r, int32_t id) {
    loam_session *s = r->s;
    r->pass[0] = id;
    if (r->o->no_speculation) return 0;
    s->ids[r->position] = id; /* there is room for it; the feed puts it there again */
    return loam_lookup_draft(&r->lookup, &s->pass_cost, s->ids, r->position + 1,
                             room_for_guesses(r), r->pass + 1);
}

/* Read `id`: nothing to do when it was guessed, else a pass over it and new guesses. */
static loam_status advance(run *r, int32_t id, loam_err *err) {
    loam_session *s = r->s;
    if (r->n_true < r->n_guesses && r->pass[r->n_true + 1] == id) {
        r->n_true++;
        r->position++;
        s->logits = s->all_logits + r->n_true * s->vocab;
        return LOAM_OK;
    }
    settle(r);
    const size_t n = guess(r, id);
    loam_status st = LOAM_ERR_FORMAT;
    double start = loam_now();
    r->result->n_passes++;
    if (n) st = loam_session_feed_rows(s, r->pass, n + 1, r->o->cancel, err);
    if (st == LOAM_ERR_FORMAT) { /* no guess, or one that the weights cannot take */
        start = loam_now();
        st = loam_session_feed(s, &id, 1, r->o->cancel, err);
        if (!st) loam_pass_cost_learn(&s->pass_cost, 1, loam_now() - start);
    } else if (!st) {
        loam_pass_cost_learn(&s->pass_cost, n + 1, loam_now() - start);
        r->result->n_drafted += n;
        r->n_guesses = n;
        s->logits = s->all_logits;
    }
    r->n_true = 0;
    if (!st) r->position++;
    return st;
}

/* Sample and feed until something stops it; sets result->stop and counts. */
static loam_status decode(run *r, int (*on_step)(void *ctx, const loam_step *step), void *ctx,
                          double start, loam_err *err) {
    loam_generate_result *result = r->result;

    result->stop = LOAM_STOP_LENGTH;
    while (result->n_tokens < r->o->max_tokens) {
        if (r->o->cancel && r->o->cancel->requested)
            return loam_fail(err, LOAM_ERR_CANCELLED, "cancelled");
        const int32_t id = sample(r);
        if (result->n_tokens == 0) result->first_token_seconds = loam_now() - start;
        if (!r->o->ignore_eos && is_eos(r->s->model, id)) {
            result->stop = LOAM_STOP_EOS;
            break;
        }
        result->n_tokens++;
        remember(r, id);
        if (on_step && on_step(ctx, &(loam_step){id, r->n_top ? r->top : NULL, r->n_top})) {
            result->stop = LOAM_STOP_CALLER;
            break;
        }
        if (result->n_tokens == r->o->max_tokens) break;
        if (r->position == loam_session_n_ctx(r->s)) {
            result->stop = LOAM_STOP_CONTEXT;
            break;
        }
        const loam_status st = advance(r, id, err);
        if (st) return st;
    }
    return LOAM_OK;
}

/* The prompt, but for what the session holds of it. */
static loam_status read_prompt(run *r, const int32_t *prompt, size_t n, loam_err *err) {
    loam_session *s = r->s;
    loam_status st = LOAM_OK;

    if (r->o->reuse_prefix) {
        if (n > loam_session_n_ctx(s))
            return loam_fail(err, LOAM_ERR_LIMIT,
                             "prompt of %zu tokens is longer than the context of %zu", n,
                             loam_session_n_ctx(s));
        r->result->n_reused = loam_session_keep_prefix(s, prompt, n);
    }
    const size_t kept = r->result->n_reused;
    if (kept < n || n == 0) st = loam_session_feed(s, prompt + kept, n - kept, r->o->cancel, err);
    if (st) return st;
    for (size_t i = 0; i < n; i++) remember(r, prompt[i]); /* ids are checked by now */
    r->position = loam_session_position(s);
    return LOAM_OK;
}

loam_status loam_generate(loam_session *s, const int32_t *prompt, size_t n,
                          const loam_generate_options *o,
                          int (*on_step)(void *ctx, const loam_step *step), void *ctx,
                          loam_generate_result *result, loam_err *err) {
    const double start = loam_now();
    loam_generate_result unused;
    run r = {0};
    loam_status st = check_options(o, err);

    if (!result) result = &unused;
    *result = (loam_generate_result){.n_prompt = n};
    if (st) return st;
    st = start_run(&r, s, o, result, err);
    if (!st) st = read_prompt(&r, prompt, n, err);
    result->prefill_seconds = loam_now() - start;
    if (!st) {
        st = decode(&r, on_step, ctx, start, err);
        settle(&r);
        if (result->n_tokens)
            result->decode_seconds = loam_now() - start - result->first_token_seconds;
    }
    free(r.recent);
    free(r.top);
    return st;
}
