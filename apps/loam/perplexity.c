/* perplexity.c - loam perplexity: how well a model predicts a text, and how much of it `fast` loses.
 *
 * A text longer than the context is read in windows that overlap by half: of every
 * window but the first only the second half is scored, so each token is predicted
 * from at least half a context (all that there is, for the first tokens).
 *
 * To compare, both precisions read the same piece before the next one, so that the logits of a
 * piece are all that is kept.
 */
#include "cli/cli.h"
#include "loam/commands.h"
#include "loam/lines.h"

#include <errno.h>
#include <loam/engine.h>
#include <loam/json.h>
#include <loam/text.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *model, *ids, *precision, *kv;
    int json, tokens, special, compare;
    size_t threads, n_ctx;
} arguments;

static const cli_option OPTIONS[] = {
    {"model", 'm', CLI_STRING, offsetof(arguments, model), "MODEL",
     "model folder or name (required)", 0, 0},
    {"ids", 0, CLI_STRING, offsetof(arguments, ids), "LIST",
     "token ids instead of text, as '[1, 2, 3]'", 0, 0},
    {"special", 0, CLI_FLAG, offsetof(arguments, special), "",
     "begin with the tokenizer's special tokens (default: the text's own tokens only)", 0, 0},
    {"n-ctx", 'c', CLI_SIZE, offsetof(arguments, n_ctx), "N",
     "window (default: the model's context, at most 4096)", 2, 1 << 28},
    {"precision", 0, CLI_CHOICE, offsetof(arguments, precision), "exact|fast",
     "fast: 8-bit activations; exact: f32 (default: fast)", 0, 0},
    {"kv", 0, CLI_CHOICE, offsetof(arguments, kv), "f16|int8",
     "keys and values in fast; int8 takes half the memory and is less precise (default: f16)", 0,
     0},
    {"compare", 0, CLI_FLAG, offsetof(arguments, compare), "",
     "read it in exact and in fast: perplexity of both, agreement, divergence", 0, 0},
    {"threads", 't', CLI_SIZE, offsetof(arguments, threads), "N",
     "threads (default: the CPUs this process may use)", 0, 256},
    {"tokens", 0, CLI_FLAG, offsetof(arguments, tokens), "",
     "with --json: the negative log-likelihood of every token", 0, 0},
    {"json", 0, CLI_FLAG, offsetof(arguments, json), "", "one JSON object", 0, 0},
    {0}};

static const char EXAMPLES[] =
    "  loam perplexity --model models/smollm2 book.txt\n"
    "  loam perplexity -m models/smollm2 --precision exact --json < book.txt\n"
    "  loam perplexity -m models/smollm2 --compare --kv int8 book.txt\n";

static const cli_program PROGRAM = {
    "loam perplexity",
    "--model MODEL [OPTIONS] [FILE...]",
    "negative log-likelihood per token and perplexity of a text (default: standard input)",
    OPTIONS,
    EXAMPLES,
    0,
    SIZE_MAX};

enum { PIECE = 256, COMPARED_PIECE = 32 }; /* positions between looks at Ctrl-C */

/* What is known of the prediction at one position. */
typedef struct prediction {
    double nll; /* of the token that follows */
    size_t top; /* the most likely token */
    double kl;  /* divergence of this prediction from exact, when compared */
} prediction;

/* A session reading a window, and what it predicts. */
typedef struct reader {
    loam_model *model;
    loam_session *session;
    prediction *made; /* [n ids] */
} reader;

typedef struct scorer {
    const int32_t *ids; /* of the window */
    size_t n, first;    /* ids in the window; the first position whose successor counts */
    size_t offset;      /* positions of the window read before this piece */
    size_t vocab;
    prediction *made;        /* [n] */
    const prediction *exact; /* [n], when this prediction is to be compared */
    float *logits;           /* [COMPARED_PIECE, vocab] of exact: written, then compared with */
} scorer;

/* Largest logit and the log of the sum of exp(logit - top). */
static double log_sum(const float *logits, size_t n, size_t *top) {
    float most = logits[0], sum = 0.0f;
    *top = 0;
    for (size_t j = 1; j < n; j++) {
        if (!(logits[j] > most)) continue;
        most = logits[j];
        *top = j;
    }
    /* In f32 and in order, as the reference program sums: its figures are what ours are
     * compared with.  Double would give 1.4e-4 more at 49,152 entries. */
    for (size_t j = 0; j < n; j++) sum += expf(logits[j] - most);
    /* cppcheck-suppress invalidFunctionArg; the largest logit adds 1 to the sum */
    return (double)most + log((double)sum);
}

/* sum p (log p - log q) of the distributions behind the logits a and b; in double, as the terms
 * cancel. */
static double divergence(const float *a, const float *b, size_t n, size_t top_a, size_t top_b) {
    double sum_a = 0.0, sum_b = 0.0, sum = 0.0;
    for (size_t j = 0; j < n; j++) {
        const double x = (double)(a[j] - a[top_a]), y = (double)(b[j] - b[top_b]), p = exp(x);
        sum_a += p;
        sum_b += exp(y);
        sum += p * (x - y);
    }
    /* cppcheck-suppress invalidFunctionArg; the largest logit adds 1 to each sum */
    return sum / sum_a - log(sum_a) + log(sum_b);
}

