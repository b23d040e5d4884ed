/* load.c - opens what an answer needs, cheapest first, so that a wrong path fails at once. */
#include "rag/rag.h"

#include <limits.h>
#include <loam/hub.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void load_index(rag_app *app) {
    loam_err err = {0};
    char absolute[PATH_MAX];
    const char *path = app->args->vdb_path;
    if (loam_index_open(&app->index, path, &err)) {
        if (err.status == LOAM_ERR_NOT_FOUND)
            cli_fail(CLI_EXIT_NOT_FOUND,
                     "%s: no such index: make one with: loam ingest FOLDER --vdb-path %s", path,
                     path);
        cli_die(&err);
    }
    if (loam_index_count(app->index) == 0)
        cli_fail(CLI_EXIT_NOT_FOUND,
                 "%s: the index holds no chunks: fill it with: loam ingest FOLDER --vdb-path %s",
                 path, path);
    app->index_path = strdup(realpath(path, absolute) ? absolute : path);
}

/* Which embedder: the flag, else what the index names, else the default if its vectors fit. */
static void load_embedder(rag_app *app) {
    const loam_index_meta *meta = loam_index_get_meta(app->index);
    const char *name = app->args->embed_model;
    loam_err err = {0};
    int guessed = 0;
    if (!name && meta->model_id[0]) name = meta->model_id;
    if (!name) {
        name = RAG_DEFAULT_EMBEDDER;
        guessed = 1;
    }
    char *folder = cli_find_model(name);
    const loam_embedder_options o = {app->pool, cli_precision(app->args->precision)};
    if (loam_embedder_open(&app->embedder, folder, &o, &err)) cli_die(&err);
    free(folder);
    const size_t have = loam_embedder_dim(app->embedder), need = loam_index_dim(app->index);
    if (guessed && have != need)
        cli_fail(CLI_EXIT_USAGE,
                 "%s: does not say which embedder made it, and its vectors have %zu dimensions, "
                 "not the %zu of %s: name it with --embed-model",
                 app->args->vdb_path, need, have, name);
    if (loam_index_check_embedder(app->index, app->embedder, app->args->vdb_path, &err))
        cli_die(&err);
}

/* A named reranker must be there; the default one is used when it is. */
static void load_reranker(rag_app *app) {
    char *folder = NULL;
    loam_err err = {0};
    if (app->args->no_reranker) return;
    const char *name = app->args->reranker_id ? app->args->reranker_id : RAG_DEFAULT_RERANKER;
    if (loam_hub_find(&folder, name, NULL, &err)) {
        if (app->args->reranker_id) cli_die(&err);
        cli_warn("reranker %s is not on this machine, answering without it (to get it: loam pull "
                 "%s; to silence this: --no-reranker)",
                 name, name);
        return;
    }
    const loam_embedder_options o = {app->pool, cli_precision(app->args->precision)};
    if (loam_reranker_open(&app->reranker, folder, &o, &err)) cli_die(&err);
    app->reranker_name = name;
    free(folder);
}

/* The named model; without a name the seed's default, else the one that `make demo` installs as "default". */
static char *find_language_model(rag_app *app) {
    char *folder = NULL;
    loam_err err = {0}, ignored = {0};
    app->model_name = app->args->model_id ? app->args->model_id : RAG_DEFAULT_MODEL;
    if (loam_hub_find(&folder, app->model_name, NULL, &err) == LOAM_OK) return folder;
    if (app->args->model_id || loam_hub_find(&folder, "default", NULL, &ignored)) cli_die(&err);
    char real[PATH_MAX];
    if (realpath(folder, real)) {
        free(folder);
        folder = strdup(real);
    }
    app->model_name = folder;
    return folder;
}

static void load_model(rag_app *app) {
    loam_err err = {0};
    char *folder = find_language_model(app);
    const loam_model_options o = {app->pool, cli_precision(app->args->precision), app->kv};
    if (loam_model_open(&app->model, folder, &o, &err)) cli_die(&err);
    if (loam_tokenizer_open(&app->tokenizer, folder, &err)) cli_die(&err);
    if (loam_template_open(&app->template, folder, &err) && err.status != LOAM_ERR_NOT_FOUND)
        cli_die(&err);
    if (app->model_name != folder) free(folder);
}

void rag_load(rag_app *app, const rag_args *args) {
    app->args = args;
    app->kv = cli_kv(args->kv, args->precision);
    load_index(app);
    app->pool = cli_pool(args->threads);
    load_embedder(app);
    load_reranker(app);
    load_model(app);
}

void rag_unload(rag_app *app) {
    loam_session_free(app->session);
    loam_template_free(app->template);
    loam_tokenizer_close(app->tokenizer);
    loam_model_close(app->model);
    loam_reranker_close(app->reranker);
    loam_embedder_close(app->embedder);
    loam_index_close(app->index);
    loam_pool_free(app->pool);
    free(app->index_path);
    if (!app->args->model_id && strcmp(app->model_name, RAG_DEFAULT_MODEL) != 0)
        free((char *)(uintptr_t)app->model_name);
}
