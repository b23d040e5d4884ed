/* answer.c - passages to prompt, prompt to a streamed answer, answer to checked citations. */
#include "rag/rag.h"

#include <loam/chat.h>
#include <loam/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Wordings were tried on questions inside and outside the documents: this one keeps a 1.5B
 * model to full sentences; the second keeps it from answering what no passage speaks of. */
static const char INSTRUCTIONS[] =
    "Use the context to answer the question in full sentences. Cite the number of the passage you "
    "used, like [1]. If the answer is not in the context, say that you do not know.";
static const char UNRELATED[] =
    "The context was found by a search, but it may have nothing to do with the question. If the "
    "context does not hold the answer, say only: I do not know.";

enum { LINE_HYPHENS = 60, DEFAULT_CTX = 4096 };

typedef struct stream {
    loam_detok *detok;
    loam_buf text; /* the whole answer */
    int print;
    loam_err err;
} stream;

static void show(stream *s, size_t from) {
    if (!s->print || s->text.n == from) return;
    cli_stdout_text(s->text.data + from, s->text.n - from);
    cli_flush();
}

static int on_step(void *ctx, const loam_step *step) {
    stream *s = ctx;
    const size_t from = s->text.n;
    if (loam_detok_push(s->detok, step->id, &s->text, &s->err)) return 1;
    show(s, from);
    return ferror(stdout) != 0;
}

static void put_prompt(loam_buf *b, loam_text question, const rag_contexts *c) {
    loam_buf_printf(b, "%s\n\nContext:\n", rag_related(c) ? INSTRUCTIONS : UNRELATED);
    for (size_t i = 0; i < c->n; i++) {
        loam_buf_printf(b, "[%zu] ", i + 1);
        loam_buf_append(b, c->items[i].chunk.text.data, c->items[i].chunk.text.n);
        loam_buf_puts(b, "\n\n");
    }
    loam_buf_puts(b, "Question: ");
    loam_buf_append(b, question.data, question.n);
}

static loam_status encode_prompt(const rag_app *app, loam_text question, const rag_contexts *c,
                                 loam_ids *ids, loam_err *err) {
    loam_buf user = {0};
    loam_chat_message m[2];
    size_t n = 0;
    put_prompt(&user, question, c);
    if (user.failed) return loam_fail(err, LOAM_ERR_MEMORY, "prompt");
    if (app->args->system)
        m[n++] = (loam_chat_message){"system", app->args->system, strlen(app->args->system)};
    m[n++] = (loam_chat_message){"user", user.data, user.n};
    ids->n = 0;
    loam_chat_options o = {0};
    o.now = cli_clock(&o.utc);
    const loam_status st = loam_chat_encode(app->tokenizer, app->template, m, n, &o, ids, err);
    loam_buf_deinit(&user);
    return st;
}

static size_t context_limit(const rag_app *app) {
    loam_model_info info;
    loam_model_get_info(app->model, &info);
    const size_t most = info.n_ctx_max ? info.n_ctx_max : DEFAULT_CTX;
    return app->args->n_ctx && app->args->n_ctx < most ? app->args->n_ctx : most;
}

/* The passages that fit beside the question and the answer's share: the lowest-ranked go first.
 * A quarter of the context, or what --max-tokens asks for if that is less, is kept for the answer. */
static loam_status fit_prompt(rag_app *app, loam_text question, rag_contexts *c, loam_ids *ids,
                              loam_err *err) {
    const size_t limit = context_limit(app), share = limit / 4;
    const size_t room = limit - (app->args->max_tokens < share ? app->args->max_tokens : share);
    const size_t all = c->n;
    for (;;) {
        const loam_status st = encode_prompt(app, question, c, ids, err);
        if (st) return st;
        if (ids->n <= room) break;
        if (c->n <= 1)
            return loam_fail(err, LOAM_ERR_LIMIT,
                             "the question and one passage take %zu tokens, the context holds %zu: "
                             "ask a shorter question",
                             ids->n, limit);
        c->n--;
    }
    if (c->n < all)
        cli_warn("the context holds %zu tokens: %zu of %zu passages were left out", limit,
                 all - c->n, all);
    return LOAM_OK;
}

