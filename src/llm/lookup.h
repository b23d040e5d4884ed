/* lookup.h - prompt lookup: guess what comes next from what the same ids were followed by.
 *
 *     loam_lookup_init(&l);
 *     n = loam_lookup_draft(&l, &cost, ids, n_ids, room, draft);     0: a plain step is better
 *     ... feed the newest id and the draft in one pass, see how many of them come true ...
 *     loam_lookup_learn(&l, n_true);                                 after every draft of n > 0
 *
 * An answer from documents copies from them: the longest end of ids[0 .. n_ids) that stands
 * earlier too is looked for, and what followed there is the draft.  How much of it is worth
 * reading is weighed: a longer match comes true more often, and so does one whose places are
 * all followed by the same id (estimated for each kind as the answer goes on); a longer pass
 * costs more (pass_cost.h).  Nothing here decides what is written, only how many passes it takes.
 */
#ifndef LOAM_SRC_LOOKUP_H
#define LOAM_SRC_LOOKUP_H

#include "llm/pass_cost.h"

enum { LOAM_MAX_DRAFT = LOAM_MAX_PASS - 1, LOAM_MAX_MATCH = 8 };

typedef struct loam_lookup {
    /* share of guesses that came true, by what is known of the place: whether all places that
     * match go on alike or not, and how many ids match */
    double hit[2][LOAM_MAX_MATCH + 1];
    size_t match, n_draft; /* of the last draft */
    int is_contested;
} loam_lookup;

void loam_lookup_init(loam_lookup *l);
/* At most `room` ids into draft[LOAM_MAX_DRAFT]; returns how many. */
size_t loam_lookup_draft(loam_lookup *l, const loam_pass_cost *cost, const int32_t *ids,
                         size_t n_ids, size_t room, int32_t *draft);
void loam_lookup_learn(loam_lookup *l, size_t n_true);

#endif
