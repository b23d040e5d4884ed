/* json_value.h - the node of a parsed document, shared by json.c and json_write.c.
 *
 * Nodes stand in one array in file order, so a container is followed by its
 * contents and `span` leads to what comes after it:
 *
 *     {"a": 1, "b": [2, 3]}     index   0    1    2     3    4
 *                               node    {}   1    []    2    3
 *                               span    5    1    3     1    1
 *
 * 32 bytes a node; a 33 MB tokenizer.json has about a million of them.
 */
#ifndef LOAM_IO_JSON_VALUE_H
#define LOAM_IO_JSON_VALUE_H

#include <loam/json.h>

enum {
    JSON_LAST = 1,       /* last child of its parent */
    JSON_UNIFORM = 2,    /* all children have the same span: child i is found by a product */
    JSON_DUPLICATES = 4, /* some key of this object occurs twice */
    JSON_BIG_INTEGER = 8 /* REAL written as an integer beyond int64: `as.text` keeps its digits */
};

struct loam_json_value {
    const char *key; /* members of objects only */
    uint32_t key_bytes;
    uint8_t type; /* loam_json_type */
    uint8_t flags;
    uint32_t n;    /* bytes of a string, children of a container */
    uint32_t span; /* nodes of this value, itself included */
    union {
        int64_t integer;
        double real;
        const char *text;
        const uint32_t *index; /* containers of many children, see json.c; else NULL */
    } as;
};

/* strtod that does not know the locale.  `text` is NUL-terminated. */
double loam_json_strtod(const char *text);

#endif
