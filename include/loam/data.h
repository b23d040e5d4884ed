/* data.h - documents through threads: streams, readers and chunkers.
 *
 *     loam_stream *s = NULL;
 *     if (loam_stream_from_folder(&s, "docs", NULL, &err)) die(err.msg);
 *     s = loam_stream_map(s, read_it, ctx);
 *     s = loam_stream_prefetch(s, pool, 32);
 *     while (loam_stream_next(s, &sample, &err) == LOAM_OK && sample) { ... loam_sample_free(sample); }
 *     loam_stream_free(s);
 *
 * The counterpart of mlx-data for text.  Order is that of the source, whatever the
 * number of threads; shuffle and partition depend on their arguments and nothing
 * else.  A sample that failed carries its error, later stages pass it on
 * untouched, and the stream goes on.
 */
#ifndef LOAM_DATA_H
#define LOAM_DATA_H

#include <loam/base.h>

/* ---- samples ---- */

typedef struct loam_field {
    char *name, *value; /* owned, NUL-terminated */
    size_t n;           /* bytes of value */
} loam_field;

typedef struct loam_sample {
    char *name;     /* what messages call it: a path, "path:line", a record's id; owned */
    uint64_t index; /* position at the source, from 0: sorting by it undoes shuffle and bucketing */
    loam_buf data;  /* bytes: a line, a field, a text */
    loam_field *fields; /* a CSV row, in the order of its header; owned */
    size_t n_fields;
    struct loam_sample **items; /* what batch made: owned samples */
    size_t n_items;
    void *value; /* whatever a map function made, freed by `release` */
    void (*release)(void *value);
    size_t size;  /* what batch_size counts; 0: data.n */
    loam_err err; /* status not OK: this sample failed, and why */
} loam_sample;

LOAM_API loam_sample *loam_sample_new(const char *name); /* NULL: out of memory */
LOAM_API void loam_sample_free(loam_sample *sample);     /* NULL is allowed */

/* ---- streams ----
 * A stage takes its upstream over, also when it fails: then it frees it and
 * returns NULL, and every stage given NULL returns NULL, so that one check at the
 * end of a chain is enough (the cause is lack of memory). */
typedef struct loam_stream loam_stream;

/* *out is the next sample, the caller's; NULL at the end.  An error (not that of a
 * sample) ends the stream: MEMORY, or what the source says. */
LOAM_API loam_status loam_stream_next(loam_stream *s, loam_sample **out, loam_err *err);
LOAM_API void loam_stream_free(loam_stream *s); /* NULL is allowed */

/* Sources.  Names and bytes are copied. */
LOAM_API loam_status loam_stream_from_names(loam_stream **out, const char *const *names, size_t n,
                                            loam_err *err);
/* One sample (its path) for each regular file below `path`, in byte order of the path; symlinks
 * are followed, but every folder is entered once.  Hidden names are left out.  `skip` (may be NULL) says which to leave out. */
typedef int (*loam_path_skip)(void *ctx, const char *path, int is_folder);
LOAM_API loam_status loam_stream_from_folder(loam_stream **out, const char *path,
                                             loam_path_skip skip, void *ctx, loam_err *err);
/* Lines without their '\n', gzip unpacked on the way; a last line needs no '\n'. */
LOAM_API loam_status loam_stream_from_lines(loam_stream **out, const char *path, loam_err *err);
/* Rows by the header of the first row (see loam_csv); a row that does not fit is a failed sample. */
LOAM_API loam_status loam_stream_from_csv(loam_stream **out, const char *path, char separator,
                                          loam_err *err);

/* Change a sample in place.  A non-OK status (with err) makes it a failed sample.
 * Under prefetch it is called from several threads, for different samples. */
typedef loam_status (*loam_map_fn)(void *ctx, loam_sample *sample, loam_err *err);
LOAM_API loam_stream *loam_stream_map(loam_stream *s, loam_map_fn fn, void *ctx);
/* Keep the samples for which fn is not 0; failed samples are always kept. */
LOAM_API loam_stream *
loam_stream_filter(loam_stream *s, int (*fn)(void *ctx, const loam_sample *sample), void *ctx);
/* Replace a sample by the samples that fn gives to loam_emit_push. */
typedef struct loam_emit loam_emit;
LOAM_API loam_status loam_emit_push(loam_emit *e,
                                    loam_sample *sample); /* takes it over, whatever the result */
