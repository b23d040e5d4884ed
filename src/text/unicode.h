/* unicode.h - the character properties and normal forms that tokenizers ask for.
 * Data: utf8proc (its Unicode version), with a table for ASCII, where most text is. */
#ifndef LOAM_TEXT_UNICODE_H
#define LOAM_TEXT_UNICODE_H

#include "base/base.h"

/* Classes of a character as the split patterns of tokenizers see them; a
 * character has exactly one of the first seven, or none (symbols, punctuation, controls). */
enum {
    LOAM_UC_UPPER = 1,    /* Lu, Lt */
    LOAM_UC_LOWER = 2,    /* Ll */
    LOAM_UC_CASELESS = 4, /* Lm, Lo */
    LOAM_UC_MARK = 8,     /* M* */
    LOAM_UC_NUMBER = 16,  /* N* */
    LOAM_UC_SPACE = 32,   /* White_Space */
    LOAM_UC_BREAK = 64,   /* CR, LF: beside SPACE */
    LOAM_UC_LETTER = LOAM_UC_UPPER | LOAM_UC_LOWER | LOAM_UC_CASELESS
};
extern const unsigned char loam_uc_ascii[128];
unsigned loam_uc_class_wide(uint32_t c);
static inline unsigned loam_uc_class(uint32_t c) {
    return c < 128 ? loam_uc_ascii[c] : loam_uc_class_wide(c);
}
int loam_uc_is_space(uint32_t c);      /* White_Space */
int loam_uc_is_punct(uint32_t c);      /* ASCII punctuation and symbols, or P* */
int loam_uc_is_word(uint32_t c);       /* \w: Alphabetic, M, Nd, Pc, joiners */
int loam_uc_is_numeric(uint32_t c);    /* N* */
int loam_uc_is_other(uint32_t c);      /* Cc, Cf, Co, Cs */
int loam_uc_is_mark(uint32_t c);       /* M* */
int loam_uc_is_nonspacing(uint32_t c); /* Mn */
/* Append the full lower case of c. */
void loam_uc_lower(loam_buf *out, uint32_t c);

typedef enum loam_uc_form { LOAM_UC_NFC, LOAM_UC_NFD, LOAM_UC_NFKC, LOAM_UC_NFKD } loam_uc_form;
/* 1 when checked text is surely in the form already (a quick check, may say 0 for normal text). */
int loam_uc_is_normal(const char *s, size_t n, loam_uc_form form);
/* Append the normal form of checked text; 0 when out of memory. */
int loam_uc_normalize(loam_buf *out, const char *s, size_t n, loam_uc_form form);

#endif
