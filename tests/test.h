/* test.h - a check that fails prints its values, is counted, and makes main return 1. */
#ifndef LOAM_TEST_H
#define LOAM_TEST_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_failures, test_checks;

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        test_checks++;                                                                             \
        if (!(cond)) {                                                                             \
            test_failures++;                                                                       \
            if (test_failures <= 50) {                                                             \
                printf("%s:%d: %s: ", __FILE__, __LINE__, #cond);                                  \
                printf(__VA_ARGS__);                                                               \
                printf("\n");                                                                      \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* Last line of every test's main: "test_x: N checks, M failed". */
#define TEST_END(name)                                                                             \
    (printf("%s: %d checks, %d failed\n", name, test_checks, test_failures),                       \
     test_failures != 0 || test_checks == 0)

/* LOAM_TEST_SET=NAME limits tests of the kernels to that set: an emulated CPU is slow. */
static inline int test_wants_set(const char *name) {
    const char *only = getenv("LOAM_TEST_SET");
    return !only || strcmp(only, name) == 0;
}

#endif