static void score(void *ctx, size_t i, const float *logits) {
    scorer *s = ctx;
    const size_t at = s->offset + i;
    if (at + 1 >= s->n || at < s->first) return;
    size_t top;
    const double all = log_sum(logits, s->vocab, &top);
    s->made[at] = (prediction){all - (double)logits[s->ids[at + 1]], top, 0.0};
    if (!s->logits) return;
    float *exact = s->logits + i * s->vocab;
    if (s->exact)
        s->made[at].kl = divergence(exact, logits, s->vocab, s->exact[at].top, top);
    else
        memcpy(exact, logits, s->vocab * sizeof *logits);
}

/* All readers through the window at ids[start]; the second is compared with the first. */
static void score_window(const reader *readers, size_t n_readers, scorer *s, size_t start) {
    const size_t piece = n_readers > 1 ? COMPARED_PIECE : PIECE;
    loam_err err = {0};
    for (size_t i = 0; i < n_readers; i++) loam_session_reset(readers[i].session);
    for (s->offset = 0; s->offset < s->n;) {
        const size_t m = s->n - s->offset < piece ? s->n - s->offset : piece;
        for (size_t i = 0; i < n_readers; i++) {
            if (cli_cancel.requested) exit(cli_finish(CLI_EXIT_SIGINT));
            s->made = readers[i].made + start;
            s->exact = i ? readers[0].made + start : NULL;
            if (loam_session_feed_all(readers[i].session, s->ids + s->offset, m, score, s, &err))
                cli_die(&err);
        }
        s->offset += m;
    }
}

/* made[i] of ids[i + 1], i = 0 .. n - 2. */
static void score_all(const reader *readers, size_t n_readers, const loam_ids *ids, size_t vocab) {
    const size_t window = loam_session_n_ctx(readers[0].session);
    const size_t step = window > 1 ? window / 2 : 1;
    cli_progress *progress = cli_progress_new("perplexity", ids->n, "tokens");
    float *logits = NULL;

    if (n_readers > 1 && !(logits = calloc(COMPARED_PIECE * vocab, sizeof *logits)))
        cli_fail(CLI_EXIT_RESOURCES, "logits: out of memory");
    for (size_t start = 0;; start += step) {
        const size_t n = ids->n - start < window ? ids->n - start : window;
        /* the last prediction of the window before was for ids[start - step + window - 1] */
        scorer s = {
            ids->ids + start, n, start ? window - step - 1 : 0, 0, vocab, NULL, NULL, logits};
        score_window(readers, n_readers, &s, start);
        cli_progress_set(progress, start + n, ids->n);
        if (start + n == ids->n) break;
    }
    cli_progress_end(progress);
    free(logits);
}

static void read_files(const cli_strings *files, loam_buf *out) {
    char bytes[1 << 16];
    if (files->n == 0) cli_read_stdin(out);
    for (size_t i = 0; i < files->n; i++) {
        FILE *f = fopen(files->items[i], "rb");
        size_t n;
        if (!f)
            cli_fail(errno == ENOENT ? CLI_EXIT_NOT_FOUND : CLI_EXIT_RUNTIME, "%s: cannot read: %s",
                     files->items[i], strerror(errno));
        while ((n = fread(bytes, 1, sizeof bytes, f)) > 0) loam_buf_append(out, bytes, n);
        if (ferror(f))
            cli_fail(CLI_EXIT_RUNTIME, "%s: cannot read: %s", files->items[i], strerror(errno));
        fclose(f);
    }
    if (out->failed) cli_fail(CLI_EXIT_RESOURCES, "text: out of memory");
}

static void read_ids(const arguments *a, const char *folder, const cli_strings *files,
                     loam_ids *out) {
    loam_tokenizer *tok = NULL;
    loam_buf text = {0};
    loam_err err = {0};
    if (a->ids) {
        lines_ids(a->ids, out);
    } else {
        if (loam_tokenizer_open(&tok, folder, &err)) cli_die(&err);
        read_files(files, &text);
        if (loam_tokenizer_encode(tok, text.data ? text.data : "", text.n,
                                  a->special ? LOAM_ENCODE_SPECIAL : 0, out, &err))
            cli_die(&err);
    }
    if (out->n < 2)
        cli_fail(CLI_EXIT_USAGE, "the text has %zu tokens; at least 2 are needed", out->n);
    loam_tokenizer_close(tok);
    loam_buf_deinit(&text);
}

static double mean_nll(const prediction *made, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += made[i].nll;
    return sum / (double)n;
}

static void put_number(loam_buf *b, const char *name, double x) {
    loam_buf_printf(b, ", \"%s\": ", name);
    loam_json_put_number(b, x);
}

static void print_json(const loam_buf *b) {
    if (b->failed) cli_fail(CLI_EXIT_RESOURCES, "result: out of memory");
    fwrite(b->data, 1, b->n, stdout);
}

