/* perplexity.c - loam perplexity: how well a model predicts a text.
 *
 * A text longer than the context is read in windows that overlap by half: of every
 * window but the first only the second half is scored, so each token is predicted
 * from at least half a context (all that there is, for the first tokens).
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
    const char *model, *ids, *precision;
    int json, tokens, special;
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
    {"threads", 't', CLI_SIZE, offsetof(arguments, threads), "N",
     "threads (default: the CPUs this process may use)", 0, 256},
    {"tokens", 0, CLI_FLAG, offsetof(arguments, tokens), "",
     "with --json: the negative log-likelihood of every token", 0, 0},
    {"json", 0, CLI_FLAG, offsetof(arguments, json), "", "one JSON object", 0, 0},
    {0}};

static const char EXAMPLES[] =
    "  loam perplexity --model models/smollm2 book.txt\n"
    "  loam perplexity -m models/smollm2 --precision exact --json < book.txt\n";

static const cli_program PROGRAM = {
    "loam perplexity",
    "--model MODEL [OPTIONS] [FILE...]",
    "negative log-likelihood per token and perplexity of a text (default: standard input)",
    OPTIONS,
    EXAMPLES,
    0,
    SIZE_MAX};

enum { PIECE = 256 }; /* positions between looks at Ctrl-C */

typedef struct scorer {
    const int32_t *ids; /* of the window */
    size_t n, first;    /* ids in the window; the first position whose successor counts */
    size_t offset;      /* positions of the window read before this piece */
    size_t vocab;
    double *nll; /* [n]: of ids[i + 1] at i */
} scorer;

static void score(void *ctx, size_t i, const float *logits) {
    scorer *s = ctx;
    const size_t at = s->offset + i;
    if (at + 1 >= s->n || at < s->first) return;
    float top = logits[0], sum = 0.0f;
    for (size_t j = 1; j < s->vocab; j++)
        if (logits[j] > top) top = logits[j];
    /* In f32 and in order, as the reference program sums: its figures are what ours are
     * compared with.  Double would give 1.4e-4 more at 49,152 entries. */
    for (size_t j = 0; j < s->vocab; j++) sum += expf(logits[j] - top);
    /* cppcheck-suppress invalidFunctionArg; the largest logit adds 1 to the sum */
    s->nll[at] = (double)top + log((double)sum) - (double)logits[s->ids[at + 1]];
}

static void score_window(loam_session *session, scorer *s) {
    loam_err err = {0};
    loam_session_reset(session);
    for (s->offset = 0; s->offset < s->n;) {
        if (cli_cancel.requested) exit(cli_finish(CLI_EXIT_SIGINT));
        const size_t m = s->n - s->offset < PIECE ? s->n - s->offset : PIECE;
        if (loam_session_feed_all(session, s->ids + s->offset, m, score, s, &err)) cli_die(&err);
        s->offset += m;
    }
}

/* nll[i] of ids[i + 1], i = 0 .. n - 2. */
static void score_all(loam_session *session, const loam_ids *ids, size_t vocab, double *nll) {
    const size_t window = loam_session_n_ctx(session);
    const size_t step = window > 1 ? window / 2 : 1;
    cli_progress *progress = cli_progress_new("perplexity", ids->n, "tokens");

    for (size_t start = 0;; start += step) {
        const size_t n = ids->n - start < window ? ids->n - start : window;
        /* the last prediction of the window before was for ids[start - step + window - 1] */
        scorer s = {ids->ids + start, n, start ? window - step - 1 : 0, 0, vocab, nll + start};
        score_window(session, &s);
        cli_progress_set(progress, start + n, ids->n);
        if (start + n == ids->n) break;
    }
    cli_progress_end(progress);
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

static void print_result(const arguments *a, const double *nll, size_t n, size_t n_ctx) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += nll[i];
    const double mean = sum / (double)n;
    if (!a->json) {
        printf("tokens      %zu\nmean nll    %.6f\nperplexity  %.4f\n", n + 1, mean, exp(mean));
        return;
    }
    loam_buf b = {0};
    loam_buf_printf(&b, "{\"tokens\": %zu, \"scored\": %zu, \"n_ctx\": %zu, \"mean_nll\": ", n + 1,
                    n, n_ctx);
    loam_json_put_number(&b, mean);
    loam_buf_puts(&b, ", \"perplexity\": ");
    loam_json_put_number(&b, exp(mean));
    for (size_t i = 0; a->tokens && i < n; i++) {
        loam_buf_puts(&b, i ? ", " : ", \"nll\": [");
        loam_json_put_float(&b, (float)nll[i]);
    }
    loam_buf_puts(&b, a->tokens ? "]}\n" : "}\n");
    if (b.failed) cli_fail(CLI_EXIT_RESOURCES, "result: out of memory");
    fwrite(b.data, 1, b.n, stdout);
    loam_buf_deinit(&b);
}

int loam_cmd_perplexity(int argc, char **argv) {
    arguments a = {0};
    cli_strings files = {0};
    loam_err err = {0};
    loam_ids ids = {0};
    loam_model *model;
    loam_session *session;
    loam_model_info info;

    cli_parse(&PROGRAM, argc, argv, &a, &files);
    if (!a.model) cli_fail(CLI_EXIT_USAGE, "--model is missing: a model folder or name");
    if (a.ids && files.n) cli_fail(CLI_EXIT_USAGE, "--ids and files exclude each other");
    char *folder = cli_find_model(a.model);
    loam_pool *pool = cli_pool(a.threads);
    const loam_model_options o = {.pool = pool, .precision = cli_precision(a.precision)};
    if (loam_model_open(&model, folder, &o, &err)) cli_die(&err);
    read_ids(&a, folder, &files, &ids);
    loam_model_get_info(model, &info);
    if (loam_session_new(&session, model, a.n_ctx, &err)) cli_die(&err);
    double *nll = calloc(ids.n, sizeof *nll);
    if (!nll) cli_fail(CLI_EXIT_RESOURCES, "result: out of memory");
    score_all(session, &ids, info.vocab, nll);
    print_result(&a, nll, ids.n - 1, loam_session_n_ctx(session));
    free(nll);
    loam_ids_deinit(&ids);
    loam_session_free(session);
    loam_model_close(model);
    loam_pool_free(pool);
    free(folder);
    return CLI_EXIT_OK;
}
