/* convert_folder.c - planning a conversion of a Hugging Face or MLX folder.
 *
 * What mlx-lm's convert does, in its order: floats take the asked or configured
 * type, then every linear and embedding whose columns divide by the group is
 * quantised (or every triple dequantised), and config.json is written anew with
 * sorted keys.
 */
#include "model/convert_job.h"

#include <stdio.h>

typedef struct folder_plan {
    convert_job *job;
    loam_json *config, *generation;
    const loam_json_value *root, *quantization;
    size_t n_layers;
    int tied;
} folder_plan;

static loam_status read_config(folder_plan *p, loam_err *err) {
    const char *src = p->job->src;
    char *path = loam_path_join(src, "config.json");
    char *gen = loam_path_join(src, "generation_config.json");
    loam_status st = LOAM_OK;
    if (!path || !gen)
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: path", src);
    else
        st = loam_json_read(&p->config, path, 64 << 20, LOAM_JSON_ALLOW_NAN, err);
    if (!st && loam_json_type_of(loam_json_root(p->config)) != LOAM_JSON_OBJECT)
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s: not an object", path);
    if (!st && loam_path_exists(gen))
        st = loam_json_read(&p->generation, gen, 64 << 20, LOAM_JSON_ALLOW_NAN, err);
    p->root = loam_json_root(p->config);
    free(path);
    free(gen);
    return st;
}

static const loam_json_value *get_text(const loam_json_value *root, const char *key) {
    const loam_json_value *v = loam_json_get(root, key);
    return v ? v : loam_json_get(loam_json_get(root, "text_config"), key);
}

static loam_status read_settings(folder_plan *p, loam_err *err) {
    static const struct {
        const char *name;
        loam_dtype dtype;
    } types[] = {{"float16", LOAM_F16}, {"bfloat16", LOAM_BF16}, {"float32", LOAM_F32}};
    convert_job *job = p->job;
    int64_t n = 0;
    if (loam_json_int(get_text(p->root, "num_hidden_layers"), &n) && n > 0) p->n_layers = (size_t)n;
    loam_json_bool(get_text(p->root, "tie_word_embeddings"), &p->tied);

    const char *dtype = loam_json_string(get_text(p->root, "torch_dtype"), NULL);
    if (!dtype) dtype = loam_json_string(get_text(p->root, "dtype"), NULL);
    for (size_t i = 0; dtype && !job->has_dtype && i < sizeof types / sizeof *types; i++) {
        if (strcmp(dtype, types[i].name) != 0) continue;
        job->has_dtype = 1;
        job->dtype = types[i].dtype;
    }
    p->quantization = loam_json_get(p->root, "quantization");
    const loam_json_value *foreign = get_text(p->root, "quantization_config");
    const char *method = loam_json_string(loam_json_get(foreign, "quant_method"), NULL);
    if (!p->quantization && method)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "%s/config.json: weights quantised by %s: convert the original model",
                         job->src, method);
    if (!p->quantization) p->quantization = foreign;
    if (loam_json_type_of(p->quantization) != LOAM_JSON_OBJECT) p->quantization = NULL;
    return LOAM_OK;
}

/* Setting of a triple: the mode is in the config, bits and group follow from the shapes. */
static loam_status read_triple(const folder_plan *p, const char *path, const loam_tensor *w,
                               const loam_tensor *s, const loam_tensor *b, convert_quant *out,
                               loam_err *err) {
    const loam_json_value *own = loam_json_get(p->quantization, path);
    const loam_json_value *from =
        loam_json_type_of(own) == LOAM_JSON_OBJECT ? own : p->quantization;
    const char *mode = loam_json_string(loam_json_get(from, "mode"), NULL);
    int64_t bits = 0, group = 0;
    loam_json_int(loam_json_get(from, "bits"), &bits);
    loam_json_int(loam_json_get(from, "group_size"), &group);

    const char *bad = NULL;
    const uint64_t words = w->rank ? w->shape[w->rank - 1] : 0;
    const uint64_t groups = s->rank ? s->shape[s->rank - 1] : 0;
    if (w->dtype != LOAM_U32 || w->rank < 2 || s->rank != w->rank || !words || !groups ||
        words > UINT32_MAX)
        bad = "weight and scales do not fit each other";
    for (int i = 0; !bad && i + 1 < w->rank; i++)
        if (w->shape[i] != s->shape[i]) bad = "weight and scales have different rows";
    out->mode = LOAM_QUANT_AFFINE;
    if (!b && mode && strcmp(mode, "mxfp4") == 0) out->mode = LOAM_QUANT_MXFP4;
    if (!b && mode && strcmp(mode, "mxfp8") == 0) out->mode = LOAM_QUANT_MXFP8;
    if (!b && mode && strcmp(mode, "nvfp4") == 0) out->mode = LOAM_QUANT_NVFP4;
    if (out->mode != LOAM_QUANT_AFFINE) {
        bits = out->mode == LOAM_QUANT_MXFP8 ? 8 : 4;
        group = out->mode == LOAM_QUANT_NVFP4 ? 16 : 32;
        if (!bad && s->dtype != LOAM_U8) bad = "scales are not bytes";
    } else {
        if (!bad && (!b || b->rank != s->rank || b->bytes != s->bytes || b->dtype != s->dtype))
            bad = "biases do not fit the scales";
        if (!bad && !loam_convert_is_float(s->dtype)) bad = "scales are not floats";
        if (!bad && (bits < 2 || bits > 8 || group < 32 || group > 128 ||
                     !loam_quant_affine_valid((int)bits, (int)group)))
            bad = "no such bits and group_size in config.json";
    }
    if (!bad && (words * 32 % (uint64_t)bits != 0 ||
                 words * 32 / (uint64_t)bits != groups * (uint64_t)group))
        bad = "shapes contradict bits and group_size of config.json";
    if (bad) return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s: %s", p->job->src, path, bad);
    out->bits = (int)bits;
    out->group = (int)group;
    return LOAM_OK;
}

