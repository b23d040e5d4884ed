/* template.c - chat templates: opening, rendering, and the engine's memory and errors.
 *
 * Owns the public functions of loam/text.h and what transformers does around
 * Jinja (which file holds the template, which tokens are variables, how messages
 * are prepared).  The language itself is in the files beside this one.
 */
#include "text/template.h"
#include <stdarg.h>
#include <stdio.h>

struct loam_template {
    tmpl_chunk *chunks; /* of the parse: source and nodes */
    tmpl_node *tree;
    char *name;
    loam_json *config; /* tokenizer_config.json, or NULL */
};

/* ---- memory and errors ---- */

static void free_chunks(tmpl_chunk *chunk) {
    while (chunk) {
        tmpl_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void *loam_tmpl_alloc(tmpl_ctx *c, size_t n, size_t size) {
    enum { CHUNK = 64 << 10, HEAD = (sizeof(tmpl_chunk) + 15) / 16 * 16 };
    size_t bytes;
    if (!loam_mul(n, size, &bytes) || bytes > TMPL_MAX_MEMORY)
        loam_tmpl_fail(c, LOAM_ERR_LIMIT, "needs more than %d MB", TMPL_MAX_MEMORY >> 20);
    bytes = (bytes + 15) / 16 * 16;
    tmpl_chunk *k = c->chunks;
    if (!k || k->size - k->used < bytes) {
        const size_t room = bytes > CHUNK ? bytes : CHUNK;
        if (c->memory + room > TMPL_MAX_MEMORY)
            loam_tmpl_fail(c, LOAM_ERR_LIMIT, "needs more than %d MB", TMPL_MAX_MEMORY >> 20);
        tmpl_chunk *fresh = malloc(HEAD + room);
        if (!fresh) loam_tmpl_fail(c, LOAM_ERR_MEMORY, "out of memory");
        fresh->size = room;
        fresh->used = 0;
        if (k && bytes > CHUNK) { /* keep filling the chunk at the head */
            fresh->next = k->next;
            k->next = fresh;
        } else {
            fresh->next = k;
            c->chunks = fresh;
        }
        c->memory += room;
        k = fresh;
    }
    void *p = (unsigned char *)k + HEAD + k->used;
    k->used += bytes;
    memset(p, 0, bytes);
    return p;
}

_Noreturn void loam_tmpl_fail(tmpl_ctx *c, loam_status status, const char *fmt, ...) {
    char why[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    if (c->line)
        c->status = loam_fail(c->err, status, "%s: %s (line %d)", c->name, why, c->line);
    else
        c->status = loam_fail(c->err, status, "%s: %s", c->name, why);
    longjmp(c->jump, 1);
}

_Noreturn void loam_tmpl_raise(tmpl_ctx *c, tmpl_str message) {
    c->status = loam_fail(c->err, LOAM_ERR_FORMAT, "%.*s", (int)(message.n > 480 ? 480 : message.n),
                          message.p);
    longjmp(c->jump, 1);
}

void loam_tmpl_step(tmpl_ctx *c, size_t work) {
    c->steps += 1 + work / 64;
    if (c->steps > TMPL_MAX_STEPS)
        loam_tmpl_fail(c, LOAM_ERR_LIMIT, "takes more than %d steps", TMPL_MAX_STEPS);
}

void loam_tmpl_enter(tmpl_ctx *c) {
    if (++c->depth > TMPL_MAX_DEPTH) loam_tmpl_fail(c, LOAM_ERR_LIMIT, "nested too deeply");
}

/* Run a piece of the engine; 0 when it failed, and c->status says how.  The context lives in the
 * caller, so that what is changed in it survives the jump. */
typedef void engine_part(tmpl_ctx *c, void *arg);
static int run_guarded(tmpl_ctx *c, engine_part *part, void *arg) {
    if (setjmp(c->jump)) return 0;
    part(c, arg);
    return 1;
}

/* ---- opening ---- */

typedef struct parse_job {
    tmpl_str source;
    tmpl_node *tree;
} parse_job;

static void run_parse(tmpl_ctx *c, void *arg) {
    parse_job *j = arg;
    j->tree = loam_tmpl_parse(c, j->source);
}

loam_status loam_template_new(loam_template **out, const char *source, size_t n, const char *name,
                              loam_err *err) {
    tmpl_ctx c = {.err = err, .name = name, .line = 1};
    *out = NULL;
    if (n > TMPL_MAX_SOURCE)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: a template of %zu bytes is larger than %d MB",
                         name, n, TMPL_MAX_SOURCE >> 20);
    for (const char *p = source, *end = source + n; p < end;) {
        const char *at = p;
        if (loam_tmpl_rune(&p, end) == 0xfffd && p - at < 3)
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: not UTF-8 at byte %zu", name,
                             (size_t)(at - source));
    }
    loam_template *t = calloc(1, sizeof *t);
    if (t) t->name = loam_strdup(name);
    if (!t || !t->name) {
        loam_template_free(t);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", name);
    }
    parse_job job = {.source = {source, n}};
    if (!run_guarded(&c, run_parse, &job)) {
        free_chunks(c.chunks);
        loam_template_free(t);
        return c.status;
    }
    t->tree = job.tree;
    t->chunks = c.chunks;
    *out = t;
    return LOAM_OK;
}

void loam_template_free(loam_template *t) {
    if (!t) return;
    free_chunks(t->chunks);
    loam_json_free(t->config);
    free(t->name);
    free(t);
}

/* The template among the values of "chat_template": a string, a list of {name, template},
 * or an object of them.  "tool_use" is for conversations with tools; loam takes "default". */
static const char *pick_template(const loam_json_value *v, size_t *n) {
    const char *text = loam_json_string(v, n);
    if (text) return text;
    if (loam_json_type_of(v) == LOAM_JSON_OBJECT)
        return loam_json_string(loam_json_get(v, "default"), n);
    if (loam_json_type_of(v) != LOAM_JSON_ARRAY) return NULL;
    for (const loam_json_value *i = loam_json_first(v); i; i = loam_json_next(i)) {
        size_t len;
        const char *name = loam_json_string(loam_json_get(i, "name"), &len);
        if (name && strcmp(name, "default") == 0)
            return loam_json_string(loam_json_get(i, "template"), n);
    }
    return NULL;
}

static loam_status read_optional_json(loam_json **out, const char *folder, const char *file,
                                      loam_err *err) {
    *out = NULL;
    char *path = loam_path_join(folder, file);
    if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
    loam_status st = LOAM_OK;
    if (loam_path_exists(path))
        st = loam_json_read(out, path, 64 << 20, LOAM_JSON_ALLOW_NAN | LOAM_JSON_LONE_SURROGATES,
                            err);
    free(path);
    return st;
}

/* The source of the folder's template into `source`, and what it is called. */
static loam_status find_source(loam_buf *source, const char **file, const char *folder,
                               const loam_json *config, loam_err *err) {
    char *path = loam_path_join(folder, "chat_template.jinja");
    loam_json *other = NULL;
    loam_status st = LOAM_OK;
    if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
    *file = "chat_template.jinja";
    if (loam_path_exists(path)) {
        st = loam_file_read(source, path, TMPL_MAX_SOURCE, err);
        goto done;
    }
    size_t n = 0;
    *file = "tokenizer_config.json";
    const char *text = pick_template(loam_json_get(loam_json_root(config), "chat_template"), &n);
    if (!text) {
        *file = "chat_template.json";
        st = read_optional_json(&other, folder, *file, err);
        if (st) goto done;
        text = pick_template(loam_json_get(loam_json_root(other), "chat_template"), &n);
    }
    if (!text) {
        st = loam_fail(err, LOAM_ERR_NOT_FOUND,
                       "%s: no chat template (chat_template.jinja, or \"chat_template\" in "
                       "tokenizer_config.json): the model takes plain text only",
                       folder);
        goto done;
    }
    loam_buf_append(source, text, n);
    if (source->failed) st = loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
done:
    loam_json_free(other);
    free(path);
    return st;
}

static loam_status open_file(loam_template **out, const char *path, loam_err *err) {
    loam_buf source = {0};
    loam_status st = loam_file_read(&source, path, TMPL_MAX_SOURCE, err);
    if (!st) st = loam_template_new(out, source.data ? source.data : "", source.n, path, err);
    loam_buf_deinit(&source);
    return st;
}

loam_status loam_template_open(loam_template **out, const char *folder, loam_err *err) {
    loam_buf source = {0};
    loam_json *config = NULL;
    char *name = NULL;
    const char *file = NULL;
    *out = NULL;
    if (!loam_path_exists(folder))
        return loam_fail(err, LOAM_ERR_NOT_FOUND, "%s: no such model folder", folder);
    if (!loam_path_is_folder(folder)) return open_file(out, folder, err);

    loam_status st = read_optional_json(&config, folder, "tokenizer_config.json", err);
    if (st) goto done;
    st = find_source(&source, &file, folder, config, err);
    if (st) goto done;
    name = loam_path_join(folder, file);
    if (!name) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
        goto done;
    }
    st = loam_template_new(out, source.data ? source.data : "", source.n, name, err);
    if (st || !*out) goto done;
    (*out)->config = config;
    config = NULL;
done:
    free(name);
    loam_json_free(config);
    loam_buf_deinit(&source);
    return st;
}

