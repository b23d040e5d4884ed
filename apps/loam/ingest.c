/* ingest.c - loam ingest: documents to an index.
 *
 *     files -> [read, hash, cut: all workers] -> chunks -> embed, a batch at a time -> index, at once
 *
 * A document whose bytes, chunker and embedder are those of the index already there keeps its
 * chunks and vectors.  The index that results holds what the given paths hold now, and,
 * untouched, the documents of the old index that lie elsewhere.  Nothing is written before the end.
 */
#include "loam/ingest.h"
#include "loam/commands.h"

#include <errno.h>
#include <loam/hub.h>
#include <loam/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct args {
    const char *vdb_path, *model, *chunker, *precision, *text_field;
    cli_strings include, exclude;
    size_t size, overlap, threads, batch;
    int rebuild, json, dry_run, show_text, skip_bad;
} args;

#define NOT_GIVEN ((size_t)-1)

static const cli_option OPTIONS[] = {
    {"vdb-path", 0, CLI_STRING, offsetof(args, vdb_path), "FILE.npz",
     "the index to write or bring up to date", 0, 0},
    {"embed-model", 'm', CLI_STRING, offsetof(args, model), "MODEL",
     "embedding model: folder or name (default: the index's, else "
     "sentence-transformers/all-MiniLM-L6-v2)",
     0, 0},
    {"chunker", 0, CLI_CHOICE, offsetof(args, chunker), "sentence|fixed",
     "sentence (default): whole sentences and paragraphs under their headings; fixed: windows of "
     "characters",
     0, 0},
    {"chunk-size", 0, CLI_SIZE, offsetof(args, size), "N",
     "tokens (sentence, default 200) or characters (fixed, default 256)", 1, 1000000},
    {"chunk-overlap", 0, CLI_SIZE, offsetof(args, overlap), "N",
     "the same, repeated at a cut (default 32, 50)", 0, 1000000},
    {"include", 0, CLI_STRINGS, offsetof(args, include), "GLOB",
     "in folders: only files of this name, whatever their type (repeatable)", 0, 0},
    {"exclude", 0, CLI_STRINGS, offsetof(args, exclude), "GLOB",
     "in folders: leave out files and folders of this name (repeatable)", 0, 0},
    {"text-field", 0, CLI_STRING, offsetof(args, text_field), "NAME",
     "of JSONL and CSV (default: text, content or body)", 0, 0},
    {"skip-bad", 0, CLI_FLAG, offsetof(args, skip_bad), "",
     "leave out lines of JSONL and rows of CSV that are damaged, with one warning a file; without "
     "it such a file is an error that names the line",
     0, 0},
    {"threads", 't', CLI_SIZE, offsetof(args, threads), "N",
     "threads (default: the CPUs this process may use)", 0, 256},
    {"batch", 0, CLI_SIZE, offsetof(args, batch), "N",
     "chunks embedded between two looks at progress and Ctrl-C (default 256)", 1, 65536},
    {"precision", 0, CLI_CHOICE, offsetof(args, precision), "exact|fast",
     "exact (default): f32; fast: integers of 12 bits, cosine to exact above 0.9998", 0, 0},
    {"rebuild", 0, CLI_FLAG, offsetof(args, rebuild), "", "forget the index that is there", 0, 0},
    {"dry-run", 'n', CLI_FLAG, offsetof(args, dry_run), "", "read and cut, write nothing", 0, 0},
    {"show-text", 0, CLI_FLAG, offsetof(args, show_text), "",
     "print the text that is read from the documents, and stop", 0, 0},
    {"json", 0, CLI_FLAG, offsetof(args, json), "", "report as one JSON object", 0, 0},
    {0}};

static const cli_program PROGRAM = {
    "loam ingest",
    "PATH... --vdb-path FILE.npz [OPTIONS]",
    "Read documents (text, Markdown, HTML, PDF, JSONL, CSV, also .gz) and index them.",
    OPTIONS,
    "  loam ingest docs/ --vdb-path notes.npz\n"
    "  loam ingest docs/ manual.pdf --vdb-path notes.npz --exclude 'draft*'     only what changed "
    "is redone\n"
    "  loam ingest docs/ --vdb-path old.npz --chunker fixed                     chunks as the "
    "Python lab cuts them\n"
    "  loam ingest scan.pdf --show-text                                         what loam can read "
    "of a document\n"
    "Exit code 9: done, but some documents could not be read; they are named on stderr.\n",
    1,
    SIZE_MAX};

