/* st_settings.h - what a sentence-transformers folder says about itself.
 *
 *     loam_st_settings s = {0};
 *     if (loam_st_settings_read(&s, folder, &err)) ...
 *     loam_st_settings_deinit(&s);
 *
 * Read: modules.json (Transformer, Pooling, Dense, Normalize, Dropout), the modules' own
 * config.json, sentence_bert_config.json, config_sentence_transformers.json, and
 * model_max_length of tokenizer_config.json.  A folder without modules.json is a bare
 * encoder: mean pooling, then unit length.
 */
#ifndef LOAM_RAG_ST_SETTINGS_H
#define LOAM_RAG_ST_SETTINGS_H

#include "base/base.h"

/* In the order in which their results stand one after another. */
typedef enum loam_pooling {
    LOAM_POOL_CLS,
    LOAM_POOL_MAX,
    LOAM_POOL_MEAN,
    LOAM_POOL_MEAN_SQRT, /* sum over the square root of the length */
    LOAM_POOL_WEIGHTED,  /* mean with weights 1, 2, 3, ... */
    LOAM_POOL_LAST,
    LOAM_N_POOLINGS
} loam_pooling;

enum { LOAM_MAX_ST_STAGES = 8 };

/* What follows the pooling. */
typedef struct loam_st_stage {
    char *dense; /* folder of a Dense module; NULL: make unit length */
} loam_st_stage;

typedef struct loam_st_settings {
    char *transformer; /* folder of config.json, weights and tokenizer */
    size_t max_tokens; /* special tokens included; 0: as many as there are positions */
    loam_pooling pooling[LOAM_N_POOLINGS];
    size_t n_poolings;
    int skip_prompt; /* the prompt's tokens do not take part in pooling */
    loam_st_stage stages[LOAM_MAX_ST_STAGES];
    size_t n_stages;
    char *query_prompt, *document_prompt; /* never NULL; "" for none */
} loam_st_settings;

/* Errors: FORMAT, UNSUPPORTED (a module loam does not know), MEMORY, IO. */
loam_status loam_st_settings_read(loam_st_settings *s, const char *folder, loam_err *err);
void loam_st_settings_deinit(loam_st_settings *s);

/* model_max_length of FOLDER/tokenizer_config.json; 0 when it says nothing usable (often a
 * huge float that means "no limit"). */
loam_status loam_read_model_max_length(size_t *out, const char *folder, loam_err *err);

#endif
