/* generate.c - loam generate: a prompt through a language model, streamed. */
#include "cli/cli.h"
#include "loam/commands.h"
#include "loam/lines.h"

#include <loam/chat.h>
#include <loam/engine.h>
#include <loam/json.h>
#include <loam/text.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *model, *prompt, *ids, *system, *precision, *kv;
    int raw, ignore_eos, json, no_speculation;
    size_t max_tokens, top_k, logprobs, threads, n_ctx;
    float temperature, top_p, min_p, repetition_penalty;
    uint64_t seed;
    cli_strings stops;
} arguments;

static const cli_option OPTIONS[] = {
    {"model", 'm', CLI_STRING, offsetof(arguments, model), "MODEL",
     "model folder or name (required)", 0, 0},
    {"prompt", 'p', CLI_STRING, offsetof(arguments, prompt), "TEXT",
     "what to answer (default: standard input)", 0, 0},
    {"ids", 0, CLI_STRING, offsetof(arguments, ids), "LIST",
     "token ids instead of text, as '[1, 2, 3]'; no tokenizer is needed", 0, 0},
    {"raw", 0, CLI_FLAG, offsetof(arguments, raw), "",
     "continue the text as it is, without the model's chat template; special tokens in it count", 0,
     0},
    {"system", 0, CLI_STRING, offsetof(arguments, system), "TEXT",
     "system message before the prompt", 0, 0},
    {"max-tokens", 'n', CLI_SIZE, offsetof(arguments, max_tokens), "N",
     "most tokens to write (default: 256)", 0, 1e9},
    {"ignore-eos", 0, CLI_FLAG, offsetof(arguments, ignore_eos), "",
     "go on after the end-of-answer token", 0, 0},
    {"stop", 0, CLI_STRINGS, offsetof(arguments, stops), "TEXT",
     "end the answer before this text; may be given several times", 0, 0},
    {"temp", 0, CLI_FLOAT, offsetof(arguments, temperature), "T",
     "temperature; 0 takes the likeliest token (default: 0)", 0, 100},
    {"top-p", 0, CLI_FLOAT, offsetof(arguments, top_p), "P",
     "keep the likeliest tokens that hold P (default: 1, off)", 0, 1},
    {"top-k", 0, CLI_SIZE, offsetof(arguments, top_k), "K",
     "keep the K likeliest tokens (default: 0, off)", 0, 1e9},
    {"min-p", 0, CLI_FLOAT, offsetof(arguments, min_p), "P",
     "keep tokens at least P times as likely as the likeliest (default: 0, off)", 0, 1},
    {"repetition-penalty", 0, CLI_FLOAT, offsetof(arguments, repetition_penalty), "R",
     "divide the logits of the last 20 tokens by R (default: 1, off)", 0, 100},
    {"seed", 's', CLI_U64, offsetof(arguments, seed), "N", "seed of the draws (default: 0)", 0, 0},
    {"logprobs", 0, CLI_SIZE, offsetof(arguments, logprobs), "K",
     "with --json: the K likeliest tokens of each step with their log probabilities", 0, 1000},
    {"precision", 0, CLI_CHOICE, offsetof(arguments, precision), "exact|fast",
     "fast: 8-bit activations; exact: f32 (default: fast)", 0, 0},
    {"kv", 0, CLI_CHOICE, offsetof(arguments, kv), "f16|int8",
     "keys and values; int8 takes half the memory and is less precise (default: f16)", 0, 0},
    {"n-ctx", 'c', CLI_SIZE, offsetof(arguments, n_ctx), "N",
     "room for N tokens (default: what prompt and answer need, at least 4096, at most the model's)",
     0, 1 << 28},
    {"no-speculation", 0, CLI_FLAG, offsetof(arguments, no_speculation), "",
     "read the answer's tokens one by one; by default repeated text is guessed, with the same "
     "result",
     0, 0},
    {"threads", 't', CLI_SIZE, offsetof(arguments, threads), "N",
     "threads (default: the CPUs this process may use)", 0, 256},
    {"json", 0, CLI_FLAG, offsetof(arguments, json), "",
     "one JSON object with ids, text, log probabilities, timings", 0, 0},
    {0}};

