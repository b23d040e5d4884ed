/* fuzz_tokenizer_json.c - any bytes as tokenizer.json. */
#include "tokenizer_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    return fuzz_tokenizer_file(bytes, n, ".json");
}