static const char DEFAULT_MODEL[] = "sentence-transformers/all-MiniLM-L6-v2";

/* One document between reading and indexing. */
typedef struct reading {
    char hash[65];
    size_t old; /* its number in the old index when nothing changed; NOT_GIVEN: cut anew */
    loam_document doc;
    loam_pieces pieces;
} reading;

/* A document and the chunks of the index that is made. */
typedef struct kept_text {
    loam_buf text; /* the chunks of a document are parts of it */
    loam_part *parts;
    size_t n_parts;
} kept_text;

typedef struct job {
    args a;
    ingest_files files;
    loam_pool *pool;
    loam_embedder *embedder; /* NULL: dry run without a model */
    char *model_folder, *pdf_helper, *html_helper;
    size_t n_special; /* tokens that the model adds to every text */
    loam_reader reader;
    loam_chunker chunker;
    char chunker_name[64];
    char model_id[256];

    loam_index *old;
    size_t *old_first;   /* first chunk of each old document */
    size_t *old_by_path; /* old documents sorted by path */
    int old_usable;      /* same chunker and embedder: unchanged documents keep their chunks */

    loam_chunk *chunks;
    float *vectors; /* [n_chunks, dim] */
    size_t n_chunks, cap_chunks, cap_vectors, dim;
    size_t n_embedded; /* chunks before this one have their vector */
    size_t *same_text; /* hash table of chunks by text: number + 1, 0 is free */
    size_t n_same, cap_same;
    loam_index_document *documents;
    size_t n_documents, cap_documents;
    kept_text *texts;
    size_t n_texts, cap_texts;
    size_t n_unchanged, n_elsewhere, n_removed, n_new_chunks;
    uint64_t bytes_done;
    cli_progress *progress;
} job;

static void stop_if_cancelled(job *j) {
    if (!cli_cancel.requested) return;
    cli_progress_end(j->progress);
    cli_fail(CLI_EXIT_SIGINT, "interrupted: nothing was written");
}

static loam_status count_tokens(void *ctx, const char *text, size_t n, size_t *tokens,
                                loam_err *err) {
    const job *j = ctx;
    loam_status st = loam_embedder_count_tokens(j->embedder, (loam_text){text, n}, tokens, err);
    if (!st) *tokens -= *tokens < j->n_special ? *tokens : j->n_special;
    return st;
}

static void set_chunker(job *j) {
    loam_chunker *c = &j->chunker;
    const int fixed = j->a.chunker && strcmp(j->a.chunker, "fixed") == 0;
    c->kind = fixed ? LOAM_CHUNK_FIXED : LOAM_CHUNK_SENTENCE;
    c->size = fixed ? LOAM_CHUNK_FIXED_SIZE : LOAM_CHUNK_SENTENCE_SIZE;
    c->overlap = fixed ? LOAM_CHUNK_FIXED_OVERLAP : LOAM_CHUNK_SENTENCE_OVERLAP;
    if (j->embedder && !fixed) {
        const size_t max = loam_embedder_max_tokens(j->embedder);
        c->max_tokens = max > j->n_special + 8 ? max - j->n_special : 8;
        if (j->a.size == NOT_GIVEN && c->size > c->max_tokens * 4 / 5)
            c->size = c->max_tokens * 4 / 5;
        if (j->a.size != NOT_GIVEN && j->a.size > c->max_tokens)
            cli_warn("--chunk-size %zu: the model reads %zu tokens; chunks are cut there",
                     j->a.size, c->max_tokens);
        c->count = count_tokens;
        c->ctx = j;
    }
    if (j->a.size != NOT_GIVEN) c->size = j->a.size;
    if (j->a.overlap != NOT_GIVEN)
        c->overlap = j->a.overlap;
    else if (c->overlap >= c->size)
        c->overlap = c->size / 6;
    if (c->overlap >= c->size)
        cli_fail(CLI_EXIT_USAGE, "--chunk-overlap %zu: must be smaller than the chunk size %zu",
                 c->overlap, c->size);
    /* the number counts changes of the readers and chunkers that make other chunks of the same bytes */
    snprintf(j->chunker_name, sizeof j->chunker_name, "%s-1/%zu/%zu", fixed ? "fixed" : "sentence",
             c->size, c->overlap);
}

