/* config.h - a model folder's config.json, read with ranges.
 *
 *     loam_config c = {0};
 *     size_t hidden;
 *     st = loam_config_open(&c, folder, err);
 *     st = loam_config_size(&c, c.root, "hidden_size", 1, 1 << 20, LOAM_CONFIG_REQUIRED, &hidden, err);
 *     loam_config_close(&c);
 *
 * Nothing of the file is trusted: a wrong type or a value outside its range is
 * FORMAT with file, key, value and range.  A null counts as a missing key, as in
 * the Python programs that write these files.
 */
#ifndef LOAM_SRC_CONFIG_H
#define LOAM_SRC_CONFIG_H

#include "base/base.h"
#include <loam/json.h>

typedef struct loam_config {
    loam_json *doc;
    const loam_json_value *root; /* an object */
    char *path;                  /* "FOLDER/config.json", for messages */
} loam_config;

/* Read FOLDER/config.json.  A custom `model_file` (Python code that would have to run) is
 * refused.  Errors: NOT_FOUND, FORMAT, UNSUPPORTED, MEMORY, IO. */
loam_status loam_config_open(loam_config *out, const char *folder, loam_err *err);
void loam_config_close(loam_config *c); /* zeroed is allowed */

/* The `fallback` that means: the key must be there. */
#define LOAM_CONFIG_REQUIRED SIZE_MAX

/* A member of `object` (the root or something inside it; NULL: no members), in its range. */
loam_status loam_config_size(const loam_config *c, const loam_json_value *object, const char *key,
                             size_t min, size_t max, size_t fallback, size_t *out, loam_err *err);
/* `fallback` NAN: required.  Infinities and NaN are never in range. */
loam_status loam_config_float(const loam_config *c, const loam_json_value *object, const char *key,
                              double min, double max, double fallback, double *out, loam_err *err);
loam_status loam_config_flag(const loam_config *c, const loam_json_value *object, const char *key,
                             int fallback, int *out, loam_err *err);
/* NUL-terminated and without inner NULs; *out lives as long as the config. */
loam_status loam_config_string(const loam_config *c, const loam_json_value *object, const char *key,
                               const char *fallback, const char **out, loam_err *err);
/* A member that is neither missing nor null, or NULL. */
const loam_json_value *loam_config_get(const loam_json_value *object, const char *key);

#endif
