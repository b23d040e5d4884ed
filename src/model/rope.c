/* rope.c - the kinds of rotary scaling, as mlx-lm computes them.
 *
 * Choices where programs differ, each decided for mlx-lm because its outputs are
 * what loam is compared with:
 *   longrope  the long factors always; transformers takes the short ones while a
 *             sequence is no longer than the original context.
 *   yarn      the ramp's ends are floored and ceiled even with "truncate": false.
 *   mrope     text has one position, so it is the default kind.
 * Frequencies are computed in double and rounded once; angles are the f32 product
 * position * frequency, as everywhere else.
 */
#include "model/rope.h"
#include <math.h>

#define MAX_THETA 1e15
#define MUST      ((double)NAN) /* a number the config must give */

static double pi(void) {
    return 3.14159265358979323846;
}

/* Where transformers 5 nests kinds by layer, the one of `layer_type`. */
static const loam_json_value *find_parameters(const loam_json_value *object,
                                              const char *layer_type) {
    const loam_json_value *p = loam_config_get(object, "rope_parameters");
    const loam_json_value *nested = p && layer_type ? loam_config_get(p, layer_type) : NULL;
    return nested ? nested : p;
}

static void fill_default(loam_rotary *r, double theta, double divisor[]) {
    for (size_t i = 0; i < r->n_rot / 2; i++)
        divisor[i] = pow(theta, 2.0 * (double)i / (double)r->n_rot);
}

/* Llama 3: long waves are stretched by the factor, short ones kept, those between blended. */
static loam_status scale_llama3(const loam_rotary *r, const loam_config *c,
                                const loam_json_value *s, double divisor[], loam_err *err) {
    double factor, low, high, original;
    loam_status st = loam_config_float(c, s, "factor", 1e-3, 1e6, MUST, &factor, err);
    if (!st) st = loam_config_float(c, s, "low_freq_factor", 1e-6, 1e6, 1.0, &low, err);
    if (!st) st = loam_config_float(c, s, "high_freq_factor", 1e-6, 1e6, 4.0, &high, err);
    if (!st)
        st = loam_config_float(c, s, "original_max_position_embeddings", 1, 1e9, 8192, &original,
                               err);
    if (st) return st;
    if (!(high > low))
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: rope_scaling: high_freq_factor %g is not above low_freq_factor %g",
                         c->path, high, low);
    for (size_t i = 0; i < r->n_rot / 2; i++) {
        const double wave = 2.0 * pi() * divisor[i];
        const double smooth = (original / wave - low) / (high - low);
        if (wave > original / low)
            divisor[i] *= factor;
        else if (wave > original / high)
            divisor[i] /= (1.0 - smooth) / factor + smooth;
    }
    return LOAM_OK;
}

static double yarn_mscale(double factor, double m) {
    return factor <= 1.0 ? 1.0 : 0.1 * m * log(factor) + 1.0;
}

/* The dimension that turns `rotations` times over the original context. */
static double yarn_dim(double rotations, double n_rot, double original, double theta) {
    return n_rot * log(original / (rotations * 2.0 * pi())) / (2.0 * log(theta));
}

static loam_status scale_yarn(loam_rotary *r, const loam_config *c, const loam_json_value *s,
                              double theta, double divisor[], loam_err *err) {
    double factor, original, fast, slow, m, m_all;
    loam_status st = loam_config_float(c, s, "factor", 1e-3, 1e6, MUST, &factor, err);
    if (!st)
        st = loam_config_float(c, s, "original_max_position_embeddings", 1, 1e9, 4096, &original,
                               err);
    if (!st) st = loam_config_float(c, s, "beta_fast", 1e-6, 1e6, 32, &fast, err);
    if (!st) st = loam_config_float(c, s, "beta_slow", 1e-6, 1e6, 1, &slow, err);
    if (!st) st = loam_config_float(c, s, "mscale", 0, 1e3, 1, &m, err);
    if (!st) st = loam_config_float(c, s, "mscale_all_dim", 0, 1e3, 0, &m_all, err);
    if (st) return st;
    if (theta <= 1.0)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: rope_theta is %g; yarn needs a base above 1",
                         c->path, theta);
    const double n_rot = (double)r->n_rot;
    const double low = fmax(floor(yarn_dim(fast, n_rot, original, theta)), 0.0);
    double high = fmin(ceil(yarn_dim(slow, n_rot, original, theta)), n_rot - 1.0);
    if (high == low) high += 0.001;
    for (size_t i = 0; i < r->n_rot / 2; i++) {
        const double ramp = fmin(fmax(((double)i - low) / (high - low), 0.0), 1.0);
        const double plain = divisor[i], stretched = factor * plain;
        divisor[i] = stretched * plain / (stretched * (1.0 - ramp) + plain * ramp);
    }
    r->scale = (float)(yarn_mscale(factor, m) / yarn_mscale(factor, m_all));
    return LOAM_OK;
}

