/* fuzz_template.c - a template source, and after a NUL byte the JSON of its variables. */
#include <loam/text.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char VARS[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Füße\", \"reasoning\": \"r\"},"
        " {\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"x\"}]}],"
        " \"n\": 7, \"f\": 2.5, \"s\": \"Hello World\", \"d\": {\"a\": {\"b\": [1, null, true]}}}";
    loam_err err = {0};
    loam_template *t = NULL;
    loam_json *vars = NULL;
    loam_buf out = {0};
    const char *text = (const char *)data;
    const uint8_t *nul = n ? memchr(data, 0, n) : NULL;
    const size_t n_source = nul ? (size_t)(nul - data) : n;
    if (loam_template_new(&t, n ? text : "", n_source, "t", &err)) return 0;
    const loam_status st =
        nul ? loam_json_parse(&vars, text + n_source + 1, n - n_source - 1, "v", 0, &err)
            : loam_json_parse(&vars, VARS, sizeof VARS - 1, "v", 0, &err);
    if (!st) {
        const unsigned flags = LOAM_TEMPLATE_UTC | (n % 2 ? LOAM_TEMPLATE_CHAT : 0);
        loam_template_render(t, loam_json_root(vars), flags, 1770091506, &out, &err);
    }
    loam_buf_deinit(&out);
    loam_json_free(vars);
    loam_template_free(t);
    return 0;
}