static const char EXAMPLES[] =
    "  loam generate --model models/qwen2.5-coder-1.5b --prompt \"What is a mutex?\"\n"
    "  echo \"Write a haiku about rain.\" | loam generate -m models/smollm2 --temp 0.8 --seed 7\n"
    "  loam generate -m models/smollm2 --raw --prompt \"The capital of France is\" -n 8 --stop .\n"
    "  loam generate -m models/smollm2 --ids '[1, 2, 3]' --ignore-eos --logprobs 5 --json\n";

static const cli_program PROGRAM = {"loam generate",
                                    "--model MODEL [OPTIONS]",
                                    "let a language model answer or continue a text",
                                    OPTIONS,
                                    EXAMPLES,
                                    0,
                                    0};

/* What on_step needs; the answer is written or collected as it comes. */
typedef struct answer {
    const arguments *a;
    loam_detok *detok; /* NULL: no tokenizer */
    loam_stops *stops;
    loam_buf piece, shown; /* text of one step; what may be shown of it */
    loam_buf text;         /* all that was shown */
    loam_buf logprobs;     /* JSON */
    loam_ids ids;
    loam_err err;
    int stopped; /* by a stop string */
} answer;

static void show(answer *w) {
    loam_buf_append(&w->text, w->shown.data, w->shown.n);
    if (!w->a->json && w->shown.n) {
        cli_stdout_text(w->shown.data, w->shown.n);
        cli_flush();
    }
    loam_buf_clear(&w->shown);
}

static void put_logprobs(loam_buf *b, const loam_step *step) {
    loam_buf_puts(b, b->n ? ", [" : "[");
    for (size_t i = 0; i < step->n_top; i++) {
        loam_buf_printf(b, "%s[%d, ", i ? ", " : "", step->top[i].id);
        loam_json_put_float(b, step->top[i].logprob);
        loam_buf_putc(b, ']');
    }
    loam_buf_putc(b, ']');
}

static int on_step(void *ctx, const loam_step *step) {
    answer *w = ctx;
    if (!loam_ids_push(&w->ids, step->id)) w->err.status = LOAM_ERR_MEMORY;
    if (step->n_top) put_logprobs(&w->logprobs, step);
    if (w->detok) {
        loam_buf_clear(&w->piece);
        if (loam_detok_push(w->detok, step->id, &w->piece, &w->err)) return 1;
        w->stopped = loam_stops_push(w->stops, w->piece.data, w->piece.n, &w->shown);
        show(w);
    } else if (!w->a->json) {
        printf(w->ids.n > 1 ? " %d" : "%d", step->id);
        cli_flush();
    }
    return w->stopped || w->err.status != LOAM_OK;
}

static void finish_text(answer *w) {
    if (w->detok) {
        loam_buf_clear(&w->piece);
        loam_detok_flush(w->detok, &w->piece);
        if (!w->stopped)
            w->stopped = loam_stops_push(w->stops, w->piece.data, w->piece.n, &w->shown);
        loam_stops_flush(w->stops, &w->shown);
        show(w);
    }
    if (!w->a->json && (!w->detok || w->text.n == 0 || w->text.data[w->text.n - 1] != '\n'))
        putchar('\n');
}

static void read_prompt(const arguments *a, loam_buf *out) {
    if (a->prompt) {
        loam_buf_puts(out, a->prompt);
    } else {
        cli_read_stdin(out);
        /* the newline of echo is not part of a question; of a text to continue it is */
        if (!a->raw && out->n && out->data[out->n - 1] == '\n') out->data[--out->n] = 0;
    }
    if (out->failed) cli_fail(CLI_EXIT_RESOURCES, "prompt: out of memory");
    if (out->n == 0) cli_fail(CLI_EXIT_USAGE, "the prompt is empty");
}

