/* regex.h - the split patterns of tokenizers.
 *
 * Patterns met in real models are matched by hand-written code, chosen by exact
 * equality of the text; all others go to PCRE2 with limits.  Semantics are those of
 * Oniguruma (Ruby syntax), which the reference tokenizers use. */
#ifndef LOAM_TEXT_REGEX_H
#define LOAM_TEXT_REGEX_H

#include "base/base.h"

typedef struct loam_regex loam_regex; /* immutable: any number of threads */

loam_status loam_regex_new(loam_regex **out, const char *pattern, size_t n, const char *name,
                           loam_err *err);
void loam_regex_free(loam_regex *r); /* NULL is allowed */

/* A hand-written matcher: end of the match that starts at s[i], i < n; the match is
 * never empty and there always is one.  NULL when the pattern has none. */
typedef size_t (*loam_matcher)(const char *s, size_t n, size_t i);
loam_matcher loam_regex_matcher(const loam_regex *r);
size_t loam_match_gpt2(const char *s, size_t n, size_t i);

/* One search over a text: matches in order, as an iterator gives them. */
typedef struct loam_regex_scan {
    const loam_regex *re;
    const char *s;
    size_t n, at, last_end;
    int any;
    void *match, *limits; /* pcre2_match_data, pcre2_match_context */
    double deadline;
} loam_regex_scan;
loam_status loam_regex_scan_init(loam_regex_scan *c, const loam_regex *re, const char *s, size_t n,
                                 loam_err *err);
/* LOAM_OK with *found and [*start, *end).  Errors: LIMIT (the pattern takes too long), MEMORY. */
loam_status loam_regex_next(loam_regex_scan *c, int *found, size_t *start, size_t *end,
                            loam_err *err);
void loam_regex_scan_deinit(loam_regex_scan *c);

#endif