typedef loam_status (*loam_flat_map_fn)(void *ctx, const loam_sample *sample, loam_emit *e,
                                        loam_err *err);
LOAM_API loam_stream *loam_stream_flat_map(loam_stream *s, loam_flat_map_fn fn, void *ctx);

/* Groups of n (the last may be smaller) in `items`.  Failed samples pass singly. */
LOAM_API loam_stream *loam_stream_batch(loam_stream *s, size_t n);
/* Groups of similar size: reads `window` samples, sorts them by size (equal ones by position), and packs as
 * long as rows * largest size <= max_size and rows <= max_rows.  A sample larger than max_size stands alone. */
LOAM_API loam_stream *loam_stream_batch_size(loam_stream *s, size_t max_size, size_t max_rows,
                                             size_t window);

/* Run the map stages directly above on the pool's workers, `window` samples at a time, and hand
 * the results out in order.  No thread of its own: the pool is borrowed while a window is made, so that what
 * consumes the stream has all workers in between.  At most `window` finished samples wait: that is the
 * back-pressure.  The pool must not be busy with a job that waits for this stream. */
LOAM_API loam_stream *loam_stream_prefetch(loam_stream *s, loam_pool *pool, size_t window);

/* A permutation given by the seed; reads the whole upstream first. */
LOAM_API loam_stream *loam_stream_shuffle(loam_stream *s, uint64_t seed);
/* Samples i, i + n, i + 2n, ... (mlx-data's partition).  n >= 1, i < n. */
LOAM_API loam_stream *loam_stream_partition(loam_stream *s, size_t n, size_t i);

/* ---- CSV (RFC 4180) ----
 * Quoted fields may hold separators, quotes (doubled) and newlines.  Blank lines are skipped and an
 * empty last field is a field (mlx-data refuses both).  A row with another number of fields than the
 * first, a quote inside a bare field, text after a closing quote: a FORMAT error naming the line; the next call goes on
 * with the next line.  An open quote at the end is an error too. */
typedef struct loam_csv {
    const char *text;
    size_t n, at, line; /* set text, n, separator and quote; zero the rest */
    char separator, quote;
    size_t n_columns; /* of the first row read; 0 before */
    loam_buf row;     /* bytes of the fields, each NUL-terminated */
    size_t *ends;     /* of field i in row */
    size_t n_fields, cap;
} loam_csv;
/* 1: a row is there; 0: the end; -1: err tells (status FORMAT or MEMORY). */
LOAM_API int loam_csv_next(loam_csv *csv, loam_err *err);
LOAM_API const char *loam_csv_field(const loam_csv *csv, size_t i, size_t *n); /* i < n_fields */
LOAM_API void loam_csv_deinit(loam_csv *csv);

/* ---- documents ---- */

/* Bytes to clean UTF-8, appended to `out`: byte order mark obeyed and dropped; `charset` (may be NULL) is
 * what the document says of itself; else UTF-8 when valid, else Windows-1252 when it looks like text
 * (few control characters, less than a third high bytes), else an error (FORMAT, "binary").  Mostly valid
 * UTF-8 is read as that, broken bytes as U+FFFD.  CR LF and CR become LF, control characters except tab, LF
 * and FF become spaces. */
LOAM_API loam_status loam_text_decode(const char *bytes, size_t n, const char *charset,
                                      loam_buf *out, loam_err *err);
/* Append the inflated gzip stream(s).  FORMAT: damaged or cut; LIMIT: over max_bytes, or over 1000 : 1. */
LOAM_API loam_status loam_gunzip(const void *bytes, size_t n, size_t max_bytes, loam_buf *out,
                                 loam_err *err);
LOAM_API int loam_is_gzip(const void *bytes, size_t n);

/* Read a regular file whole (at most LOAM_DOCUMENT_MAX_BYTES), and the SHA-256 of its bytes as 64 hex
 * digits.  The message does not repeat the path. */
LOAM_API loam_status loam_content_read(loam_buf *out, char hash[65], const char *path,
                                       loam_err *err);

typedef struct loam_page {
    int64_t number; /* from 1 */
    size_t begin;   /* byte of the document's text where it starts */
} loam_page;

typedef struct loam_heading {
    size_t begin, end; /* bytes of the document's text */
    int level;         /* 1 is the highest */
} loam_heading;

/* One record of a JSONL or CSV file: chunks never cross it, spans count from its begin. */
typedef struct loam_part {
    char *name; /* source shown for its chunks */
    size_t begin;
} loam_part;