static void print_result(const arguments *a, const prediction *made, size_t n, size_t n_ctx) {
    const double mean = mean_nll(made, n);
    if (!a->json) {
        printf("tokens      %zu\nmean nll    %.6f\nperplexity  %.4f\n", n + 1, mean, exp(mean));
        return;
    }
    loam_buf b = {0};
    loam_buf_printf(&b, "{\"tokens\": %zu, \"scored\": %zu, \"n_ctx\": %zu", n + 1, n, n_ctx);
    put_number(&b, "mean_nll", mean);
    put_number(&b, "perplexity", exp(mean));
    for (size_t i = 0; a->tokens && i < n; i++) {
        loam_buf_puts(&b, i ? ", " : ", \"nll\": [");
        loam_json_put_float(&b, (float)made[i].nll);
    }
    loam_buf_puts(&b, a->tokens ? "]}\n" : "}\n");
    print_json(&b);
    loam_buf_deinit(&b);
}

/* How far fast is from exact.  The mean difference of the log-likelihoods has an error of its
 * own, as a text is a sample: a short one may say too much or too little. */
static void print_comparison(const arguments *a, const prediction *exact, const prediction *fast,
                             size_t n, size_t n_ctx) {
    const double e = mean_nll(exact, n), f = mean_nll(fast, n);
    double same = 0.0, kl = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double d = fast[i].nll - exact[i].nll - (f - e);
        squares += d * d;
        same += exact[i].top == fast[i].top;
        kl += fast[i].kl;
    }
    const double error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0.0;
    const double excess = exp(f - e) - 1.0;
    if (!a->json) {
        printf("tokens               %zu\n"
               "perplexity, exact    %.4f\n"
               "perplexity, fast     %.4f   (%+.2f %% +- %.2f)\n"
               "same first choice    %.2f %%\n"
               "mean divergence      %.6f nats\n",
               n + 1, exp(e), exp(f), 100 * excess, 100 * error, 100 * same / (double)n,
               kl / (double)n);
        return;
    }
    loam_buf b = {0};
    loam_buf_printf(&b, "{\"tokens\": %zu, \"scored\": %zu, \"n_ctx\": %zu", n + 1, n, n_ctx);
    put_number(&b, "mean_nll_exact", e);
    put_number(&b, "mean_nll_fast", f);
    put_number(&b, "perplexity_exact", exp(e));
    put_number(&b, "perplexity_fast", exp(f));
    put_number(&b, "excess", excess);
    put_number(&b, "excess_error", error);
    put_number(&b, "agreement", same / (double)n);
    put_number(&b, "divergence", kl / (double)n);
    loam_buf_puts(&b, "}\n");
    print_json(&b);
    loam_buf_deinit(&b);
}

static void open_reader(reader *r, const char *folder, const loam_model_options *o, size_t n_ctx,
                        size_t n_ids) {
    loam_err err = {0};
    if (loam_model_open(&r->model, folder, o, &err)) cli_die(&err);
    if (loam_session_new(&r->session, r->model, n_ctx, &err)) cli_die(&err);
    r->made = calloc(n_ids, sizeof *r->made);
    if (!r->made) cli_fail(CLI_EXIT_RESOURCES, "result: out of memory");
}

static void close_reader(reader *r) {
    free(r->made);
    loam_session_free(r->session);
    loam_model_close(r->model);
}

int loam_cmd_perplexity(int argc, char **argv) {
    arguments a = {0};
    cli_strings files = {0};
    loam_ids ids = {0};
    reader readers[2] = {0};
    loam_model_info info;

    cli_parse(&PROGRAM, argc, argv, &a, &files);
    if (!a.model) cli_fail(CLI_EXIT_USAGE, "--model is missing: a model folder or name");
    if (a.ids && files.n) cli_fail(CLI_EXIT_USAGE, "--ids and files exclude each other");
    if (a.compare && (a.precision || a.tokens))
        cli_fail(CLI_EXIT_USAGE, "--compare goes without --precision and --tokens");
    const loam_kv_type kv = cli_kv(a.kv, a.precision);
    const size_t n_readers = a.compare ? 2 : 1;
    char *folder = cli_find_model(a.model);
    loam_pool *pool = cli_pool(a.threads);
    read_ids(&a, folder, &files, &ids);
    const loam_model_options exact = {.pool = pool, .precision = LOAM_EXACT};
    const loam_model_options asked = {pool, cli_precision(a.precision), kv};
    open_reader(&readers[0], folder, a.compare ? &exact : &asked, a.n_ctx, ids.n);
    if (a.compare) open_reader(&readers[1], folder, &asked, a.n_ctx, ids.n);
    loam_model_get_info(readers[0].model, &info);
    const size_t n_ctx = loam_session_n_ctx(readers[0].session);
    score_all(readers, n_readers, &ids, info.vocab);
    if (a.compare)
        print_comparison(&a, readers[0].made, readers[1].made, ids.n - 1, n_ctx);
    else
        print_result(&a, readers[0].made, ids.n - 1, n_ctx);
    for (size_t i = 0; i < n_readers; i++) close_reader(&readers[i]);
    loam_ids_deinit(&ids);
    loam_pool_free(pool);
    free(folder);
    return CLI_EXIT_OK;
}
