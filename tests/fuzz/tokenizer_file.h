/* tokenizer_file.h - what the fuzzers of tokenizer files share: any bytes as such a file; what opens
 * must encode and decode cleanly. */
#ifndef LOAM_FUZZ_TOKENIZER_FILE_H
#define LOAM_FUZZ_TOKENIZER_FILE_H

#include <loam/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char TEXT[] = "Hello, w\xc3\xb6rld! don't  12345 <s>x</s>\n\n\xe4\xb8\xad\xe6\x96\x87 "
                           "e\xcc\x81 \xf0\x9f\x98\x80 ";

static int fuzz_tokenizer_file(const uint8_t *bytes, size_t n, const char *ending) {
    static char path[64];
    loam_tokenizer *tok = NULL;
    loam_ids ids = {0}, types = {0};
    loam_buf out = {0};
    if (!path[0]) snprintf(path, sizeof path, "/dev/shm/loam-fuzz-%d%s", (int)getpid(), ending);
    FILE *f = fopen(path, "wb");
    if (!f) abort();
    if (n) fwrite(bytes, 1, n, f);
    fclose(f);
    if (!loam_tokenizer_open(&tok, path, NULL)) {
        if (!loam_tokenizer_encode(tok, TEXT, sizeof TEXT - 1,
                                   LOAM_ENCODE_SPECIAL | LOAM_ENCODE_PARSE_SPECIAL, &ids, NULL))
            loam_tokenizer_decode(tok, ids.ids, ids.n, LOAM_DECODE_CLEAN_UP, &out, NULL);
        loam_tokenizer_encode_pair(tok, TEXT, sizeof TEXT - 1, TEXT, 5, 16, 0, &ids, &types, NULL);
        for (size_t i = 0; i < loam_tokenizer_size(tok) && i < 300; i++) {
            const int32_t id = (int32_t)i;
            loam_tokenizer_decode(tok, &id, 1, 0, &out, NULL);
        }
    }
    loam_tokenizer_close(tok);
    loam_ids_deinit(&ids);
    loam_ids_deinit(&types);
    loam_buf_deinit(&out);
    return 0;
}

#endif
