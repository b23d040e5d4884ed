/* pyjson.h - JSON text laid out as Python's json.dumps(indent=N) lays it out.
 *
 *     loam_pyjson w = {.indent = 2};
 *     loam_pyjson_open(&w, NULL, '{');
 *     loam_pyjson_int(&w, "hidden_size", 576);
 *     loam_pyjson_close(&w);
 *     write w.out
 *
 * The files of a model folder are compared byte by byte with those of the Python
 * tools, so layout and number formats matter.  A key of NULL means an array item
 * (or the outermost value).  Text is UTF-8 as it is (ensure_ascii=False).
 */
#ifndef LOAM_MODEL_PYJSON_H
#define LOAM_MODEL_PYJSON_H

#include <loam/json.h>

enum { LOAM_PYJSON_DEPTH = 32 };

typedef struct loam_pyjson {
    loam_buf out; /* the caller's to deinit; `failed` says out of memory */
    int indent, depth;
    int n_items[LOAM_PYJSON_DEPTH];
    char closing[LOAM_PYJSON_DEPTH];
} loam_pyjson;

void loam_pyjson_open(loam_pyjson *w, const char *key, char bracket); /* '{' or '[' */
void loam_pyjson_close(loam_pyjson *w);
void loam_pyjson_string(loam_pyjson *w, const char *key, const char *s);
void loam_pyjson_text(loam_pyjson *w, const char *key, const char *s, size_t n);
void loam_pyjson_int(loam_pyjson *w, const char *key, int64_t v);
void loam_pyjson_float(loam_pyjson *w, const char *key,
                       float v); /* shortest for a float, repr form */
void loam_pyjson_bool(loam_pyjson *w, const char *key, int v);
void loam_pyjson_null(loam_pyjson *w, const char *key);
/* A parsed value, written anew; ensure_ascii as json.dumps takes it. */
void loam_pyjson_value(loam_pyjson *w, const char *key, const loam_json_value *v, int ensure_ascii);
/* The same with a key that may hold any text. */
void loam_pyjson_key(loam_pyjson *w, const char *key,
                     size_t n); /* then one of the above with key "" */

#endif
