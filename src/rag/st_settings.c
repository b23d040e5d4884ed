/* st_settings.c - reading a sentence-transformers folder; the header says what is read. */
#include "rag/st_settings.h"

#include <loam/json.h>

enum { MAX_SETTINGS_BYTES = 16 << 20 };

/* The file as JSON, or *out NULL when there is none. */
static loam_status read_optional(loam_json **out, const char *folder, const char *file,
                                 loam_err *err) {
    *out = NULL;
    char *path = loam_path_join(folder, file);
    if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s/%s", folder, file);
    loam_status st = LOAM_OK;
    if (loam_path_exists(path))
        st = loam_json_read(out, path, MAX_SETTINGS_BYTES, LOAM_JSON_ALLOW_NAN, err);
    free(path);
    return st;
}

static const loam_json_value *root_of(const loam_json *doc) {
    return doc ? loam_json_root(doc) : NULL;
}

static int is_true(const loam_json_value *object, const char *key, int fallback) {
    int flag = fallback;
    return loam_json_bool(loam_json_get(object, key), &flag) ? flag : fallback;
}

/* ---- pooling ---- */

typedef struct pooling_name {
    const char *flag, *name; /* key of older files, value of newer ones */
} pooling_name;

static const pooling_name POOLINGS[LOAM_N_POOLINGS] = {
    [LOAM_POOL_CLS] = {"pooling_mode_cls_token", "cls"},
    [LOAM_POOL_MAX] = {"pooling_mode_max_tokens", "max"},
    [LOAM_POOL_MEAN] = {"pooling_mode_mean_tokens", "mean"},
    [LOAM_POOL_MEAN_SQRT] = {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
    [LOAM_POOL_WEIGHTED] = {"pooling_mode_weightedmean_tokens", "weightedmean"},
    [LOAM_POOL_LAST] = {"pooling_mode_lasttoken", "lasttoken"},
};

static loam_status add_named_pooling(loam_st_settings *s, const loam_json_value *v,
                                     const char *folder, loam_err *err) {
    const char *name = loam_json_string(v, NULL);
    for (size_t i = 0; name && i < LOAM_N_POOLINGS; i++) {
        if (strcmp(name, POOLINGS[i].name) != 0 || s->n_poolings == LOAM_N_POOLINGS) continue;
        s->pooling[s->n_poolings++] = (loam_pooling)i;
        return LOAM_OK;
    }
    return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s/config.json: pooling_mode \"%s\" is not known",
                     folder, name ? name : "(not a string)");
}

static loam_status read_pooling(loam_st_settings *s, const char *folder, loam_err *err) {
    loam_json *doc;
    loam_status st = read_optional(&doc, folder, "config.json", err);
    if (st) return st;
    if (!doc)
        return loam_fail(err, LOAM_ERR_NOT_FOUND,
                         "%s/config.json: missing; modules.json asks for these pooling settings",
                         folder);
    const loam_json_value *root = loam_json_root(doc), *mode = loam_json_get(root, "pooling_mode");
    if (loam_json_type_of(root) != LOAM_JSON_OBJECT) {
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s/config.json: not a JSON object", folder);
    } else if (loam_json_type_of(mode) == LOAM_JSON_ARRAY) {
        for (const loam_json_value *v = loam_json_first(mode); v && !st; v = loam_json_next(v))
            st = add_named_pooling(s, v, folder, err);
    } else if (mode) {
        st = add_named_pooling(s, mode, folder, err);
    } else {
        for (size_t i = 0; i < LOAM_N_POOLINGS; i++)
            if (is_true(root, POOLINGS[i].flag, 0)) s->pooling[s->n_poolings++] = (loam_pooling)i;
    }
    if (!st && s->n_poolings == 0) s->pooling[s->n_poolings++] = LOAM_POOL_MEAN;
    s->skip_prompt = !is_true(root, "include_prompt", 1);
    loam_json_free(doc);
    return st;
}