typedef enum loam_document_kind {
    LOAM_DOCUMENT_TEXT,
    LOAM_DOCUMENT_MARKDOWN,
    LOAM_DOCUMENT_HTML,
    LOAM_DOCUMENT_PDF,
    LOAM_DOCUMENT_JSONL,
    LOAM_DOCUMENT_CSV,
    LOAM_DOCUMENT_UNKNOWN /* not read */
} loam_document_kind;

typedef struct loam_document {
    loam_document_kind kind;
    char *title;   /* or NULL */
    loam_buf text; /* clean UTF-8 */
    loam_page *pages;
    size_t n_pages, cap_pages;
    loam_heading *headings; /* ascending, not overlapping */
    size_t n_headings, cap_headings;
    loam_part *parts;
    size_t n_parts, cap_parts;
    size_t n_skipped;        /* records that did not fit, left out as the reader wanted */
    char first_skipped[160]; /* why the first of them */
} loam_document;

typedef struct loam_reader {
    const char *pdf_helper,
        *html_helper;          /* paths of loam-pdf and loam-html; NULL: such files are an error */
    const char *text_field;    /* of JSONL and CSV; NULL: text, content or body */
    const loam_cancel *cancel; /* may be NULL */
    int skip_bad;              /* JSONL and CSV: leave a bad record out instead of failing */
} loam_reader;

/* The kind a file name promises (".gz" is looked through); UNKNOWN for names that are no documents. */
LOAM_API loam_document_kind loam_document_kind_of_name(const char *name);
LOAM_API const char *loam_document_kind_name(loam_document_kind kind);
/* 1: a document of a type loam does not read (docx, epub, zip, ...): worth a message, not silence. */
LOAM_API int loam_document_is_foreign(const char *name);

enum { LOAM_DOCUMENT_MAX_BYTES = 256 << 20 };
/* Read the bytes of a file called `name`: content decides where it is clear (PDF, gzip, zip), else the name.
 * `doc` must be zeroed; release it in any case.  Errors: FORMAT (damaged, binary, encrypted, no text),
 * UNSUPPORTED, LIMIT, NOT_FOUND (helper), CANCELLED, MEMORY. */
LOAM_API loam_status loam_document_read(loam_document *doc, const char *name, const void *bytes,
                                        size_t n, const loam_reader *reader, loam_err *err);
LOAM_API void loam_document_deinit(loam_document *doc);
/* Page of a byte of the text; 0 when the document has no pages. */
LOAM_API int64_t loam_document_page(const loam_document *doc, size_t at);

/* ---- chunks ---- */

/* text[begin_byte, end_byte) of the document is the chunk, exactly; begin and end are the same places in
 * code points, counted from the start of the document, or of the part. */
typedef struct loam_piece {
    size_t begin_byte, end_byte;
    int64_t begin, end, page;
    size_t i_part; /* when the document has parts */
} loam_piece;

typedef struct loam_pieces {
    loam_piece *items;
    size_t n, cap;
} loam_pieces;
LOAM_API void loam_pieces_deinit(loam_pieces *p);

typedef enum loam_chunker_kind {
    LOAM_CHUNK_SENTENCE, /* whole sentences, paragraphs and headings up to `size` tokens */
    LOAM_CHUNK_FIXED     /* `size` code points at a stride of size - overlap: the reference lab's */
} loam_chunker_kind;

typedef struct loam_chunker {
    loam_chunker_kind kind;
    size_t size, overlap; /* overlap < size */
    size_t max_tokens;    /* sentence: a chunk never has more (0: no limit) */
    /* Tokens of a text, without special ones; NULL: four bytes a token.  Called from the threads that chunk. */
    loam_status (*count)(void *ctx, const char *text, size_t n, size_t *tokens, loam_err *err);
    void *ctx;
} loam_chunker;

enum {
    LOAM_CHUNK_FIXED_SIZE = 256,
    LOAM_CHUNK_FIXED_OVERLAP = 50,
    LOAM_CHUNK_SENTENCE_SIZE = 200,
    LOAM_CHUNK_SENTENCE_OVERLAP = 32
};

/* Append the chunks of `doc`.  Errors: ARGUMENT (size 0, overlap >= size), MEMORY, what count says. */
LOAM_API loam_status loam_chunk_document(const loam_chunker *c, const loam_document *doc,
                                         loam_pieces *out, loam_err *err);

#endif