/* The part after the last dot off: the module's path, or NULL when the tensor is
 * no ".weight". */
static char *module_path(const char *name) {
    return loam_ends_with(name, ".weight") ? loam_strndup(name, strlen(name) - 7) : NULL;
}

static loam_status add_triple(folder_plan *p, const char *path, const loam_tensor *w,
                              const loam_tensor *s, const loam_tensor *b, loam_err *err) {
    convert_job *job = p->job;
    convert_quant q;
    loam_status st = read_triple(p, path, w, s, b, &q, err);
    if (st) return st;
    convert_item *it;
    if (!job->options->dequantize && !job->quantize) {
        /* passes through: the words as they are, scales and biases in the target type */
        const loam_tensor *parts[] = {w, s, b};
        for (int i = 0; i < 3; i++) {
            if (!parts[i]) continue;
            it = loam_convert_add_item(job, parts[i]->name, parts[i]);
            if (!it) return loam_fail(err, LOAM_ERR_MEMORY, "%s: plan", path);
            it->action = i && job->has_dtype && loam_convert_is_float(parts[i]->dtype) &&
                                 parts[i]->dtype != job->dtype
                             ? CONVERT_CAST
                             : CONVERT_COPY;
            it->dtype = job->dtype;
            if (i == 0) it->src_quant = q; /* counts parameters */
        }
        return LOAM_OK;
    }
    it = loam_convert_add_item(job, path, w);
    if (!it) return loam_fail(err, LOAM_ERR_MEMORY, "%s: plan", path);
    it->src_scales = s;
    it->src_biases = b;
    it->src_quant = q;
    it->cols = s->shape[s->rank - 1] * (uint64_t)q.group;
    it->dtype = job->has_dtype ? job->dtype : q.mode == LOAM_QUANT_AFFINE ? s->dtype : LOAM_BF16;
    loam_tensor values = *w;
    values.shape[values.rank - 1] = it->cols;
    if (loam_convert_pick_quant(job, path, &values, p->n_layers, &it->quant)) {
        it->action = CONVERT_QUANTIZE;
        it->round_first = 1;
        return LOAM_OK;
    }
    it->action = CONVERT_CAST;
    char *name = loam_format("%s.weight", path);
    free(it->name);
    it->name = name;
    return name ? LOAM_OK : loam_fail(err, LOAM_ERR_MEMORY, "%s: plan", path);
}

static loam_status add_plain(folder_plan *p, const loam_tensor *t, loam_err *err) {
    convert_job *job = p->job;
    const int is_float = loam_convert_is_float(t->dtype);
    char *path = module_path(t->name);
    convert_quant q;
    const int quantize = path && is_float && loam_convert_pick_quant(job, path, t, p->n_layers, &q);

    convert_item *it = loam_convert_add_item(job, quantize ? path : t->name, t);
    free(path);
    if (!it) return loam_fail(err, LOAM_ERR_MEMORY, "%s: plan", t->name);
    it->dtype = job->has_dtype ? job->dtype : t->dtype;
    if (it->dtype == LOAM_F64 && quantize) it->dtype = LOAM_F32;
    if (quantize) {
        it->action = CONVERT_QUANTIZE;
        it->quant = q;
        it->round_first = 1;
    } else {
        it->action = is_float && it->dtype != t->dtype ? CONVERT_CAST : CONVERT_COPY;
    }
    return LOAM_OK;
}

