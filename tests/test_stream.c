/* test_stream.c - streams and CSV: mlx-data's recorded cases, and what loam promises beyond them. */
#include "test.h"
#include <loam/data.h>
#include <loam/json.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN "tests/golden/ingest/mlx-data/"

static int n_cases, n_beyond;

/* The first number of a field of a recorded sample. */
static int64_t number_of(const loam_json_value *sample, const char *key) {
    int64_t v = -1;
    loam_json_int(loam_json_at(loam_json_get(loam_json_get(sample, key), "data"), 0), &v);
    return v;
}

/* Key that tells the samples of a case apart. */
static const char *id_key(const loam_json_value *samples) {
    return loam_json_get(loam_json_at(samples, 0), "id") ? "id" : "x";
}

/* A stream over the recorded input: name = the id, size = the length of "t". */
static loam_status set_sample(void *ctx, loam_sample *sample, loam_err *err) {
    const loam_json_value *input = ctx;
    const loam_json_value *in = loam_json_at(input, sample->index);
    (void)err;
    sample->size = loam_json_count(loam_json_get(loam_json_get(in, "t"), "data"));
    return LOAM_OK;
}

static loam_stream *stream_of(loam_json_value const *input) {
    const size_t n = loam_json_count(input);
    char(*names)[24] = calloc(n + 1, sizeof *names);
    const char **pointers = calloc(n + 1, sizeof *pointers);
    loam_stream *s = NULL;
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "%lld",
                 (long long)number_of(loam_json_at(input, i), id_key(input)));
        pointers[i] = names[i];
    }
    CHECK(loam_stream_from_names(&s, pointers, n, NULL) == LOAM_OK, "%zu names", n);
    free(names);
    free(pointers);
    union {
        const void *in;
        void *ctx;
    } u = {.in = input}; /* set_sample only reads it */
    return loam_stream_map(s, set_sample, u.ctx);
}

/* Names of the samples, groups in brackets: "0 1 [2 3]". */
static void run(loam_stream *s, loam_buf *out) {
    loam_sample *sample = NULL;
    loam_buf_clear(out);
    while (loam_stream_next(s, &sample, NULL) == LOAM_OK && sample) {
        if (out->n) loam_buf_putc(out, ' ');
        if (sample->err.status) loam_buf_putc(out, '!');
        if (sample->n_items) loam_buf_putc(out, '[');
        for (size_t i = 0; i < sample->n_items; i++)
            loam_buf_printf(out, i ? " %s" : "%s", sample->items[i]->name);
        if (sample->n_items)
            loam_buf_putc(out, ']');
        else
            loam_buf_puts(out, sample->name);
        loam_sample_free(sample);
    }
    loam_stream_free(s);
    loam_buf_putc(out, '\0');
}

/* The recorded output in the same form. */
static void expected_of(const loam_json_value *output, int groups, const char *key, loam_buf *out) {
    loam_buf_clear(out);
    for (size_t i = 0; i < loam_json_count(output); i++) {
        const loam_json_value *data =
            loam_json_get(loam_json_get(loam_json_at(output, i), key), "data");
        loam_buf_puts(out, i ? " " : "");
        if (groups) loam_buf_putc(out, '[');
        for (size_t k = 0; k < loam_json_count(data); k++) {
            int64_t v = -1;
            loam_json_int(loam_json_at(data, k), &v);
            loam_buf_printf(out, k ? " %lld" : "%lld", (long long)v);
        }
        if (groups) loam_buf_putc(out, ']');
    }
    loam_buf_putc(out, '\0');
}

static int64_t arg_int(const loam_json_value *c, const char *name) {
    int64_t v = -2;
    loam_json_int(loam_json_get(loam_json_get(c, "args"), name), &v);
    return v;
}

static const char *arg_string(const loam_json_value *c, const char *name, size_t *n) {
    return loam_json_string(loam_json_get(loam_json_get(c, "args"), name), n);
}