/* ---- modules ---- */

/* A plain path below the folder: no "..", not absolute, no inner NUL. */
static int is_inside(const char *path, size_t n) {
    if (strlen(path) != n || path[0] == '/') return 0;
    for (const char *p = path; *p;) {
        const size_t part = strcspn(p, "/");
        if (part == 2 && p[0] == '.' && p[1] == '.') return 0;
        p += part;
        if (*p == '/') p++;
    }
    return 1;
}

/* "sentence_transformers.models.Pooling" -> "Pooling" */
static const char *last_word(const char *type) {
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

static loam_status add_stage(loam_st_settings *s, char *dense, const char *folder, loam_err *err) {
    if (s->n_stages == LOAM_MAX_ST_STAGES) {
        free(dense);
        return loam_fail(err, LOAM_ERR_LIMIT, "%s/modules.json: more than %d modules", folder,
                         LOAM_MAX_ST_STAGES);
    }
    s->stages[s->n_stages++].dense = dense;
    return LOAM_OK;
}

/* Module `i` of the list: Transformer, then Pooling, then any of the rest. */
static loam_status read_module(loam_st_settings *s, const loam_json_value *module, size_t i,
                               const char *folder, loam_err *err) {
    size_t n = 0, n_type = 0;
    const char *type = loam_json_string(loam_json_get(module, "type"), &n_type);
    const char *path = loam_json_string(loam_json_get(module, "path"), &n);
    if (!type || strlen(type) != n_type || !path || !is_inside(path, n))
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s/modules.json: module %zu needs a type and a path inside the folder",
                         folder, i);
    type = last_word(type);
    char *sub = path[0] ? loam_path_join(folder, path) : loam_strdup(folder);
    if (!sub) return loam_fail(err, LOAM_ERR_MEMORY, "%s/modules.json", folder);

    loam_status st = LOAM_OK;
    if (i == 0 && strcmp(type, "Transformer") == 0) {
        s->transformer = sub;
        return LOAM_OK;
    }
    if (i == 1 && strcmp(type, "Pooling") == 0) {
        st = read_pooling(s, sub, err);
    } else if (i > 1 && strcmp(type, "Dense") == 0) {
        return add_stage(s, sub, folder, err);
    } else if (i > 1 && strcmp(type, "Normalize") == 0) {
        st = add_stage(s, NULL, folder, err);
    } else if (i <= 1 || strcmp(type, "Dropout") != 0) {
        st = loam_fail(err, LOAM_ERR_UNSUPPORTED,
                       "%s/modules.json: module %zu is %s: known are Transformer, Pooling, then "
                       "Dense and Normalize",
                       folder, i, type);
    }
    free(sub);
    return st;
}

static loam_status read_modules(loam_st_settings *s, const char *folder, loam_err *err) {
    loam_json *doc;
    loam_status st = read_optional(&doc, folder, "modules.json", err);
    if (st) return st;
    if (!doc) { /* a bare encoder */
        s->transformer = loam_strdup(folder);
        if (!s->transformer) return loam_fail(err, LOAM_ERR_MEMORY, "%s", folder);
        s->pooling[s->n_poolings++] = LOAM_POOL_MEAN;
        return add_stage(s, NULL, folder, err);
    }
    const loam_json_value *root = loam_json_root(doc);
    if (loam_json_type_of(root) != LOAM_JSON_ARRAY || loam_json_count(root) == 0)
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s/modules.json: not a list of modules", folder);
    size_t i = 0;
    for (const loam_json_value *v = loam_json_first(root); v && !st; v = loam_json_next(v))
        st = read_module(s, v, i++, folder, err);
    if (!st && s->n_poolings == 0)
        st = loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s/modules.json: no Pooling module", folder);
    loam_json_free(doc);
    return st;
}

/* ---- lengths and prompts ---- */

