/* pass_cost.h - what a pass over m positions takes on this machine, with this model, now.
 *
 *     loam_pass_cost_init(&c);
 *     loam_pass_cost_learn(&c, m, seconds);     after every pass
 *     loam_pass_cost_of(&c, m)                  against one position: 1 for m of 1
 *
 * Decode waits for the weights, so some positions more cost little until the multiplications
 * take longer than the waiting; where that is depends on model, instructions, memory and
 * load.  The estimates follow the passes as they are timed.  A pass that was held up (another
 * job, a stopped process) counts as one that took twice what was expected, and is outweighed by
 * the next that was not.
 */
#ifndef LOAM_SRC_PASS_COST_H
#define LOAM_SRC_PASS_COST_H

#include "base/base.h"

enum { LOAM_MAX_PASS = 16 };

typedef struct loam_pass_cost {
    double seconds[LOAM_MAX_PASS + 1]; /* by m; 0: none was timed */
} loam_pass_cost;

void loam_pass_cost_init(loam_pass_cost *c);
void loam_pass_cost_learn(loam_pass_cost *c, size_t m, double seconds);
double loam_pass_cost_of(const loam_pass_cost *c, size_t m);

#endif