/* The prompt's ids: as given, the text as it is, or a user message in the chat template. */
static void make_prompt(const arguments *a, const char *folder, const loam_tokenizer *tok,
                        loam_ids *out) {
    loam_template *tmpl = NULL;
    loam_buf text = {0};
    loam_err err = {0};

    if (a->ids) {
        lines_ids(a->ids, out);
        return;
    }
    read_prompt(a, &text);
    if (!a->raw && loam_template_open(&tmpl, folder, &err) && err.status != LOAM_ERR_NOT_FOUND)
        cli_die(&err);
    if (tmpl) {
        int utc;
        const int64_t now = cli_clock(&utc);
        loam_chat_message m[2] = {{"system", a->system, a->system ? strlen(a->system) : 0},
                                  {"user", text.data, text.n}};
        if (loam_chat_encode(tok, tmpl, a->system ? m : m + 1, a->system ? 2 : 1,
                             &(loam_chat_options){.now = now, .utc = utc}, out, &err))
            cli_die(&err);
    } else {
        loam_buf all = {0};
        if (a->system) loam_buf_printf(&all, "%s\n\n", a->system);
        loam_buf_append(&all, text.data, text.n);
        const unsigned flags = LOAM_ENCODE_SPECIAL | (a->raw ? LOAM_ENCODE_PARSE_SPECIAL : 0);
        if (loam_tokenizer_encode(tok, all.data, all.n, flags, out, &err)) cli_die(&err);
        loam_buf_deinit(&all);
    }
    loam_template_free(tmpl);
    loam_buf_deinit(&text);
}

/* Prompt and answer, at least 4096 positions, at most what the model was made for. */
static size_t choose_context(const arguments *a, const loam_model *m, size_t n_prompt) {
    loam_model_info info;
    loam_model_get_info(m, &info);
    if (a->n_ctx) return a->n_ctx;
    size_t n = n_prompt + (a->max_tokens < info.n_ctx_max ? a->max_tokens : info.n_ctx_max);
    if (n < 4096) n = 4096;
    return n < info.n_ctx_max ? n : info.n_ctx_max;
}

static void put_ids(loam_buf *b, const char *key, const loam_ids *ids) {
    loam_buf_printf(b, "\"%s\": [", key);
    for (size_t i = 0; i < ids->n; i++) loam_buf_printf(b, "%s%d", i ? ", " : "", ids->ids[i]);
    loam_buf_puts(b, "], ");
}

static void put_time(loam_buf *b, const char *key, double v, int last) {
    loam_buf_printf(b, "\"%s\": ", key);
    loam_json_put_float(b, (float)v);
    loam_buf_puts(b, last ? "}" : ", ");
}

static const char *stop_name(const answer *w, const loam_generate_result *r, loam_status st) {
    static const char *const NAMES[] = {"length", "eos", "stop", "context"};
    return st == LOAM_ERR_CANCELLED ? "cancelled" : w->stopped ? "stop" : NAMES[r->stop];
}

static void print_json(answer *w, const loam_ids *prompt, const loam_generate_result *r,
                       loam_status st, double load) {
    loam_buf b = {0};
    const double decoded = r->n_tokens > 1 ? (double)(r->n_tokens - 1) : 0.0;
    loam_buf_putc(&b, '{');
    put_ids(&b, "prompt_ids", prompt);
    put_ids(&b, "ids", &w->ids);
    if (w->detok) {
        loam_buf_puts(&b, "\"text\": ");
        loam_json_put_string(&b, w->text.n ? w->text.data : "", w->text.n);
        loam_buf_puts(&b, ", ");
    }
    loam_buf_printf(&b,
                    "\"logprobs\": [%s], \"stop\": \"%s\", \"speculation\": {\"passes\": %zu, "
                    "\"drafted\": %zu, \"accepted\": %zu}, \"timings\": {",
                    w->logprobs.n ? w->logprobs.data : "", stop_name(w, r, st), r->n_passes,
                    r->n_drafted, r->n_accepted);
    put_time(&b, "load", load, 0);
    put_time(&b, "first_token", r->first_token_seconds, 0);
    put_time(&b, "prefill", r->prefill_seconds, 0);
    put_time(&b, "decode", r->decode_seconds, 0);
    put_time(&b, "prefill_tokens_per_second",
             r->prefill_seconds > 0 ? (double)r->n_prompt / r->prefill_seconds : 0.0, 0);
    put_time(&b, "decode_tokens_per_second",
             r->decode_seconds > 0 ? decoded / r->decode_seconds : 0.0, 1);
    loam_buf_puts(&b, "}\n");
    if (b.failed || w->logprobs.failed || w->text.failed)
        cli_fail(CLI_EXIT_RESOURCES, "reply: out of memory");
    fwrite(b.data, 1, b.n, stdout);
    loam_buf_deinit(&b);
}