static loam_status triple(void *ctx, loam_sample *sample, loam_err *err) {
    const long *factors = ctx;
    char text[24];
    (void)err;
    snprintf(text, sizeof text, "%ld", atol(sample->name) * factors[0] + factors[1]);
    free(sample->name);
    sample->name = strdup(text);
    return LOAM_OK;
}

static int not_third(void *ctx, const loam_sample *sample) {
    (void)ctx;
    return atol(sample->name) % 3 != 0;
}

/* Stages over recorded samples. */
static void check_stage(const loam_json_value *c, const char *op, const char *name) {
    const loam_json_value *input = loam_json_get(c, "input"), *output = loam_json_get(c, "output");
    loam_buf got = {0}, want = {0};
    static long times2[2] = {2, 1}, times3[2] = {3, 0};
    int groups = 0;
    const char *key = id_key(input);
    loam_stream *s = NULL;
    loam_pool *pool = NULL;
    if (strncmp(op, "batch", 5) == 0) {
        int64_t n;
        if (!loam_json_int(loam_json_get(loam_json_get(c, "args"), "batch_size"), &n) ||
            strcmp(name, "batch_dim") == 0 || loam_json_get(loam_json_at(input, 0), "m"))
            return; /* lists of sizes and array layouts have no counterpart */
        s = loam_stream_batch(stream_of(input), (size_t)n);
        groups = 1;
    } else if (strncmp(op, "partition", 9) == 0) {
        s = loam_stream_partition(stream_of(input), (size_t)arg_int(c, "num"),
                                  (size_t)arg_int(c, "i"));
    } else if (strstr(op, "prefetch")) {
        CHECK(loam_pool_new(&pool, (unsigned)arg_int(c, "threads"), NULL) == LOAM_OK, "%s", name);
        const loam_json_value *first = loam_json_at(output, 0);
        loam_stream *in = stream_of(input);
        /* the recorded stream doubles nothing or maps: what came out tells */
        if (number_of(first, key) != number_of(loam_json_at(input, 0), key))
            in = loam_stream_map(in, triple, times2);
        s = loam_stream_prefetch(in, pool, (size_t)arg_int(c, "prefetch"));
    } else if (strcmp(op, "key_transform") == 0) {
        const int out = arg_string(c, "output_key", NULL) != NULL;
        s = loam_stream_map(stream_of(input), triple, out ? times3 : times2);
        key = out ? "z" : key;
    } else if (strcmp(name, "filter_stream") == 0) {
        s = loam_stream_filter(stream_of(input), not_third, NULL);
    } else if (strcmp(op, "dynamic_batch(stream)") == 0) {
        const int64_t max = arg_int(c, "max_data_size");
        s = loam_stream_batch_size(stream_of(input), max > 0 ? (size_t)max : 0, 0,
                                   (size_t)arg_int(c, "buffer_size"));
        groups = 1;
        /* without a bound mlx-data keeps the order; and it carries samples that did not fit over to the
         * next buffer, where loam finishes one window after the other */
        if (max < 0 || arg_int(c, "buffer_size") == 4) {
            loam_stream_free(s);
            return;
        }
    } else if (strcmp(op, "to_buffer") == 0) {
        s = stream_of(input);
    } else {
        return;
    }
    run(s, &got);
    loam_pool_free(pool);
    expected_of(output, groups, key, &want);
    CHECK(strcmp(got.data, want.data) == 0, "%s: got %s, want %s", name, got.data, want.data);
    n_cases++;
    loam_buf_deinit(&got);
    loam_buf_deinit(&want);
}

static int same_bytes(const loam_json_value *field, const char *bytes, size_t n) {
    const loam_json_value *data = loam_json_get(field, "data");
    if (loam_json_count(data) != n) return 0;
    for (size_t i = 0; i < n; i++) {
        int64_t v = 0;
        loam_json_int(loam_json_at(data, i), &v);
        if ((char)v != bytes[i]) return 0;
    }
    return 1;
}

