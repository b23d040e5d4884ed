/* fuzz_html.c - the core of loam-html, without its sandbox: any bytes give clean text and sound headings. */
#define LOAM_HTML_NO_MAIN
#include "../../apps/loam_html.c" /* the program's own source: its core has no header */

/* Only reached when memory is out. */
void cli_helper_fail(loam_status status, const char *fmt, ...) {
    (void)status;
    (void)fmt;
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char charset[40];
    html_text t = {0};
    loam_buf text = {0};
    const char *bytes = (const char *)data;
    const int declared = sniff_charset(bytes, n, charset);
    if (n > 0 && loam_text_decode(bytes, n, declared ? charset : NULL, &text, NULL) == LOAM_OK) {
        GumboOutput *tree = html_to_text(&t, text.data ? text.data : "", text.n);
        size_t last = 0;
        for (size_t i = 0; i < t.n_headings; i++) {
            if (t.headings[i].begin < last || t.headings[i].end <= t.headings[i].begin ||
                t.headings[i].end > t.out.n)
                abort();
            last = t.headings[i].end;
        }
        for (size_t i = 0; i < t.out.n; i++)
            if ((unsigned char)t.out.data[i] < 0x20 && t.out.data[i] != '\n' &&
                t.out.data[i] != '\t')
                abort();
        GumboOptions options = kGumboDefaultOptions;
        options.allocator = take_memory;
        options.deallocator = give_memory;
        gumbo_destroy_output(&options, tree);
    }
    loam_buf_deinit(&t.out);
    loam_buf_deinit(&t.title);
    loam_buf_deinit(&t.clean);
    loam_buf_deinit(&t.markup);
    free(t.headings);
    loam_buf_deinit(&text);
    return 0;
}
