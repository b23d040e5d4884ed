/* ingest.h - the parts of `loam ingest`: which files, what becomes of them. */
#ifndef LOAM_APPS_INGEST_H
#define LOAM_APPS_INGEST_H

#include "cli/cli.h"
#include <loam/data.h>
#include <loam/rag.h>

typedef struct ingest_file {
    char *path;     /* as shown and cited: under the name the user gave; UTF-8, one line */
    char *absolute; /* links resolved: where it is read */
    char *key;      /* the same as UTF-8: what the index knows it by */
    uint64_t size;
} ingest_file;

typedef struct ingest_failure {
    char *path;
    char *why;
} ingest_failure;

typedef struct ingest_files {
    ingest_file *items;
    size_t n, cap;
    char **roots; /* absolute paths given: what lies there is up to this run */
    size_t n_roots, cap_roots;
    ingest_failure *failures;
    size_t n_failures, cap_failures;
    size_t n_skipped; /* files of folders that are no documents */
    uint64_t bytes;
} ingest_files;

/* Out of memory in a command: said in one line, exit 6. */
_Noreturn void ingest_no_memory(void);
void *ingest_grow(void *items, size_t *cap, size_t need, size_t size);

/* Report on stderr and keep for the end. */
void ingest_fail(ingest_files *files, const char *path, const char *why);
/* The files below the given paths, each once, in the order given and then of their names. */
void ingest_find(ingest_files *files, const cli_strings *paths, const cli_strings *include,
                 const cli_strings *exclude);
/* Does the absolute path lie at or below one of the given ones? */
int ingest_is_inside(const ingest_files *files, const char *absolute);
void ingest_files_deinit(ingest_files *files);

#endif