static loam_status plan_tensors(folder_plan *p, loam_err *err) {
    loam_arrays *a = p->job->arrays;
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < loam_arrays_count(a) && !st; i++) {
        const loam_tensor *t = loam_arrays_at(a, i);
        if (loam_ends_with(t->name, "rotary_emb.inv_freq")) continue;
        if (p->tied && strncmp(t->name, "lm_head.", 8) == 0) continue;
        if (loam_ends_with(t->name, ".scales") || loam_ends_with(t->name, ".biases")) {
            char *path = loam_strndup(t->name, strlen(t->name) - 7);
            char *weight = path ? loam_format("%s.weight", path) : NULL;
            const loam_tensor *w = weight ? loam_arrays_find(a, weight) : NULL;
            free(weight);
            free(path);
            if (w && w->dtype == LOAM_U32) continue; /* goes with its weight */
        }
        char *path = module_path(t->name);
        char *scales = path ? loam_format("%s.scales", path) : NULL;
        char *biases = path ? loam_format("%s.biases", path) : NULL;
        const loam_tensor *s = scales ? loam_arrays_find(a, scales) : NULL;
        const loam_tensor *b = biases ? loam_arrays_find(a, biases) : NULL;
        if (s && t->dtype == LOAM_U32)
            st = add_triple(p, path, t, s, b, err);
        else
            st = add_plain(p, t, err);
        free(scales);
        free(biases);
        free(path);
    }
    return st;
}

static int compare_keys(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* config.json as mlx-lm saves it: sorted keys, indent 4, no line end. */
static loam_status plan_config(folder_plan *p, loam_err *err) {
    convert_job *job = p->job;
    loam_pyjson w = {.indent = 4};
    const size_t n = loam_json_count(p->root);
    const char **keys = loam_alloc(n + 3, sizeof *keys);
    size_t n_keys = 0;
    if (!keys) return loam_fail(err, LOAM_ERR_MEMORY, "config.json: keys");

    const int replace = job->quantize || job->options->dequantize;
    int has_eos = 0;
    for (const loam_json_value *v = loam_json_first(p->root); v; v = loam_json_next(v)) {
        const char *key = loam_json_own_key(v, NULL);
        if (strcmp(key, "_name_or_path") == 0 || strcmp(key, "vision_config") == 0) continue;
        if (strcmp(key, "quantization") == 0 || strcmp(key, "quantization_config") == 0) continue;
        has_eos |= strcmp(key, "eos_token_id") == 0;
        keys[n_keys++] = key;
    }
    const loam_json_value *eos = loam_json_get(loam_json_root(p->generation), "eos_token_id");
    int64_t zero = 1;
    if (loam_json_type_of(eos) == LOAM_JSON_NULL || (loam_json_int(eos, &zero) && zero == 0))
        eos = NULL; /* Python's "if": null and 0 do not count */
    if (eos && !has_eos) keys[n_keys++] = "eos_token_id";
    if (job->quantize || (p->quantization && !replace)) {
        keys[n_keys++] = "quantization";
        keys[n_keys++] = "quantization_config";
    }
    qsort(keys, n_keys, sizeof *keys, compare_keys);

    loam_pyjson_open(&w, NULL, '{');
    for (size_t i = 0; i < n_keys; i++) {
        if (i && strcmp(keys[i], keys[i - 1]) == 0) continue; /* a repeated key: the last counts */
        if (strncmp(keys[i], "quantization", 12) == 0) {
            if (job->quantize)
                loam_convert_put_quantization(&w, keys[i], job, &job->quant,
                                              job->options->recipe != NULL);
            else
                loam_pyjson_value(&w, keys[i], p->quantization, 1);
        } else if (eos && strcmp(keys[i], "eos_token_id") == 0) {
            loam_pyjson_value(&w, keys[i], eos, 1);
        } else {
            loam_pyjson_value(&w, keys[i], loam_json_get(p->root, keys[i]), 1);
        }
    }
    loam_pyjson_close(&w);
    free(keys);
    return loam_convert_add_file(job, "config.json", &w.out, err);
}

loam_status loam_convert_plan_folder(convert_job *job, loam_err *err) {
    folder_plan p = {.job = job};
    loam_status st = read_config(&p, err);
    if (!st) st = read_settings(&p, err);
    if (!st) st = plan_tensors(&p, err);
    if (!st) st = plan_config(&p, err);
    loam_json_free(p.config);
    loam_json_free(p.generation);
    return st;
}