/* One session serves all questions; a longer prompt than ever gets a larger one. */
static loam_status prepare_session(rag_app *app, size_t n_prompt, loam_err *err) {
    const size_t limit = context_limit(app);
    size_t need = n_prompt + app->args->max_tokens;
    if (need > limit) need = limit;
    if (app->session && loam_session_n_ctx(app->session) >= need) return LOAM_OK;
    loam_session_free(app->session);
    app->session = NULL;
    if (need < DEFAULT_CTX / 2) need = DEFAULT_CTX / 2 < limit ? DEFAULT_CTX / 2 : limit;
    return loam_session_new(&app->session, app->model, need, err);
}

static void print_sources(const rag_contexts *c, size_t n_good) {
    loam_buf b = {0};
    if (n_good == 0) {
        printf("\nSources: none cited that the passages support\n");
        return;
    }
    loam_buf_puts(&b, "\nSources:\n");
    for (size_t i = 0; i < c->n; i++) {
        if (!c->items[i].cited) continue;
        loam_buf_printf(&b, "[%zu] ", i + 1);
        rag_put_place(&b, &c->items[i].chunk);
        loam_buf_puts(&b, c->items[i].cited == RAG_MATCHED ? " (matched by wording)\n" : "\n");
    }
    if (b.data) cli_stdout_text(b.data, b.n);
    loam_buf_deinit(&b);
}

void rag_put_context_json(loam_buf *b, const rag_context *c, size_t number) {
    loam_buf_printf(b, "{\"number\":%zu,\"id\":%llu,\"score\":", number, (unsigned long long)c->id);
    loam_json_put_float(b, c->score);
    loam_buf_puts(b, ",\"rerank_score\":");
    loam_json_put_float(b, c->rerank_score);
    loam_buf_puts(b, ",\"source\":");
    loam_json_put_string(b, c->chunk.source.data, c->chunk.source.n);
    if (c->chunk.page > 0)
        loam_buf_printf(b, ",\"page\":%lld", (long long)c->chunk.page);
    else
        loam_buf_puts(b, ",\"page\":null");
    if (c->chunk.begin >= 0)
        loam_buf_printf(b, ",\"begin\":%lld,\"end\":%lld", (long long)c->chunk.begin,
                        (long long)c->chunk.end);
    else
        loam_buf_puts(b, ",\"begin\":null,\"end\":null");
    if (c->chunk.begin >= 0) /* the same as loam search --json says it */
        loam_buf_printf(b, ",\"span\":[%lld,%lld]", (long long)c->chunk.begin,
                        (long long)c->chunk.end);
    else
        loam_buf_puts(b, ",\"span\":null");
    loam_buf_puts(b, ",\"text\":");
    loam_json_put_string(b, c->chunk.text.data, c->chunk.text.n);
    loam_buf_putc(b, '}');
}