/* ---- rendering ---- */

/* bos_token, eos_token, ... of tokenizer_config.json: strings, or objects with "content". */
static void define_special_tokens(tmpl_ctx *c, const loam_template *t, tmpl_dict *vars) {
    static const char *const NAMES[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    const loam_json_value *config = loam_json_root(t->config);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const loam_json_value *v = loam_json_get(config, NAMES[i]);
        if (loam_json_type_of(v) == LOAM_JSON_OBJECT) v = loam_json_get(v, "content");
        size_t n;
        const char *text = loam_json_string(v, &n);
        if (text)
            loam_tmpl_dict_set(c, vars, loam_tmpl_strz(NAMES[i]),
                               loam_tmpl_str((tmpl_str){text, n}));
    }
}

/* One message as transformers hands it over: without null members; its reasoning, however it
 * is called, under "reasoning_content" and (unless there) "thinking", which then comes first. */
static tmpl_value prepare_message(tmpl_ctx *c, tmpl_value message) {
    static const char *const NAMES[] = {"reasoning_content", "thinking", "reasoning"};
    if (message.type != TMPL_DICT)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "a chat message is an object, not %s",
                       loam_tmpl_type_name(message));
    const tmpl_dict *d = message.ref;
    const tmpl_value *reasoning = NULL;
    for (size_t i = 0; i < 3 && !reasoning; i++) {
        reasoning = loam_tmpl_dict_gets(c, d, NAMES[i]);
        if (reasoning && reasoning->type == TMPL_NONE) reasoning = NULL;
    }
    tmpl_dict *out = loam_tmpl_dict_new(c, d->n + 2);
    if (reasoning) loam_tmpl_dict_set(c, out, loam_tmpl_strz("thinking"), *reasoning);
    for (size_t i = 0; i < d->n; i++) {
        if (d->entries[i].value.type == TMPL_NONE) continue;
        loam_tmpl_dict_set(c, out, d->entries[i].key, d->entries[i].value);
    }
    if (reasoning) loam_tmpl_dict_set(c, out, loam_tmpl_strz("reasoning_content"), *reasoning);
    return loam_tmpl_ref(TMPL_DICT, out);
}

