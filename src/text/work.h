/* work.h - a place to count the steps of loops whose number a text could drive up.
 *
 * Nothing, unless a test that compiles a file with a LOAM_WORK of its own
 * (tests/test_tokenizer_work.c) wants to know. */
#ifndef LOAM_TEXT_WORK_H
#define LOAM_TEXT_WORK_H

#ifndef LOAM_WORK
#define LOAM_WORK(steps) ((void)0)
#endif

#endif