static loam_status emit_lines(void *ctx, const loam_sample *sample, loam_emit *e, loam_err *err) {
    loam_stream *lines = NULL;
    loam_sample *line;
    (void)ctx;
    loam_status st = loam_stream_from_lines(&lines, sample->name, err);
    while (!st && (st = loam_stream_next(lines, &line, err)) == LOAM_OK && line)
        st = loam_emit_push(e, line);
    loam_stream_free(lines);
    return st;
}

static void check_lines(const loam_json_value *c, const char *name) {
    char path[512];
    const loam_json_value *output = loam_json_get(c, "output"),
                          *unzip = loam_json_get(loam_json_get(c, "args"), "unzip");
    const char *file = arg_string(c, "file", NULL);
    int on = 1;
    loam_json_bool(unzip, &on);
    if (file && strstr(file, ".gz") && !on) return; /* loam always unpacks */
    if (!file)
        file = loam_json_string(
            loam_json_get(loam_json_get(loam_json_at(loam_json_get(c, "input"), 0), "f"), "text"),
            NULL);
    snprintf(path, sizeof path, GOLDEN "%s", file);
    loam_stream *s = NULL;
    loam_err err = {0};
    n_cases++;
    if (strcmp(name, "lines_from_key") == 0) {
        const char *names[] = {path};
        CHECK(loam_stream_from_names(&s, names, 1, &err) == LOAM_OK, "%s", err.msg);
        s = loam_stream_flat_map(s, emit_lines, NULL);
    } else {
        const loam_status st = loam_stream_from_lines(&s, path, &err);
        CHECK((st != LOAM_OK) == (loam_json_get(c, "error") != NULL), "%s: status %d %s", name, st,
              err.msg);
        if (st) return;
    }
    size_t n = 0;
    loam_sample *line;
    while (loam_stream_next(s, &line, &err) == LOAM_OK && line) {
        CHECK(
            same_bytes(loam_json_get(loam_json_at(output, n), "l"), line->data.data, line->data.n),
            "%s: line %zu", name, n);
        n++;
        loam_sample_free(line);
    }
    CHECK(n == loam_json_count(output), "%s: %zu lines", name, n);
    loam_stream_free(s);
}

/* Every column of every row; the last of columns of one name counts. */
static void check_row(const loam_json_value *want, const loam_sample *row, const char *name) {
    for (const loam_json_value *f = loam_json_first(want); f; f = loam_json_next(f)) {
        const char *key = loam_json_own_key(f, NULL);
        const loam_field *found = NULL;
        for (size_t i = 0; i < row->n_fields; i++)
            if (strcmp(row->fields[i].name, key) == 0) found = &row->fields[i];
        CHECK(found && same_bytes(f, found->value, found->n), "%s: column %s", name, key);
    }
}