static void check_objects(tmpl_ctx *c, const tmpl_dict *vars, const char *name) {
    const tmpl_value *v = loam_tmpl_dict_gets(c, vars, name);
    if (!v || v->type == TMPL_NONE) return;
    if (v->type != TMPL_LIST)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "\"%s\" is a list of objects, not %s", name,
                       loam_tmpl_type_name(*v));
    for (size_t i = 0; i < v->as.l.n; i++) {
        if (v->as.l.items[i].type != TMPL_DICT)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "\"%s\" is a list of objects; item %zu is %s", name,
                           i, loam_tmpl_type_name(v->as.l.items[i]));
    }
}

static void prepare_chat(tmpl_ctx *c, tmpl_dict *vars) {
    const tmpl_value *messages = loam_tmpl_dict_gets(c, vars, "messages");
    if (messages) {
        if (messages->type != TMPL_LIST || messages->as.l.n == 0)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "\"messages\" is a list of at least one message");
        const size_t n = messages->as.l.n;
        tmpl_value *out = loam_tmpl_alloc(c, n, sizeof *out);
        for (size_t i = 0; i < n; i++) out[i] = prepare_message(c, messages->as.l.items[i]);
        loam_tmpl_dict_set(c, vars, loam_tmpl_strz("messages"), loam_tmpl_list(TMPL_LIST, out, n));
    }
    check_objects(c, vars, "tools");
    check_objects(c, vars, "documents");
    if (!loam_tmpl_dict_gets(c, vars, "tools"))
        loam_tmpl_dict_set(c, vars, loam_tmpl_strz("tools"), loam_tmpl_none());
    if (!loam_tmpl_dict_gets(c, vars, "documents"))
        loam_tmpl_dict_set(c, vars, loam_tmpl_strz("documents"), loam_tmpl_none());
}