static void print_json(loam_text question, const rag_contexts *c, const stream *s,
                       const loam_generate_result *r) {
    static const char *stops[] = {"length", "eos", "cancelled", "context"};
    loam_buf b = {0};
    loam_buf_puts(&b, "{\"question\":");
    loam_json_put_string(&b, question.data, question.n);
    loam_buf_puts(&b, ",\"answer\":");
    loam_json_put_string(&b, s->text.data ? s->text.data : "", s->text.n);
    loam_buf_printf(&b, ",\"related\":%s,\"contexts\":[", rag_related(c) ? "true" : "false");
    for (size_t i = 0; i < c->n; i++) {
        if (i) loam_buf_putc(&b, ',');
        rag_put_context_json(&b, &c->items[i], i + 1);
    }
    loam_buf_puts(&b, "],\"citations\":[");
    for (size_t i = 0, n = 0; i < c->n; i++) {
        if (!c->items[i].cited) continue;
        loam_buf_printf(&b, "%s{\"number\":%zu,\"by\":\"%s\"}", n++ ? "," : "", i + 1,
                        c->items[i].cited == RAG_MATCHED ? "wording" : "model");
    }
    loam_buf_printf(&b,
                    "],\"stop\":\"%s\",\"prompt_tokens\":%zu,\"reused_tokens\":%zu,"
                    "\"tokens\":%zu,\"speculation\":{\"passes\":%zu,\"drafted\":%zu,"
                    "\"accepted\":%zu},\"timings\":{\"prefill\":%.6f,\"first_token\":%.6f,"
                    "\"decode\":%.6f}}\n",
                    stops[r->stop], r->n_prompt, r->n_reused, r->n_tokens, r->n_passes,
                    r->n_drafted, r->n_accepted, r->prefill_seconds, r->first_token_seconds,
                    r->decode_seconds);
    if (b.failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    fwrite(b.data, 1, b.n, stdout);
    cli_flush();
    loam_buf_deinit(&b);
}

static void print_answer_text(rag_app *app, const stream *s, const rag_contexts *c, size_t n_good) {
    if (app->args->no_stream && s->text.n) cli_stdout_text(s->text.data, s->text.n);
    printf("\n");
    print_sources(c, n_good);
    printf("\n");
    for (int i = 0; i < LINE_HYPHENS; i++) putchar('-');
    printf("\n\n");
    cli_flush();
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static loam_status generate(rag_app *app, const loam_ids *ids, stream *s, loam_generate_result *r,
                            loam_err *err) {
    const loam_generate_options o = {
        .max_tokens = app->args->max_tokens,
        .sampling = {.temperature = app->args->temp, .seed = app->args->seed},
        .cancel = &cli_cancel,
        .reuse_prefix = 1,
        .no_speculation = app->args->no_speculation};
    loam_status st = prepare_session(app, ids->n, err);
    const double start = seconds();
    if (!st) rag_prefix_load(app, ids);
    const double loading = seconds() - start;
    if (!st) st = loam_detok_new(&s->detok, app->tokenizer, LOAM_DECODE_SKIP_SPECIAL, err);
    if (!st) st = loam_generate(app->session, ids->ids, ids->n, &o, on_step, s, r, err);
    r->prefill_seconds += loading;
    r->first_token_seconds += loading;
    if (s->detok) {
        const size_t from = s->text.n;
        loam_detok_flush(s->detok, &s->text);
        show(s, from);
    }
    if (!st && s->err.status) {
        *err = s->err;
        st = s->err.status;
    }
    return st;
}

int rag_answer(rag_app *app, loam_text question, rag_contexts *c) {
    loam_ids ids = {0};
    loam_err err = {0};
    loam_generate_result result = {0};
    stream s = {.print = !app->args->json && !app->args->no_stream};
    int code = CLI_EXIT_OK;

    loam_status st = fit_prompt(app, question, c, &ids, &err);
    if (!st && !app->args->json) {
        rag_print_contexts(c);
        if (!rag_related(c))
            printf("\n[!] No passage looks related to the question (best score %.2f).\n",
                   (double)c->items[0].score);
        printf("\n💬 Answer:\n");
        cli_flush();
    }
    if (!st) st = generate(app, &ids, &s, &result, &err);
    if (st == LOAM_ERR_CANCELLED) {
        if (!app->args->json) printf("\n[stopped]\n\n");
        code = CLI_EXIT_SIGINT;
    } else if (st) {
        cli_error("question: %s", err.msg);
        code = cli_exit_code(st);
    } else {
        const size_t n_good = rag_cite((loam_text){s.text.data ? s.text.data : "", s.text.n}, c);
        if (app->args->json)
            print_json(question, c, &s, &result);
        else
            print_answer_text(app, &s, c, n_good);
        rag_prefix_save(app, &result); /* nobody waits for it any more */
        if (app->args->require_citations && n_good == 0) code = CLI_EXIT_CITATION;
    }
    loam_detok_free(s.detok);
    loam_buf_deinit(&s.text);
    loam_ids_deinit(&ids);
    return code;
}
