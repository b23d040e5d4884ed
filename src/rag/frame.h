/* frame.h - one text with its special tokens around it, cut so that they stay whole.
 *
 *     loam_frame f;
 *     if (loam_frame_find(&f, tokenizer, &err)) ...
 *     loam_frame_append(&f, text, n, 256, &ids, &err);      at most 256 ids, [SEP] last
 *
 * Truncation and padding that tokenizer.json itself may ask for are ignored: the libraries
 * whose results these are override both.  Special tokens written out in a text become
 * their ids, as there.
 */
#ifndef LOAM_RAG_FRAME_H
#define LOAM_RAG_FRAME_H

#include <loam/text.h>

typedef struct loam_frame {
    const loam_tokenizer *tokenizer; /* borrowed */
    size_t n_prefix, n_suffix;       /* special tokens before and after a text */
} loam_frame;

loam_status loam_frame_find(loam_frame *f, const loam_tokenizer *tokenizer, loam_err *err);
/* Append the ids of a text, at most `max` (0: no limit; else more than prefix and suffix). */
loam_status loam_frame_append(const loam_frame *f, const char *text, size_t n, size_t max,
                              loam_ids *ids, loam_err *err);
/* Cut the n ids of a text to `max` in the same way; how many are left. */
size_t loam_frame_cut(const loam_frame *f, int32_t *ids, size_t n, size_t max);

#endif