/* ---- the old index ---- */

typedef struct path_order {
    const char *path;
    size_t i;
} path_order;

static int compare_paths(const void *a, const void *b) {
    const path_order *x = a, *y = b;
    const int order = strcmp(x->path, y->path);
    return order ? order : x->i < y->i ? -1 : x->i > y->i;
}

static void index_old_documents(job *j) {
    const size_t n = loam_index_n_documents(j->old);
    path_order *order = calloc(n + 1, sizeof *order);
    j->old_first = calloc(n + 1, sizeof *j->old_first);
    j->old_by_path = calloc(n + 1, sizeof *j->old_by_path);
    if (!order || !j->old_first || !j->old_by_path) ingest_no_memory();
    size_t first = 0;
    for (size_t i = 0; i < n; i++) {
        order[i] = (path_order){loam_index_document_at(j->old, i)->path, i};
        j->old_first[i] = first;
        first += loam_index_document_at(j->old, i)->n_chunks;
    }
    qsort(order, n, sizeof *order, compare_paths);
    for (size_t i = 0; i < n; i++) j->old_by_path[i] = order[i].i;
    free(order);
}

/* Number of the old document at this path; NOT_GIVEN: none. */
static size_t find_old(const job *j, const char *absolute) {
    size_t low = 0, high = j->old ? loam_index_n_documents(j->old) : 0;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const int order =
            strcmp(loam_index_document_at(j->old, j->old_by_path[middle])->path, absolute);
        if (order == 0) return j->old_by_path[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NOT_GIVEN;
}

static loam_index_lock *index_lock;

static void unlock_index(void) {
    loam_index_lock_free(index_lock);
    index_lock = NULL;
}

/* From before the index is read until it is written: what another run adds meanwhile would be
 * lost.  A folder that cannot be written to is told when there is something to write. */
static void lock_index(const job *j) {
    loam_err err = {0};
    if (!j->a.vdb_path || j->a.dry_run || j->a.show_text) return;
    const loam_status st = loam_index_lock_take(&index_lock, j->a.vdb_path, &err);
    if (st == LOAM_ERR_BUSY || st == LOAM_ERR_NOT_FOUND || st == LOAM_ERR_NO_SPACE) cli_die(&err);
    if (atexit(unlock_index)) ingest_no_memory();
}

static void open_old(job *j) {
    loam_err err = {0};
    if (j->a.rebuild || !j->a.vdb_path) return;
    loam_status st = loam_index_open(&j->old, j->a.vdb_path, &err);
    if (st == LOAM_ERR_NOT_FOUND) return;
    if (st) cli_fail(cli_exit_code(st), "%s; --rebuild writes it anew", err.msg);
    index_old_documents(j);
    const loam_index_meta *meta = loam_index_get_meta(j->old);
    if (meta->model_id[0] && !j->a.model)
        snprintf(j->model_id, sizeof j->model_id, "%s", meta->model_id);
}

/* After the embedder is known: may old chunks stay beside new ones? */
static void judge_old(job *j) {
    if (!j->old) return;
    const loam_index_meta *meta = loam_index_get_meta(j->old);
    const size_t n = loam_index_n_documents(j->old);
    const int same_model = j->embedder &&
                           strcmp(meta->fingerprint, loam_embedder_fingerprint(j->embedder)) == 0 &&
                           loam_index_dim(j->old) == loam_embedder_dim(j->embedder);
    j->old_usable = same_model && strcmp(meta->chunker, j->chunker_name) == 0;
    if (j->old_usable || j->a.dry_run) return;
    for (size_t i = 0; i < n; i++)
        if (!ingest_is_inside(&j->files, loam_index_document_at(j->old, i)->path))
            cli_fail(CLI_EXIT_USAGE,
                     "%s: it holds documents from elsewhere (%s, ...), made with another %s: give "
                     "all their paths, "
                     "or --rebuild to index only these",
                     j->a.vdb_path, loam_index_document_at(j->old, i)->path,
                     same_model ? "chunker" : "embedding model");
    if (n == 0 && loam_index_count(j->old) > 0)
        cli_fail(CLI_EXIT_USAGE,
                 "%s: its %zu chunks have no record of their documents: --rebuild replaces it",
                 j->a.vdb_path, loam_index_count(j->old));
}

/* ---- reading: on all workers ---- */

static void free_reading(void *value) {
    reading *r = value;
    loam_document_deinit(&r->doc);
    loam_pieces_deinit(&r->pieces);
    free(r);
}

static loam_status read_document(void *ctx, loam_sample *sample, loam_err *err) {
    job *j = ctx;
    const ingest_file *file = &j->files.items[sample->index];
    if (cli_cancel.requested) return loam_fail(err, LOAM_ERR_CANCELLED, "cancelled");
    reading *r = calloc(1, sizeof *r);
    if (!r) return loam_fail(err, LOAM_ERR_MEMORY, "out of memory");
    sample->value = r;
    sample->release = free_reading;
    r->old = NOT_GIVEN;
    loam_status st = loam_content_read(&sample->data, r->hash, file->absolute, err);
    if (st) return st;
    if (j->old_usable) {
        const size_t old = find_old(j, file->key);
        if (old != NOT_GIVEN && strcmp(loam_index_document_at(j->old, old)->hash, r->hash) == 0)
            r->old = old;
    }
    if (r->old == NOT_GIVEN) {
        st = loam_document_read(&r->doc, file->path, sample->data.data, sample->data.n, &j->reader,
                                err);
        if (!st && !j->a.show_text) st = loam_chunk_document(&j->chunker, &r->doc, &r->pieces, err);
    }
    loam_buf_deinit(&sample->data);
    return st;
}

/* ---- chunks and vectors ---- */

static loam_chunk *add_chunk(job *j) {
    j->chunks = ingest_grow(j->chunks, &j->cap_chunks, j->n_chunks + 1, sizeof *j->chunks);
    if (j->dim > 0)
        j->vectors = ingest_grow(j->vectors, &j->cap_vectors, (j->n_chunks + 1) * j->dim,
                                 sizeof *j->vectors);
    return &j->chunks[j->n_chunks++];
}

static void check_vectors(const job *j, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        double sum = 0;
        for (size_t k = 0; k < j->dim; k++)
            sum += (double)j->vectors[i * j->dim + k] * (double)j->vectors[i * j->dim + k];
        if (!isfinite(sum) || sum <= 0)
            cli_fail(
                CLI_EXIT_RUNTIME,
                "%.*s: the model gives no usable vector for the chunk at %lld: nothing was written",
                (int)j->chunks[i].source.n, j->chunks[i].source.data,
                (long long)j->chunks[i].begin);
    }
}