typedef struct render_job {
    const loam_template *t;
    const loam_json_value *vars;
    unsigned flags;
} render_job;

static void run_render(tmpl_ctx *c, void *arg) {
    const render_job *j = arg;
    const loam_template *t = j->t;
    const unsigned flags = j->flags;
    tmpl_dict *all = loam_tmpl_dict_new(c, 16);
    c->name = "conversation"; /* what is wrong at first is not the template */
    c->line = 0;
    if (flags & LOAM_TEMPLATE_CHAT) define_special_tokens(c, t, all);
    const tmpl_value given = loam_tmpl_from_json(c, j->vars);
    if (given.type != TMPL_DICT)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "the variables are an object, not %s",
                       loam_tmpl_type_name(given));
    const tmpl_dict *d = given.ref;
    for (size_t i = 0; i < d->n; i++)
        loam_tmpl_dict_set(c, all, d->entries[i].key, d->entries[i].value);
    if (flags & LOAM_TEMPLATE_CHAT) prepare_chat(c, all);

    tmpl_frame *base = loam_tmpl_frame_new(c, NULL);
    for (size_t i = 0; i < all->n; i++)
        loam_tmpl_define(c, base, all->entries[i].key.as.s, all->entries[i].value);
    c->root = c->frame = base;
    c->tree = t->tree;
    c->name = t->name;
    loam_tmpl_exec(c, t->tree);
}

loam_status loam_template_render(const loam_template *t, const loam_json_value *vars,
                                 unsigned flags, int64_t now, loam_buf *out, loam_err *err) {
    tmpl_ctx c = {.err = err, .name = t->name, .now = now, .line = 1};
    tmpl_buf sink = {.ctx = &c, .out = out};
    const size_t before = out->n;
    c.out = &sink;
    c.utc = (flags & LOAM_TEMPLATE_UTC) != 0;
    render_job job = {t, vars, flags};
    if (!run_guarded(&c, run_render, &job)) {
        out->n = before;
        if (out->data) out->data[before] = 0;
    }
    free_chunks(c.chunks);
    if (!c.status && out->failed)
        c.status = loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", t->name);
    return c.status;
}