static void check_csv(const loam_json_value *c, const char *name) {
    char path[512] = "";
    size_t n_text = 0;
    const char *file = arg_string(c, "file", NULL), *text = arg_string(c, "text", &n_text),
               *sep = arg_string(c, "sep", NULL);
    const int is_error = loam_json_get(c, "error") != NULL;
    if (strcmp(name, "csv_squote") == 0) { /* another quote: by the reader itself */
        loam_csv csv = {.text = text, .n = n_text, .separator = ',', .quote = '\''};
        CHECK(loam_csv_next(&csv, NULL) == 1 && loam_csv_next(&csv, NULL) == 1, "%s", name);
        CHECK(strcmp(loam_csv_field(&csv, 0, NULL), "x,y") == 0 &&
                  strcmp(loam_csv_field(&csv, 1, NULL), "z") == 0,
              "%s", name);
        loam_csv_deinit(&csv);
        n_cases++;
        return;
    }
    if (file) {
        snprintf(path, sizeof path, GOLDEN "%s", file);
    } else {
        snprintf(path, sizeof path, "/tmp/loam-test-stream-%d.csv", (int)getpid());
        FILE *f = fopen(path, "wb");
        CHECK(f && fwrite(text, 1, n_text, f) == n_text, "%s", path);
        if (f) fclose(f);
    }
    loam_stream *s = NULL;
    loam_sample *row;
    size_t n = 0, n_failed = 0;
    CHECK(loam_stream_from_csv(&s, path, sep ? *sep : ',', NULL) == LOAM_OK, "%s", name);
    while (loam_stream_next(s, &row, NULL) == LOAM_OK && row) {
        if (row->err.status)
            n_failed++;
        else if (!is_error)
            check_row(loam_json_at(loam_json_get(c, "output"), n), row, name);
        n += !row->err.status;
        loam_sample_free(row);
    }
    loam_stream_free(s);
    if (!file) unlink(path);
    /* blank lines, and an empty last field, are no errors here */
    if (strstr(name, "blank") || strstr(name, "quoted")) {
        CHECK(n_failed == 0 && n == (strstr(name, "blank") ? 1 : 4), "%s: %zu rows, %zu failed",
              name, n, n_failed);
        n_beyond++;
        return;
    }
    CHECK(is_error ? n_failed > 0
                   : n_failed == 0 && n == loam_json_count(loam_json_get(c, "output")),
          "%s: %zu rows, %zu failed", name, n, n_failed);
    n_cases++;
}

static void test_recorded_cases(void) {
    loam_stream *lines = NULL;
    loam_sample *line;
    CHECK(loam_stream_from_lines(&lines, GOLDEN "cases.jsonl", NULL) == LOAM_OK, "cases.jsonl");
    while (loam_stream_next(lines, &line, NULL) == LOAM_OK && line) {
        loam_json *json = NULL;
        loam_err err = {0};
        CHECK(loam_json_parse(&json, line->data.data, line->data.n, line->name, LOAM_JSON_ALLOW_NAN,
                              &err) == LOAM_OK,
              "%s", err.msg);
        const loam_json_value *c = loam_json_root(json);
        const char *op = loam_json_string(loam_json_get(c, "op"), NULL),
                   *name = loam_json_string(loam_json_get(c, "case"), NULL);
        if (strstr(op, "csv"))
            check_csv(c, name);
        else if (strstr(op, "line_reader"))
            check_lines(c, name);
        else
            check_stage(c, op, name);
        loam_json_free(json);
        loam_sample_free(line);
    }
    loam_stream_free(lines);
    CHECK(n_cases >= 40, "%d cases ran", n_cases);
    printf("mlx-data: %d recorded cases equal, %d more accepted where it errs\n", n_cases,
           n_beyond);
}

/* ---- loam's own promises ---- */

static loam_stream *numbers(size_t n) {
    static char names[1000][24];
    const char *pointers[1000];
    loam_stream *s = NULL;
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        pointers[i] = names[i];
    }
    CHECK(loam_stream_from_names(&s, pointers, n, NULL) == LOAM_OK, "numbers");
    return s;
}

/* Uneven work; every seventh sample fails. */
static loam_status work(void *ctx, loam_sample *sample, loam_err *err) {
    volatile unsigned x = 1;
    const unsigned rounds = (unsigned)(sample->index * 7919 % 5000);
    (void)ctx;
    for (unsigned i = 0; i < rounds; i++) x = x * 3 + i;
    if (sample->index % 7 == 3) return loam_fail(err, LOAM_ERR_FORMAT, "%s: bad", sample->name);
    sample->size = rounds + 1;
    return LOAM_OK;
}