static uint64_t hash_text(loam_text t) {
    uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */
    for (size_t i = 0; i < t.n; i++) h = (h ^ (unsigned char)t.data[i]) * 0x100000001b3ULL;
    return h ^ h >> 29;
}

static int is_same_text(loam_text a, loam_text b) {
    return a.n == b.n && memcmp(a.data, b.data, a.n) == 0;
}

/* Place of the chunk's text in the table: free, or that of an earlier chunk with this text. */
static size_t *find_same(const job *j, size_t i) {
    size_t at = (size_t)hash_text(j->chunks[i].text) & (j->cap_same - 1);
    while (j->same_text[at] &&
           !is_same_text(j->chunks[j->same_text[at] - 1].text, j->chunks[i].text))
        at = (at + 1) & (j->cap_same - 1);
    return &j->same_text[at];
}

/* Number of the first chunk with the same text as chunk i: i itself when it is new. */
static size_t first_of_text(job *j, size_t i) {
    if (2 * (j->n_same + 1) > j->cap_same) {
        size_t *old = j->same_text, n_old = j->cap_same;
        j->cap_same = n_old ? 2 * n_old : 1024;
        j->same_text = calloc(j->cap_same, sizeof *j->same_text);
        if (!j->same_text) ingest_no_memory();
        for (size_t k = 0; k < n_old; k++)
            if (old[k]) *find_same(j, old[k] - 1) = old[k];
        free(old);
    }
    size_t *slot = find_same(j, i);
    if (*slot) return *slot - 1;
    *slot = i + 1;
    j->n_same++;
    return i;
}