static loam_status scale_longrope(loam_rotary *r, const loam_config *c,
                                  const loam_json_value *object, const loam_json_value *s,
                                  size_t n_ctx_max, double divisor[], loam_err *err) {
    const loam_json_value *factors = loam_config_get(s, "long_factor");
    double original, scaling_original;
    /* phi3 keeps it beside rope_scaling, others inside */
    loam_status st = loam_config_float(c, s, "original_max_position_embeddings", 2, 1e9, 4096,
                                       &scaling_original, err);
    if (!st)
        st = loam_config_float(c, object, "original_max_position_embeddings", 2, 1e9,
                               scaling_original, &original, err);
    if (st) return st;
    if (loam_json_type_of(factors) != LOAM_JSON_ARRAY || loam_json_count(factors) != r->n_rot / 2)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: rope_scaling.long_factor is not a list of %zu numbers", c->path,
                         r->n_rot / 2);
    size_t i = 0;
    for (const loam_json_value *v = loam_json_first(factors); v; v = loam_json_next(v), i++) {
        double f;
        if (!loam_json_number(v, &f) || !(f >= 1e-6 && f <= 1e9))
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "%s: rope_scaling.long_factor[%zu] is not a positive number", c->path,
                             i);
        divisor[i] *= f;
    }
    const double stretch = (double)n_ctx_max / original;
    r->scale = stretch <= 1.0 ? 1.0f : (float)sqrt(1.0 + log(stretch) / log(original));
    return LOAM_OK;
}

/* Scaling by kind; `s` is rope_scaling or rope_parameters, NULL for none. */
static loam_status apply_scaling(loam_rotary *r, const loam_config *c,
                                 const loam_json_value *object, const loam_json_value *s,
                                 double theta, size_t n_ctx_max, double divisor[], loam_err *err) {
    const char *kind, *fallback;
    double factor;
    loam_status st = loam_config_string(c, s, "rope_type", "default", &fallback, err);
    if (!st) st = loam_config_string(c, s, "type", fallback, &kind, err);
    if (st) return st;
    if (strcmp(kind, "default") == 0 || strcmp(kind, "mrope") == 0) return LOAM_OK;
    if (strcmp(kind, "linear") == 0) {
        st = loam_config_float(c, s, "factor", 1e-3, 1e6, MUST, &factor, err);
        if (!st) r->position_scale = (float)(1.0 / factor);
        return st;
    }
    if (strcmp(kind, "llama3") == 0) return scale_llama3(r, c, s, divisor, err);
    if (strcmp(kind, "yarn") == 0) return scale_yarn(r, c, s, theta, divisor, err);
    if (strcmp(kind, "longrope") == 0 || strcmp(kind, "su") == 0)
        return scale_longrope(r, c, object, s, n_ctx_max, divisor, err);
    return loam_fail(
        err, LOAM_ERR_UNSUPPORTED,
        "%s: rope kind \"%s\" is not supported (default, linear, llama3, yarn, longrope are)",
        c->path, kind);
}

loam_status loam_rotary_read(loam_rotary *out, const loam_config *c, const loam_json_value *object,
                             const loam_rotary_request *request, loam_err *err) {
    const loam_json_value *parameters = find_parameters(object, request->layer_type);
    const loam_json_value *scaling = loam_config_get(object, "rope_scaling");
    const int in_parameters = loam_config_get(parameters, "rope_theta") != NULL;
    double theta, partial, nested_partial, divisor[LOAM_HEAD_DIM_MAX / 2];
    loam_status st;

    *out = (loam_rotary){.scale = 1.0f, .position_scale = 1.0f};
    if (scaling && loam_json_type_of(scaling) != LOAM_JSON_OBJECT)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: rope_scaling is not an object", c->path);
    if (parameters && loam_json_type_of(parameters) != LOAM_JSON_OBJECT)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: rope_parameters is not an object", c->path);
    if (!loam_config_get(object, request->theta_key) && in_parameters)
        st = loam_config_float(c, parameters, "rope_theta", 1.0, MAX_THETA, MUST, &theta, err);
    else
        st = loam_config_float(c, object, request->theta_key, 1.0, MAX_THETA, request->theta,
                               &theta, err);
    if (!st)
        st = loam_config_float(c, parameters, "partial_rotary_factor", 0.0, 1.0, request->partial,
                               &nested_partial, err);
    if (!st)
        st = loam_config_float(c, object, "partial_rotary_factor", 0.0, 1.0, nested_partial,
                               &partial, err);
    if (st) return st;

    LOAM_ASSERT(request->head_dim <= LOAM_HEAD_DIM_MAX);
    out->n_rot = (size_t)((double)request->head_dim * partial);
    if (out->n_rot < 2 || out->n_rot % 2 != 0)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: %zu of %zu values of a head are rotated; an even number is needed",
                         c->path, out->n_rot, request->head_dim);
    fill_default(out, theta, divisor);
    if (!request->unscaled) {
        st = apply_scaling(out, c, object, scaling ? scaling : parameters, theta,
                           request->n_ctx_max, divisor, err);
        if (st) return st;
    }
    for (size_t i = 0; i < out->n_rot / 2; i++) out->inv_freq[i] = (float)(1.0 / divisor[i]);
    return LOAM_OK;
}

void loam_rotary_fill(const loam_rotary *r, size_t first, size_t n, float *table) {
    for (size_t p = first; p < first + n; p++)
        for (size_t i = 0; i < r->n_rot / 2; i++, table += 2) {
            const float angle = (float)p * r->position_scale * r->inv_freq[i];
            table[0] = (float)cos((double)angle) * r->scale;
            table[1] = (float)sin((double)angle) * r->scale;
        }
}
