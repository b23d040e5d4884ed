/* fuzz_model_config.c - config.json of a language model: any bytes are read or refused, and
 * what is accepted keeps the promises that binding and multiplying rely on. */
#include "model/families.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static char path[] = "config.json";
    static loam_decoder_config d;
    static float table[2 * LOAM_HEAD_DIM_MAX];
    loam_config c = {.path = path};
    loam_err err = {0};

    if (loam_json_parse(&c.doc, (const char *)bytes, n, path, LOAM_JSON_ALLOW_NAN, &err)) return 0;
    c.root = loam_json_root(c.doc);
    if (loam_json_type_of(c.root) == LOAM_JSON_OBJECT &&
        loam_decoder_config_read(&d, &c, &err) == LOAM_OK) {
        LOAM_ASSERT(d.n_layers && d.n_layers <= LOAM_MAX_LAYERS && d.dim && d.ffn_dim && d.vocab &&
                    d.n_ctx_max);
        LOAM_ASSERT(d.n_heads && d.n_kv_heads && d.n_heads % d.n_kv_heads == 0);
        LOAM_ASSERT(d.head_dim && d.head_dim <= LOAM_HEAD_DIM_MAX);
        for (size_t i = 0; i < d.n_ropes; i++) {
            LOAM_ASSERT(d.rope[i].n_rot % 2 == 0 && d.rope[i].n_rot <= d.head_dim);
            loam_rotary_fill(&d.rope[i], 1000, 1, table);
        }
        for (size_t i = 0; i < d.n_layers; i++)
            LOAM_ASSERT(d.layer_rope[i] == LOAM_NO_ROPE || d.layer_rope[i] < d.n_ropes);
    }
    loam_json_free(c.doc);
    return 0;
}