/* Vectors of chunks from .. from + n - 1.  A text that came before (page heads, licences) has its vector. */
static loam_status embed_batch(job *j, size_t from, size_t n, loam_err *err) {
    loam_text *texts = calloc(n, sizeof *texts);
    size_t *first = calloc(n, sizeof *first);
    float *out = calloc(n * j->dim, sizeof *out);
    size_t n_new = 0;
    if (!texts || !first || !out) ingest_no_memory();
    for (size_t i = 0; i < n; i++) {
        first[i] = first_of_text(j, from + i);
        if (first[i] == from + i) texts[n_new++] = j->chunks[from + i].text;
    }
    loam_status st = LOAM_OK;
    if (n_new > 0)
        st = loam_embedder_encode(j->embedder, texts, n_new, LOAM_EMBED_DOCUMENT, out, &cli_cancel,
                                  err);
    n_new = 0;
    for (size_t i = 0; i < n && !st; i++) {
        const float *v =
            first[i] == from + i ? out + n_new++ * j->dim : j->vectors + first[i] * j->dim;
        memcpy(j->vectors + (from + i) * j->dim, v, j->dim * sizeof *v);
    }
    free(texts);
    free(first);
    free(out);
    return st;
}

/* Give vectors to the chunks that have none yet, `batch` at a time; `all`: also to the last few. */
static void embed_pending(job *j, int all) {
    if (!j->embedder || j->a.dry_run) {
        j->n_embedded = j->n_chunks;
        return;
    }
    while (j->n_chunks - j->n_embedded >= j->a.batch || (all && j->n_chunks > j->n_embedded)) {
        const size_t left = j->n_chunks - j->n_embedded, n = left < j->a.batch ? left : j->a.batch;
        loam_err err = {0};
        loam_status st = embed_batch(j, j->n_embedded, n, &err);
        stop_if_cancelled(j);
        if (st) {
            cli_progress_end(j->progress);
            cli_die(&err);
        }
        check_vectors(j, j->n_embedded, j->n_embedded + n);
        j->n_embedded += n;
    }
}

static void add_document(job *j, const char *path, const char *hash, size_t n_chunks) {
    j->documents =
        ingest_grow(j->documents, &j->cap_documents, j->n_documents + 1, sizeof *j->documents);
    loam_index_document *d = &j->documents[j->n_documents++];
    d->path = path;
    d->n_chunks = n_chunks;
    memcpy(d->hash, hash, sizeof d->hash);
}

/* Copy an old document over.  The chunks before it must be embedded: vectors are filled in order. */
static void keep_old(job *j, size_t i_old, const ingest_file *file) {
    const loam_index_document *d = loam_index_document_at(j->old, i_old);
    embed_pending(j, 1);
    for (size_t k = 0; k < d->n_chunks; k++) {
        const uint64_t id = j->old_first[i_old] + k;
        loam_chunk *c = add_chunk(j);
        *c = loam_index_chunk(j->old, id);
        /* called by another name now, from another folder: shown under that */
        const char *mark = file ? memchr(c->source.data, '#', c->source.n) : NULL;
        if (file && !mark) c->source = (loam_text){file->path, strlen(file->path)};
        if (j->dim > 0)
            memcpy(j->vectors + (j->n_chunks - 1) * j->dim, loam_index_vector(j->old, id),
                   j->dim * sizeof(float));
    }
    j->n_embedded = j->n_chunks;
    add_document(j, file ? file->key : d->path, d->hash, d->n_chunks);
}

static void add_new(job *j, reading *r, const ingest_file *file) {
    /* the text outlives the reading: chunks point into it */
    j->texts = ingest_grow(j->texts, &j->cap_texts, j->n_texts + 1, sizeof *j->texts);
    kept_text *kept = &j->texts[j->n_texts++];
    *kept = (kept_text){r->doc.text, r->doc.parts, r->doc.n_parts};
    memset(&r->doc.text, 0, sizeof r->doc.text);
    r->doc.parts = NULL;
    r->doc.n_parts = 0;
    for (size_t i = 0; i < r->pieces.n; i++) {
        const loam_piece *p = &r->pieces.items[i];
        loam_chunk *c = add_chunk(j);
        const char *source = kept->n_parts ? kept->parts[p->i_part].name : file->path;
        *c = (loam_chunk){.text = {kept->text.data + p->begin_byte, p->end_byte - p->begin_byte},
                          .source = {source, strlen(source)},
                          .page = p->page,
                          .begin = p->begin,
                          .end = p->end};
    }
    j->n_new_chunks += r->pieces.n;
    add_document(j, file->key, r->hash, r->pieces.n);
    embed_pending(j, 0);
}