static void test_prefetch_is_ordered(void) {
    loam_buf serial = {0}, parallel = {0};
    run(loam_stream_map(loam_stream_map(numbers(500), work, NULL), triple, (long[]){2, 1}),
        &serial);
    CHECK(strstr(serial.data, "!3 ") && strstr(serial.data, " 19 !10 23 "),
          "errors pass untouched: %.60s", serial.data);
    for (unsigned threads = 1; threads <= 4; threads++) {
        for (size_t window = 1; window <= 64; window = window * 4) {
            loam_pool *pool = NULL;
            CHECK(loam_pool_new(&pool, threads, NULL) == LOAM_OK, "pool");
            run(loam_stream_prefetch(loam_stream_map(loam_stream_map(numbers(500), work, NULL),
                                                     triple, (long[]){2, 1}),
                                     pool, window),
                &parallel);
            CHECK(strcmp(serial.data, parallel.data) == 0, "%u threads, window %zu", threads,
                  window);
            loam_pool_free(pool);
        }
    }
    loam_buf_deinit(&serial);
    loam_buf_deinit(&parallel);
}

static void test_shuffle_is_a_permutation(void) {
    loam_buf a = {0}, b = {0}, other = {0};
    run(loam_stream_shuffle(numbers(100), 7), &a);
    run(loam_stream_shuffle(numbers(100), 7), &b);
    run(loam_stream_shuffle(numbers(100), 8), &other);
    CHECK(strcmp(a.data, b.data) == 0, "the same seed gives the same order");
    CHECK(strcmp(a.data, other.data) != 0, "another seed another");
    int seen[100] = {0}, n = 0;
    for (const char *at = a.data; at && *at; at = strchr(at, ' ') ? strchr(at, ' ') + 1 : NULL, n++)
        seen[atoi(at) % 100]++;
    CHECK(n == 100, "%d samples", n);
    for (int i = 0; i < 100; i++) CHECK(seen[i] == 1, "%d came %d times", i, seen[i]);
    loam_buf_deinit(&a);
    loam_buf_deinit(&b);
    loam_buf_deinit(&other);
}

static void test_size_batches_bound_padding(void) {
    loam_stream *s =
        loam_stream_batch_size(loam_stream_map(numbers(300), work, NULL), 20000, 16, 64);
    loam_sample *g;
    size_t n = 0, n_failed = 0;
    while (loam_stream_next(s, &g, NULL) == LOAM_OK && g) {
        size_t largest = 0;
        for (size_t i = 0; i < g->n_items; i++)
            largest = g->items[i]->size > largest ? g->items[i]->size : largest;
        CHECK(g->n_items <= 16 && (g->n_items <= 1 || g->n_items * largest <= 20000),
              "%zu rows of up to %zu", g->n_items, largest);
        n += g->n_items;
        n_failed += g->err.status != LOAM_OK;
        loam_sample_free(g);
    }
    loam_stream_free(s);
    CHECK(n == 257 && n_failed == 43, "%zu samples, %zu failed", n, n_failed);
}

static void put_file(const char *folder, const char *name) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL, "%s", path);
    if (f) fclose(f);
}

