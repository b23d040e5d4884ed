/* fingerprint.h - which embedding model made these vectors: 64 hex digits.
 *
 *     char hex[65];
 *     if (loam_fingerprint(hex, encoder, &settings, max_tokens, &err)) ...
 *
 * SHA-256 over, in this order ("LINE" is printf text that ends with a newline):
 *
 *     "loam-embedder 1"
 *     "encoder LAYERS DIM HEADS INTER VOCAB POSITIONS TYPES ACTIVATION EPS"
 *     "pooling MODE,MODE.. prompt 0|1 max MAX_TOKENS"          modes: numbers of loam_pooling
 *     "query N" and the N bytes of the prompt; "document N" likewise
 *     "normalize" or "dense", once for each stage after the pooling, in order; a dense
 *         stage is followed by its arrays, as below
 *     for each tokenizer file: "file NAME SIZE" and its bytes
 *     for each array of the weights by name: "array NAME DTYPE AxBxC" and its bytes
 *
 * Tokenizer files: tokenizer.json, else those of tokenizer.model, vocab.json, merges.txt,
 * vocab.txt, tokenizer_config.json that are there.  Bytes are taken whole up to a limit
 * (files 1 MiB, arrays 1 KiB), above it as samples at even distances from the first to
 * the last byte (files 256 of 4 KiB, arrays 16 of 64 bytes), so that the cost does not
 * grow with the model: a few milliseconds.
 * Not part of it: the folder's place and name, the precision, texts in config.json that
 * change no number.
 */
#ifndef LOAM_RAG_FINGERPRINT_H
#define LOAM_RAG_FINGERPRINT_H

#include "model/encoder.h"
#include "rag/st_settings.h"

loam_status loam_fingerprint(char out[65], const loam_encoder *m, const loam_st_settings *s,
                             size_t max_tokens, loam_err *err);

#endif