static void print_text(const ingest_file *file, const reading *r) {
    printf("==> %s (%s", file->path, loam_document_kind_name(r->doc.kind));
    if (r->doc.n_pages) printf(", %zu pages", r->doc.n_pages);
    printf(") <==\n");
    size_t begin = 0;
    for (size_t i = 0; i <= r->doc.n_pages; i++) {
        const size_t end = i < r->doc.n_pages ? r->doc.pages[i].begin : r->doc.text.n;
        cli_stdout_text(r->doc.text.data + begin, end - begin);
        if (i > 0 && i < r->doc.n_pages) putchar('\f');
        begin = end;
    }
    putchar('\n');
}

static void take_sample(job *j, loam_sample *sample) {
    const ingest_file *file = &j->files.items[sample->index];
    reading *r = sample->value;
    j->bytes_done += file->size;
    if (sample->err.status == LOAM_ERR_MEMORY) ingest_no_memory();
    if (!sample->err.status && r->doc.n_skipped)
        cli_warn("%s: %zu record%s left out: %s%s", file->path, r->doc.n_skipped,
                 r->doc.n_skipped == 1 ? "" : "s",
                 r->doc.n_skipped == 1 ? "" : "the first: ", r->doc.first_skipped);
    if (sample->err.status)
        ingest_fail(&j->files, file->path, sample->err.msg);
    else if (j->a.show_text)
        print_text(file, r);
    else if (r->old != NOT_GIVEN) {
        keep_old(j, r->old, file);
        j->n_unchanged++;
    } else if (r->pieces.n == 0)
        ingest_fail(&j->files, file->path, "no text in it");
    else
        add_new(j, r, file);
    cli_progress_set(j->progress, j->bytes_done, j->files.bytes);
}

static void run_stream(job *j) {
    const char **names = calloc(j->files.n + 1, sizeof *names);
    loam_stream *s = NULL;
    loam_sample *sample = NULL;
    loam_err err = {0};
    if (!names) ingest_no_memory();
    for (size_t i = 0; i < j->files.n; i++) names[i] = j->files.items[i].path;
    if (loam_stream_from_names(&s, names, j->files.n, &err)) ingest_no_memory();
    s = loam_stream_map(s, read_document, j);
    s = loam_stream_prefetch(s, j->pool, 8 * (size_t)loam_pool_size(j->pool));
    if (!s) ingest_no_memory();
    loam_status st;
    while ((st = loam_stream_next(s, &sample, &err)) == LOAM_OK && sample) {
        stop_if_cancelled(j);
        take_sample(j, sample);
        loam_sample_free(sample);
    }
    if (st) cli_die(&err);
    loam_stream_free(s);
    free(names);
    embed_pending(j, 1);
    stop_if_cancelled(j);
}

/* ---- the end ---- */

/* Old documents that lie outside of the given paths come first, as they were. */
static void keep_elsewhere(job *j) {
    const size_t n = j->old && j->old_usable ? loam_index_n_documents(j->old) : 0;
    for (size_t i = 0; i < n; i++) {
        if (ingest_is_inside(&j->files, loam_index_document_at(j->old, i)->path)) continue;
        keep_old(j, i, NULL);
        j->n_elsewhere++;
    }
}

/* Is the index already what would be written? */
static int is_up_to_date(const job *j) {
    if (!j->old || j->n_new_chunks > 0 || j->n_chunks != loam_index_count(j->old) ||
        j->n_documents != loam_index_n_documents(j->old))
        return 0;
    for (size_t i = 0; i < j->n_documents; i++)
        if (strcmp(j->documents[i].path, loam_index_document_at(j->old, i)->path) != 0) return 0;
    for (size_t i = 0; i < j->n_chunks; i++)
        if (!is_same_text(j->chunks[i].source, loam_index_chunk(j->old, i).source)) return 0;
    return strcmp(loam_index_get_meta(j->old)->model_id, j->model_id) == 0;
}

static void write_index(job *j) {
    loam_err err = {0};
    loam_index_content c = {.chunks = j->chunks,
                            .vectors = j->vectors,
                            .n_chunks = j->n_chunks,
                            .dim = j->dim,
                            .documents = j->documents,
                            .n_documents = j->n_documents,
                            .chunk_size = j->chunker.size,
                            .chunk_overlap = j->chunker.overlap};
    snprintf(c.meta.model_id, sizeof c.meta.model_id, "%s", j->model_id);
    snprintf(c.meta.fingerprint, sizeof c.meta.fingerprint, "%s",
             loam_embedder_fingerprint(j->embedder));
    snprintf(c.meta.chunker, sizeof c.meta.chunker, "%s", j->chunker_name);
    if (loam_index_write(j->a.vdb_path, &c, &err)) cli_die(&err);
}