loam_status loam_read_model_max_length(size_t *out, const char *folder, loam_err *err) {
    loam_json *doc;
    double limit = 0.0;
    *out = 0;
    loam_status st = read_optional(&doc, folder, "tokenizer_config.json", err);
    if (st) return st;
    if (loam_json_number(loam_json_get(root_of(doc), "model_max_length"), &limit) && limit >= 1.0 &&
        limit < 1e9)
        *out = (size_t)limit;
    loam_json_free(doc);
    return LOAM_OK;
}

/* max_seq_length of the transformer's own settings, else the tokenizer's limit. */
static loam_status read_max_tokens(loam_st_settings *s, loam_err *err) {
    static const char *const FILES[] = {"sentence_bert_config.json", "sentence_roberta_config.json",
                                        "sentence_xlm-roberta_config.json",
                                        "sentence_camembert_config.json"};
    loam_json *doc = NULL;
    loam_status st = LOAM_OK;
    size_t i = 0;
    for (; i < sizeof FILES / sizeof *FILES && !doc && !st; i++)
        st = read_optional(&doc, s->transformer, FILES[i], err);
    if (st) return st;
    const loam_json_value *v = loam_json_get(root_of(doc), "max_seq_length");
    if (v && loam_json_type_of(v) != LOAM_JSON_NULL) {
        int64_t n = 0;
        if (!loam_json_int(v, &n) || n < 1)
            st = loam_fail(err, LOAM_ERR_FORMAT,
                           "%s/%s: max_seq_length must be a whole number from 1", s->transformer,
                           FILES[i - 1]);
        s->max_tokens = n > 0 ? (size_t)n : 0;
    }
    loam_json_free(doc);
    if (st || s->max_tokens) return st;
    return loam_read_model_max_length(&s->max_tokens, s->transformer, err);
}

/* The first of `names` among the prompts, else the default prompt, else "". */
static char *pick_prompt(const loam_json_value *root, const char *const *names, size_t n_names) {
    const loam_json_value *prompts = loam_json_get(root, "prompts");
    const char *prompt = NULL;
    size_t n = 0;
    for (size_t i = 0; i < n_names && !prompt; i++)
        prompt = loam_json_string(loam_json_get(prompts, names[i]), &n);
    if (!prompt) {
        const char *name = loam_json_string(loam_json_get(root, "default_prompt_name"), NULL);
        if (name) prompt = loam_json_string(loam_json_get(prompts, name), &n);
    }
    return prompt ? loam_strndup(prompt, n) : loam_strdup("");
}

static loam_status read_prompts(loam_st_settings *s, const char *folder, loam_err *err) {
    static const char *const QUERY[] = {"query"};
    static const char *const DOCUMENT[] = {"document", "passage", "corpus"};
    loam_json *doc;
    loam_status st = read_optional(&doc, folder, "config_sentence_transformers.json", err);
    if (st) return st;
    s->query_prompt = pick_prompt(root_of(doc), QUERY, 1);
    s->document_prompt = pick_prompt(root_of(doc), DOCUMENT, 3);
    loam_json_free(doc);
    if (!s->query_prompt || !s->document_prompt)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: prompts", folder);
    return LOAM_OK;
}

loam_status loam_st_settings_read(loam_st_settings *s, const char *folder, loam_err *err) {
    *s = (loam_st_settings){0};
    if (!loam_path_is_folder(folder))
        return loam_fail(err, LOAM_ERR_NOT_FOUND, "%s: no such folder", folder);
    loam_status st = read_modules(s, folder, err);
    if (!st) st = read_max_tokens(s, err);
    if (!st) st = read_prompts(s, folder, err);
    if (st) loam_st_settings_deinit(s);
    return st;
}

void loam_st_settings_deinit(loam_st_settings *s) {
    for (size_t i = 0; i < s->n_stages; i++) free(s->stages[i].dense);
    free(s->transformer);
    free(s->query_prompt);
    free(s->document_prompt);
    *s = (loam_st_settings){0};
}
