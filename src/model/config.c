/* config.c - reading config.json with types and ranges. */
#include "model/config.h"
#include <math.h>

enum { MAX_CONFIG_BYTES = 16 << 20 };

loam_status loam_config_open(loam_config *out, const char *folder, loam_err *err) {
    loam_status st = LOAM_OK;

    *out = (loam_config){0};
    out->path = loam_path_join(folder, "config.json");
    if (!out->path)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: config.json: out of memory", folder);
    if (!loam_path_exists(out->path)) {
        st = loam_fail(err, LOAM_ERR_NOT_FOUND,
                       "%s: no config.json there: not a model folder, or its download is "
                       "incomplete (loam pull)",
                       folder);
        goto done;
    }
    /* Python writes NaN and Infinity into some configs; ranges reject them where they matter. */
    st = loam_json_read(&out->doc, out->path, MAX_CONFIG_BYTES, LOAM_JSON_ALLOW_NAN, err);
    if (st) goto done;
    out->root = loam_json_root(out->doc);
    if (loam_json_type_of(out->root) != LOAM_JSON_OBJECT) {
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s: not a JSON object", out->path);
        goto done;
    }
    if (loam_config_get(out->root, "model_file"))
        st = loam_fail(
            err, LOAM_ERR_UNSUPPORTED,
            "%s: model_file: this model needs Python code of its own, which loam never runs",
            out->path);
done:
    if (st) loam_config_close(out);
    return st;
}

void loam_config_close(loam_config *c) {
    if (!c) return;
    loam_json_free(c->doc);
    free(c->path);
    *c = (loam_config){0};
}

const loam_json_value *loam_config_get(const loam_json_value *object, const char *key) {
    const loam_json_value *v = loam_json_get(object, key);
    return v && loam_json_type_of(v) != LOAM_JSON_NULL ? v : NULL;
}

static loam_status fail_missing(const loam_config *c, const char *key, loam_err *err) {
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s is missing", c->path, key);
}

loam_status loam_config_size(const loam_config *c, const loam_json_value *object, const char *key,
                             size_t min, size_t max, size_t fallback, size_t *out, loam_err *err) {
    const loam_json_value *v = loam_config_get(object, key);
    int64_t i;

    *out = fallback;
    if (!v) return fallback == LOAM_CONFIG_REQUIRED ? fail_missing(c, key, err) : LOAM_OK;
    if (!loam_json_int(v, &i))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s is not an integer", c->path, key);
    if (i < 0 || (uint64_t)i < min || (uint64_t)i > max)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s is %lld, outside %zu .. %zu", c->path, key,
                         (long long)i, min, max);
    *out = (size_t)i;
    return LOAM_OK;
}

loam_status loam_config_float(const loam_config *c, const loam_json_value *object, const char *key,
                              double min, double max, double fallback, double *out, loam_err *err) {
    const loam_json_value *v = loam_config_get(object, key);
    double d;

    *out = fallback;
    if (!v) return isnan(fallback) ? fail_missing(c, key, err) : LOAM_OK;
    if (!loam_json_number(v, &d))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s is not a number", c->path, key);
    if (!(d >= min && d <= max) || !isfinite(d))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s is %g, outside %g .. %g", c->path, key, d,
                         min, max);
    *out = d;
    return LOAM_OK;
}

loam_status loam_config_flag(const loam_config *c, const loam_json_value *object, const char *key,
                             int fallback, int *out, loam_err *err) {
    const loam_json_value *v = loam_config_get(object, key);

    *out = fallback;
    if (v && !loam_json_bool(v, out))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s is neither true nor false", c->path, key);
    return LOAM_OK;
}

loam_status loam_config_string(const loam_config *c, const loam_json_value *object, const char *key,
                               const char *fallback, const char **out, loam_err *err) {
    const loam_json_value *v = loam_config_get(object, key);
    size_t n;

    *out = fallback;
    if (!v) return fallback ? LOAM_OK : fail_missing(c, key, err);
    const char *s = loam_json_string(v, &n);
    if (!s || strlen(s) != n)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s is not a plain string", c->path, key);
    *out = s;
    return LOAM_OK;
}
