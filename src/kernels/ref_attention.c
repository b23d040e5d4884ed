/* ref_attention.c - attention over one segment of keys: the meaning. */
#include "kernels.h"
#include "math_poly.h"
#include "ref_math.h"
#include <math.h>

static void kv_quantize_ref(const float *x, size_t n, unsigned char *row) {
    for (size_t k = 0, g = 0; k < n; k += LOAM_KV_GROUP, g++) {
        const size_t end = n - k < LOAM_KV_GROUP ? n : k + LOAM_KV_GROUP;
        float a = 0.0f;
        int finite = 1;
        for (size_t i = k; i < end; i++) {
            const float v = fabsf(x[i]);
            if (!(v <= 3.402823466e38f)) finite = 0;
            if (v > a) a = v;
        }
        const uint16_t d = loam_kv_make_scale(a, finite);
        const float inverse = finite && d ? 1.0f / loam_bf16_to_f32(d) : 0.0f;
        for (size_t i = k; i < end; i++)
            row[i] = finite && d ? (unsigned char)(int8_t)rintf(x[i] * inverse) : 0;
        memcpy(row + n + 2 * g, &d, sizeof d);
    }
}

static float get_kv(const loam_attention *a, const unsigned char *base, size_t key, size_t d) {
    const unsigned char *row = base + key * a->kv_stride;
    switch (a->format) {
    case LOAM_KV_ROWS_F32: return loam_read_f32(row + 4 * d);
    case LOAM_KV_ROWS_F16: return loam_f16_to_f32(loam_read_u16(row + 2 * d));
    default: return loam_kv_at(row, a->head_dim, d);
    }
}

/* In units of log2, for a query that was scaled. */
static float score(const loam_attention *a, const float *q, size_t key) {
    float x = 0.0f;
    for (size_t d = 0; d < a->head_dim; d++) x = fmaf(q[d], get_kv(a, a->k, key, d), x);
    return a->softcap > 0.0f ? a->softcap * LOAM_LOG2E * loam_ref_tanh(x) : x;
}

/* Keys begin .. end of the segment, all visible to the row. */
static void attend(const loam_attention *a, const float *q, size_t begin, size_t end, float *max,
                   float *sum, float *out) {
    float p[LOAM_KEY_SEGMENT], lanes[LOAM_LANES] = {0};
    const size_t n = end - begin;

    *max = -INFINITY;
    for (size_t j = 0; j < n; j++) {
        p[j] = score(a, q, begin + j);
        if (p[j] > *max) *max = p[j];
    }
    for (size_t j = 0; j < n; j++) {
        p[j] = loam_ref_exp2(p[j] - *max);
        lanes[(begin + j) % LOAM_LANES] += p[j];
    }
    *sum = loam_ref_tree(lanes);
    for (size_t d = 0; d < a->head_dim; d++) {
        out[d] = 0.0f;
        for (size_t j = 0; j < n; j++) out[d] = fmaf(p[j], get_kv(a, a->v, begin + j, d), out[d]);
    }
}

static void attention_ref(const loam_attention *a, float *max, float *sum, float *out,
                          void *scratch) {
    const float f = a->softcap > 0.0f ? a->scale / a->softcap : a->scale * LOAM_LOG2E;
    float *q = scratch;
    for (size_t t = 0; t < a->n_rows; t++) {
        const size_t pos = t / a->n_rep;
        const float *from = a->q + pos * a->q_stride + t % a->n_rep * a->head_dim;
        const size_t limit = a->causal ? a->limit + pos : a->last;
        const size_t end = limit < a->last ? limit : a->last;
        size_t begin = a->window > 0 && limit > a->window ? limit - a->window : 0;
        if (begin < a->first) begin = a->first;
        for (size_t d = 0; d < a->head_dim; d++) q[d] = from[d] * f;
        attend(a, q, begin, end > begin ? end : begin, max + t, sum + t, out + t * a->head_dim);
    }
}

static void attention_merge_ref(float *max, float *sum, float *out, float max2, float sum2,
                                const float *out2, size_t head_dim) {
    if (max2 == -INFINITY && sum2 == 0.0f) return;
    if (*max == -INFINITY && *sum == 0.0f) {
        *max = max2;
        *sum = sum2;
        for (size_t d = 0; d < head_dim; d++) out[d] = out2[d];
        return;
    }
    const float larger = max2 > *max ? max2 : *max;
    const float f = loam_ref_exp2(*max - larger), g = loam_ref_exp2(max2 - larger);
    *max = larger;
    *sum = fmaf(sum2, g, *sum * f);
    for (size_t d = 0; d < head_dim; d++) out[d] = fmaf(out2[d], g, out[d] * f);
}

static void attention_finish_ref(const float *out, float sum, size_t head_dim, float *y) {
    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    for (size_t d = 0; d < head_dim; d++) y[d] = out[d] * inverse;
}

void loam_kernels_use_ref_attention(loam_kernels *k) {
    k->kv_quantize = kv_quantize_ref;
    k->attention = attention_ref;
    k->attention_merge = attention_merge_ref;
    k->attention_finish = attention_finish_ref;
}
