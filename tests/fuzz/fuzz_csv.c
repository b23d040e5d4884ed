/* fuzz_csv.c - rows of any bytes: fields lie in the row, and every call goes forward. */
#include <loam/data.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    loam_csv csv = {.text = (const char *)data + 1,
                    .n = n - 1,
                    .separator = data[0] & 1 ? ',' : '\t',
                    .quote = data[0] & 2 ? '"' : '\''};
    loam_err err = {0};
    size_t before = 0;
    for (int r; (r = loam_csv_next(&csv, &err)) != 0;) {
        if (csv.at <= before || csv.at > csv.n) abort();
        before = csv.at;
        for (size_t i = 0; i < csv.n_fields && r > 0; i++) {
            size_t n_field;
            const char *field = loam_csv_field(&csv, i, &n_field);
            if (field[n_field] != '\0') abort();
        }
    }
    loam_csv_deinit(&csv);
    return 0;
}
