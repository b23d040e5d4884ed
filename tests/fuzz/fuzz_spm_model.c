/* fuzz_spm_model.c - any bytes as a SentencePiece model. */
#include "tokenizer_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    return fuzz_tokenizer_file(bytes, n, ".model");
}