static void put_count(loam_buf *b, const char *name, size_t n) {
    loam_buf_printf(b, "\"%s\": %zu, ", name, n);
}

static void print_json(const job *j, double seconds, int written) {
    loam_buf b = {0};
    loam_buf_putc(&b, '{');
    if (j->a.vdb_path) {
        loam_buf_puts(&b, "\"index\": ");
        loam_json_put_string(&b, j->a.vdb_path, strlen(j->a.vdb_path));
        loam_buf_puts(&b, ", ");
    }
    put_count(&b, "documents", j->n_documents);
    put_count(&b, "chunks", j->n_chunks);
    put_count(&b, "unchanged", j->n_unchanged);
    put_count(&b, "new_chunks", j->n_new_chunks);
    put_count(&b, "kept_from_elsewhere", j->n_elsewhere);
    put_count(&b, "removed", j->n_removed);
    put_count(&b, "skipped", j->files.n_skipped);
    loam_buf_puts(&b, "\"failed\": [");
    for (size_t i = 0; i < j->files.n_failures; i++) {
        const ingest_failure *f = &j->files.failures[i];
        loam_buf_puts(&b, i ? ", {\"path\": " : "{\"path\": ");
        loam_json_put_string(&b, f->path, strlen(f->path));
        loam_buf_puts(&b, ", \"why\": ");
        loam_json_put_string(&b, f->why, strlen(f->why));
        loam_buf_putc(&b, '}');
    }
    loam_buf_printf(&b, "], \"bytes\": %llu, \"chunker\": \"%s\", \"model\": ",
                    (unsigned long long)j->files.bytes, j->chunker_name);
    loam_json_put_string(&b, j->model_id, strlen(j->model_id));
    loam_buf_printf(&b, ", \"written\": %s, \"seconds\": ", written ? "true" : "false");
    loam_json_put_number(&b, seconds);
    loam_buf_puts(&b, "}\n");
    if (b.failed) ingest_no_memory();
    fwrite(b.data, 1, b.n, stdout);
    loam_buf_deinit(&b);
}

static void print_report(const job *j, double seconds, int written) {
    printf("%s: %zu documents, %zu chunks",
           j->a.vdb_path && !j->a.dry_run ? j->a.vdb_path : "dry run", j->n_documents, j->n_chunks);
    if (j->n_unchanged) printf(", %zu unchanged", j->n_unchanged);
    if (j->n_elsewhere) printf(", %zu kept from elsewhere", j->n_elsewhere);
    if (j->n_removed) printf(", %zu removed", j->n_removed);
    if (j->files.n_failures) printf(", %zu failed", j->files.n_failures);
    if (j->files.n_skipped) printf(", %zu files of other types skipped", j->files.n_skipped);
    printf(", %.1f s%s\n", seconds, written || j->a.dry_run ? "" : " (already up to date)");
}

/* Old documents of the given paths that are no longer there, or no longer readable. */
static void count_removed(job *j) {
    const size_t n = j->old ? loam_index_n_documents(j->old) : 0;
    path_order *order = calloc(j->n_documents + 1, sizeof *order);
    if (!order) ingest_no_memory();
    for (size_t i = 0; i < j->n_documents; i++) order[i] = (path_order){j->documents[i].path, i};
    qsort(order, j->n_documents, sizeof *order, compare_paths);
    for (size_t i = 0; i < n; i++) {
        const char *path = loam_index_document_at(j->old, i)->path;
        size_t low = 0, high = j->n_documents;
        while (low < high) {
            const size_t middle = (low + high) / 2;
            if (strcmp(order[middle].path, path) < 0)
                low = middle + 1;
            else
                high = middle;
        }
        j->n_removed += low == j->n_documents || strcmp(order[low].path, path) != 0;
    }
    free(order);
}