static void test_folder_walk(void) {
    char folder[64], path[600];
    snprintf(folder, sizeof folder, "/tmp/loam-test-walk-%d", (int)getpid());
    mkdir(folder, 0700);
    static const char *const names[] = {"b.txt",   "a-b.txt", "a.txt",
                                        ".hidden", "Z.txt",   "new\nline.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) put_file(folder, names[i]);
    snprintf(path, sizeof path, "%s/a", folder);
    mkdir(path, 0700);
    put_file(path, "x.txt");
    char loop[700], fifo[700], gone[700];
    snprintf(loop, sizeof loop, "%s/loop", path);
    snprintf(fifo, sizeof fifo, "%s/fifo.txt", path);
    snprintf(gone, sizeof gone, "%s/gone.txt", path);
    CHECK(symlink("..", loop) == 0 && mkfifo(fifo, 0600) == 0 && symlink("nowhere", gone) == 0,
          "%s", path);
    loam_stream *s = NULL;
    loam_sample *sample;
    loam_buf got = {0};
    CHECK(loam_stream_from_folder(&s, folder, NULL, NULL, NULL) == LOAM_OK, "%s", folder);
    while (loam_stream_next(s, &sample, NULL) == LOAM_OK && sample) {
        loam_buf_printf(&got, "%s|", sample->name + strlen(folder) + 1);
        loam_sample_free(sample);
    }
    loam_stream_free(s);
    CHECK(got.data &&
              strcmp(got.data, "Z.txt|a-b.txt|a.txt|a/gone.txt|a/x.txt|b.txt|new\nline.txt|") == 0,
          "%s", got.data);
    loam_buf_deinit(&got);
    CHECK(loam_stream_from_folder(&s, "/nonexistent/folder", NULL, NULL, NULL) ==
                  LOAM_ERR_NOT_FOUND &&
              !s,
          "missing folder");
    unlink(loop);
    unlink(fifo);
    unlink(gone);
    snprintf(loop, sizeof loop, "%s/x.txt", path);
    unlink(loop);
    rmdir(path);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* Thirty folders, each with two links to the next: a billion paths to one file. */
static void test_folder_links_that_fork(void) {
    enum { N = 30 };
    char folder[] = "/tmp/loam-test-fork-XXXXXX", path[96], target[32];
    CHECK(mkdtemp(folder) != NULL, "mkdtemp");
    for (int i = 0; i < N; i++) {
        snprintf(path, sizeof path, "%s/%02d", folder, i);
        CHECK(mkdir(path, 0700) == 0, "%s", path);
        snprintf(target, sizeof target, "../%02d", i + 1);
        for (int k = 0; k < 2 && i + 1 < N; k++) {
            snprintf(path, sizeof path, "%s/%02d/%c", folder, i, 'a' + k);
            CHECK(symlink(target, path) == 0, "%s", path);
        }
    }
    snprintf(path, sizeof path, "%s/%02d", folder, N - 1);
    put_file(path, "x.txt");
    loam_stream *s = NULL;
    loam_sample *sample;
    int n = 0;
    CHECK(loam_stream_from_folder(&s, folder, NULL, NULL, NULL) == LOAM_OK, "%s", folder);
    while (loam_stream_next(s, &sample, NULL) == LOAM_OK && sample) {
        n++;
        loam_sample_free(sample);
    }
    loam_stream_free(s);
    CHECK(n == 1, "%d files, want 1", n);
    snprintf(path, sizeof path, "%s/%02d/x.txt", folder, N - 1);
    unlink(path);
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < 2; k++) {
            snprintf(path, sizeof path, "%s/%02d/%c", folder, i, 'a' + k);
            unlink(path);
        }
        snprintf(path, sizeof path, "%s/%02d", folder, i);
        rmdir(path);
    }
    rmdir(folder);
}

/* Streams that are freed half-way give everything back (the sanitizer looks). */
static void test_early_free(void) {
    loam_pool *pool = NULL;
    CHECK(loam_pool_new(&pool, 2, NULL) == LOAM_OK, "pool");
    for (int kind = 0; kind < 4; kind++) {
        loam_stream *s = numbers(50);
        if (kind == 0) s = loam_stream_prefetch(loam_stream_map(s, work, NULL), pool, 16);
        if (kind == 1) s = loam_stream_shuffle(s, 1);
        if (kind == 2) s = loam_stream_batch_size(loam_stream_map(s, work, NULL), 9000, 8, 32);
        if (kind == 3) s = loam_stream_partition(loam_stream_batch(s, 4), 2, 1);
        loam_sample *sample = NULL;
        CHECK(loam_stream_next(s, &sample, NULL) == LOAM_OK && sample, "kind %d", kind);
        loam_sample_free(sample);
        loam_stream_free(s);
    }
    loam_pool_free(pool);
    CHECK(loam_stream_map(NULL, work, NULL) == NULL && loam_stream_batch(NULL, 3) == NULL,
          "NULL goes through");
}

int main(void) {
    test_recorded_cases();
    test_prefetch_is_ordered();
    test_shuffle_is_a_permutation();
    test_size_batches_bound_padding();
    test_folder_walk();
    test_folder_links_that_fork();
    test_early_free();
    return TEST_END("test_stream");
}
