/* fuzz_json.c - the JSON parser: no crash, and what it takes it writes so that it takes it again. */
#include "base/base.h"
#include <loam/json.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    loam_json *doc, *again = NULL;
    if (n == 0) return 0;
    const unsigned flags = bytes[0] & 7;
    if (loam_json_parse(&doc, (const char *)bytes + 1, n - 1, "fuzz", flags, NULL)) return 0;
    loam_buf a = {0}, b = {0};
    loam_json_put_value(&a, loam_json_root(doc), bytes[0] & 8 ? 2 : -1, bytes[0] & 16);
    LOAM_ASSERT(!loam_json_parse(&again, a.data, a.n, "again", LOAM_JSON_ALLOW_NAN, NULL));
    loam_json_put_value(&b, loam_json_root(again), bytes[0] & 8 ? 2 : -1, bytes[0] & 16);
    LOAM_ASSERT(a.n == b.n && memcmp(a.data, b.data, a.n) == 0);
    const loam_json_value *root = loam_json_root(doc);
    for (size_t i = 0; i < loam_json_count(root); i++) {
        size_t n_key;
        const char *key = loam_json_key(root, i, &n_key);
        LOAM_ASSERT(loam_json_at(root, i) != NULL);
        if (key) LOAM_ASSERT(loam_json_get_n(root, key, n_key) != NULL);
    }
    loam_buf_deinit(&a);
    loam_buf_deinit(&b);
    loam_json_free(doc);
    loam_json_free(again);
    return 0;
}