static void open_embedder(job *j) {
    loam_err err = {0};
    if (j->a.model) snprintf(j->model_id, sizeof j->model_id, "%s", j->a.model);
    if (!j->model_id[0]) snprintf(j->model_id, sizeof j->model_id, "%s", DEFAULT_MODEL);
    if (j->a.show_text) return;
    /* a dry run does without the model when it is not there: sizes are then estimates */
    if (j->a.dry_run && loam_hub_find(&j->model_folder, j->model_id, NULL, &err)) {
        cli_warn("%s; chunk sizes are estimated", err.msg);
        return;
    }
    if (!j->model_folder) j->model_folder = cli_find_model(j->model_id);
    const loam_embedder_options o = {.pool = j->pool, .precision = cli_precision(j->a.precision)};
    if (loam_embedder_open(&j->embedder, j->model_folder, &o, &err)) cli_die(&err);
    j->dim = j->a.dry_run ? 0 : loam_embedder_dim(j->embedder);
    if (loam_embedder_count_tokens(j->embedder, (loam_text){"", 0}, &j->n_special, &err))
        cli_die(&err);
}

static void close_job(job *j) {
    for (size_t i = 0; i < j->n_texts; i++) {
        loam_buf_deinit(&j->texts[i].text);
        for (size_t k = 0; k < j->texts[i].n_parts; k++) free(j->texts[i].parts[k].name);
        free(j->texts[i].parts);
    }
    free(j->texts);
    free(j->chunks);
    free(j->vectors);
    free(j->same_text);
    free(j->documents);
    free(j->old_first);
    free(j->old_by_path);
    loam_index_close(j->old);
    loam_embedder_close(j->embedder);
    loam_pool_free(j->pool);
    free(j->model_folder);
    free(j->pdf_helper);
    free(j->html_helper);
    ingest_files_deinit(&j->files);
}

static int finish(job *j, double started) {
    int written = 0;
    if (j->a.show_text && j->files.n_failures < j->files.n)
        return j->files.n_failures ? CLI_EXIT_PARTIAL : CLI_EXIT_OK;
    if (j->n_documents == j->n_elsewhere && j->files.n == 1) return CLI_EXIT_INVALID; /* named */
    if (j->n_documents == j->n_elsewhere && j->files.n > 0)
        cli_fail(CLI_EXIT_INVALID, "none of the %zu documents could be read: nothing was written",
                 j->files.n);
    count_removed(j);
    if (!j->a.dry_run && !is_up_to_date(j)) {
        write_index(j);
        written = 1;
    }
    const double seconds = loam_now() - started;
    if (j->a.json)
        print_json(j, seconds, written);
    else
        print_report(j, seconds, written);
    return j->files.n_failures ? CLI_EXIT_PARTIAL : CLI_EXIT_OK;
}

int loam_cmd_ingest(int argc, char **argv) {
    job j = {.a = {.size = NOT_GIVEN, .overlap = NOT_GIVEN, .batch = 256}};
    cli_strings paths = {0};
    const double started = loam_now();

    cli_set_program("loam ingest");
    cli_parse(&PROGRAM, argc, argv, &j.a, &paths);
    if (!j.a.vdb_path && !j.a.dry_run && !j.a.show_text)
        cli_fail(CLI_EXIT_USAGE, "--vdb-path FILE.npz is needed: the index to write");
    ingest_find(&j.files, &paths, &j.a.include, &j.a.exclude);
    if (j.files.n == 0 && j.files.n_failures > 0) { /* each was named */
        ingest_files_deinit(&j.files);
        return CLI_EXIT_NOT_FOUND;
    }
    if (j.files.n == 0)
        cli_fail(CLI_EXIT_INVALID,
                 "no documents found in %s%s: text, Markdown, HTML, PDF, JSONL and CSV are read%s",
                 paths.items[0], paths.n > 1 ? ", ..." : "",
                 j.files.n_skipped ? "; files of other types were skipped" : "");
    j.pool = cli_pool(j.a.threads);
    lock_index(&j);
    open_old(&j);
    open_embedder(&j);
    set_chunker(&j);
    judge_old(&j);
    j.pdf_helper = cli_helper_path("loam-pdf");
    j.html_helper = cli_helper_path("loam-html");
    j.reader =
        (loam_reader){j.pdf_helper, j.html_helper, j.a.text_field, &cli_cancel, j.a.skip_bad};
    keep_elsewhere(&j);
    j.progress = cli_progress_new("ingesting", j.files.bytes, "B");
    run_stream(&j);
    cli_progress_end(j.progress);
    const int code = finish(&j, started);
    close_job(&j);
    return code;
}
