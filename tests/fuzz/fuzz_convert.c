/* fuzz_convert.c - planning a conversion of whatever the GGUF reader accepts: names, shapes,
 * hyperparameters, vocabulary and the files written from them. */
#include "io/arrays.h"
#include "model/convert_job.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const loam_convert_options options[] = {{0}, {.bits = 4, .group_size = 32}};
    for (int i = 0; i < 2; i++) {
        convert_job job = {.src = "fuzz", .options = &options[i], .quantize = i};
        job.quant = (convert_quant){LOAM_QUANT_AFFINE, 4, 32};
        loam_err err = {0};
        if (loam_arrays_open_memory(&job.arrays, (loam_bytes){bytes, n, "fuzz"}, &err)) return 0;
        if (loam_arrays_container(job.arrays) == LOAM_GGUF) {
            const loam_status st = loam_convert_plan_gguf(&job, &err);
            LOAM_ASSERT(st == LOAM_OK || err.msg[0]);
            for (size_t k = 0; !st && k < job.n_files; k++) { /* what is written can be read */
                loam_json *doc = NULL;
                const convert_file *f = &job.files[k];
                const int readable =
                    loam_json_parse(&doc, f->bytes.data, f->bytes.n, f->name, 0, &err) == LOAM_OK;
                LOAM_ASSERT(readable);
                loam_json_free(doc);
            }
        }
        loam_convert_job_deinit(&job);
    }
    return 0;
}