static void check_usage(const arguments *a) {
    if (!a->model) cli_fail(CLI_EXIT_USAGE, "--model is missing: a model folder or name");
    if (a->prompt && a->ids) cli_fail(CLI_EXIT_USAGE, "--prompt and --ids exclude each other");
    if (a->raw && a->system)
        cli_fail(CLI_EXIT_USAGE, "--raw takes the text as it is; --system needs the chat template");
    if (a->logprobs && !a->json) cli_fail(CLI_EXIT_USAGE, "--logprobs needs --json");
}

/* Everything after the options: returns the exit code. */
static int run(const arguments *a, const char *folder, loam_pool *pool) {
    const loam_model_options options = {
        .pool = pool, .precision = cli_precision(a->precision), .kv = cli_kv(a->kv, a->precision)};
    loam_model *model = NULL;
    loam_session *session = NULL;
    loam_tokenizer *tok = NULL;
    loam_ids prompt = {0};
    loam_err err = {0};
    answer w = {.a = a};

    double start = loam_now();
    if (loam_model_open(&model, folder, &options, &err)) cli_die(&err);
    double load = loam_now() - start;
    if (loam_tokenizer_open(&tok, folder, &err)) {
        if (!a->ids) cli_die(&err);
        if (err.status != LOAM_ERR_NOT_FOUND) cli_warn("%s; going on without text", err.msg);
    }
    make_prompt(a, folder, tok, &prompt);
    start = loam_now();
    if (loam_session_new(&session, model, choose_context(a, model, prompt.n), &err)) cli_die(&err);
    load += loam_now() - start;
    /* special tokens are shown, as decoding the ids in Python shows them; eos ends the answer */
    if (tok && loam_detok_new(&w.detok, tok, 0, &err)) cli_die(&err);
    if (loam_stops_new(&w.stops, a->stops.items, a->stops.n, &err)) cli_die(&err);

    loam_generate_result r;
    const loam_generate_options o = {
        .max_tokens = a->max_tokens,
        .ignore_eos = a->ignore_eos,
        .n_logprobs = a->logprobs,
        .no_speculation = a->no_speculation,
        .cancel = &cli_cancel,
        .sampling = {.temperature = a->temperature,
                     .top_p = a->top_p,
                     .min_p = a->min_p,
                     .top_k = a->top_k > UINT32_MAX ? 0 : (uint32_t)a->top_k,
                     .repetition_penalty = a->repetition_penalty,
                     .seed = a->seed}};
    const loam_status st = loam_generate(session, prompt.ids, prompt.n, &o, on_step, &w, &r, &err);
    if (st && st != LOAM_ERR_CANCELLED) cli_die(&err);
    finish_text(&w);
    if (w.err.status) cli_die(&w.err);
    if (a->json)
        print_json(&w, &prompt, &r, st, load);
    else if (r.stop == LOAM_STOP_CONTEXT && !st)
        cli_warn("the context of %zu tokens is full", loam_session_n_ctx(session));

    loam_detok_free(w.detok);
    loam_stops_free(w.stops);
    loam_buf_deinit(&w.piece);
    loam_buf_deinit(&w.shown);
    loam_buf_deinit(&w.text);
    loam_buf_deinit(&w.logprobs);
    loam_ids_deinit(&w.ids);
    loam_ids_deinit(&prompt);
    loam_session_free(session);
    loam_tokenizer_close(tok);
    loam_model_close(model);
    return st ? CLI_EXIT_SIGINT : CLI_EXIT_OK;
}

int loam_cmd_generate(int argc, char **argv) {
    arguments a = {.max_tokens = 256, .top_p = 1.0f, .repetition_penalty = 1.0f};
    cli_strings rest = {0};
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    check_usage(&a);
    char *folder = cli_find_model(a.model);
    loam_pool *pool = cli_pool(a.threads);
    const int code = run(&a, folder, pool);
    loam_pool_free(pool);
    free(folder);
    return code;
}
