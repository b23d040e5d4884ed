/* json.h - JSON in and out.
 *
 *     loam_json *doc;
 *     if (loam_json_parse(&doc, text, n, "config.json", 0, &err)) ...
 *     const loam_json_value *v = loam_json_get(loam_json_root(doc), "hidden_size");
 *     int64_t hidden;
 *     if (!loam_json_int(v, &hidden)) ...                 v may be NULL
 *     loam_json_free(doc);
 *
 * Strict RFC 8259: UTF-8 checked (no overlong forms, no lone surrogates), depth
 * at most 128, no comments or trailing commas.  Every value lives as long as its
 * document and is read-only: any number of threads may read one document.
 */
#ifndef LOAM_JSON_H
#define LOAM_JSON_H

#include <loam/base.h>

typedef struct loam_json loam_json;
typedef struct loam_json_value loam_json_value;

typedef enum loam_json_type {
    LOAM_JSON_NULL,
    LOAM_JSON_FALSE,
    LOAM_JSON_TRUE,
    LOAM_JSON_INT, /* fits int64, written without '.', 'e' */
    LOAM_JSON_REAL,
    LOAM_JSON_STRING,
    LOAM_JSON_ARRAY,
    LOAM_JSON_OBJECT
} loam_json_type;

enum {
    LOAM_JSON_REJECT_DUPLICATES =
        1,                   /* a repeated key in an object is an error; else the last one counts */
    LOAM_JSON_ALLOW_NAN = 2, /* NaN, Infinity, -Infinity as Python's json writes them */
    LOAM_JSON_LONE_SURROGATES = 4 /* a lone \uD8xx escape becomes U+FFFD instead of an error */
};

/* `name` stands in messages ("config.json: expected ':' at byte 17").
 * `text` is copied where needed and may be freed after.  Errors: FORMAT, MEMORY. */
LOAM_API loam_status loam_json_parse(loam_json **out, const char *text, size_t n, const char *name,
                                     unsigned flags, loam_err *err);
/* Reads the whole file (limit `max_bytes`, 0 = 1 GiB).  Errors: also IO, NOT_FOUND, LIMIT. */
LOAM_API loam_status loam_json_read(loam_json **out, const char *path, size_t max_bytes,
                                    unsigned flags, loam_err *err);
LOAM_API void loam_json_free(loam_json *doc); /* NULL is allowed */
LOAM_API const loam_json_value *loam_json_root(const loam_json *doc);

/* All of these take NULL for "no such value" and then say so (type NULL, count 0, ...). */
LOAM_API loam_json_type loam_json_type_of(const loam_json_value *v);
LOAM_API size_t loam_json_count(const loam_json_value *v); /* array items or object members */
LOAM_API const loam_json_value *loam_json_at(const loam_json_value *v,
                                             size_t i); /* item or member value */
LOAM_API const char *loam_json_key(const loam_json_value *v, size_t i, size_t *n); /* member key */
/* Member by key; constant time.  When a key occurs twice the last one is found
 * (counting and iterating show both). */
LOAM_API const loam_json_value *loam_json_get(const loam_json_value *v, const char *key);
LOAM_API const loam_json_value *loam_json_get_n(const loam_json_value *v, const char *key,
                                                size_t n);
/* Iteration in file order without indexing cost: first child / next sibling. */
LOAM_API const loam_json_value *loam_json_first(const loam_json_value *v);
LOAM_API const loam_json_value *loam_json_next(const loam_json_value *child);
LOAM_API const char *loam_json_own_key(const loam_json_value *member, size_t *n);

/* NUL-terminated UTF-8 (may hold inner NULs: use *n); NULL when not a string. */
LOAM_API const char *loam_json_string(const loam_json_value *v, size_t *n);
LOAM_API int loam_json_int(const loam_json_value *v,
                           int64_t *out); /* 1 for INT, or an integral REAL in range */
LOAM_API int loam_json_number(const loam_json_value *v, double *out); /* 1 for INT or REAL */
LOAM_API int loam_json_bool(const loam_json_value *v, int *out);      /* 1 for TRUE/FALSE */

/* Writing: append a JSON text to a buffer. */
LOAM_API void loam_json_put_string(loam_buf *b, const char *s,
                                   size_t n); /* quoted; invalid UTF-8 becomes U+FFFD */
LOAM_API void loam_json_put_number(loam_buf *b,
                                   double v); /* shortest that round-trips; NaN/inf as null */
LOAM_API void loam_json_put_float(loam_buf *b, float v); /* shortest that round-trips as float */
/* As Python's repr: "1.0", "1e-05", "1e+16", "nan". */
LOAM_API void loam_json_put_repr(loam_buf *b, double v);
/* A value as Python's json.dumps writes it.  indent < 0: one line, separators ", " and ": ". */
LOAM_API void loam_json_put_value(loam_buf *b, const loam_json_value *v, int indent,
                                  int ensure_ascii);

#endif
