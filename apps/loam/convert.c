/* convert.c - loam convert: GGUF or a Hugging Face folder to an MLX model folder. */
#include "cli/cli.h"
#include "loam/commands.h"

#include <loam/convert.h>
#include <string.h>

typedef struct arguments {
    int bits, group_size, dequantize, exact_scales, force, quiet;
    const char *dtype, *mode, *recipe;
} arguments;

static const cli_option OPTIONS[] = {
    {"bits", 'b', CLI_INT, offsetof(arguments, bits), "B",
     "quantise to B bits: 2, 3, 4, 5, 6 or 8 (default: keep what the source has)", 2, 8},
    {"group-size", 'g', CLI_INT, offsetof(arguments, group_size), "G",
     "weights that share a scale: 32, 64 or 128 (default: 64 with --bits)", 32, 128},
    {"dtype", 0, CLI_CHOICE, offsetof(arguments, dtype), "float16|bfloat16|float32|f16|bf16|f32",
     "type of scales, biases and plain weights (default: the source's; from GGUF float16)", 0, 0},
    {"dequantize", 'd', CLI_FLAG, offsetof(arguments, dequantize), "",
     "write plain weights in --dtype", 0, 0},
    {"exact-scales", 0, CLI_FLAG, offsetof(arguments, exact_scales), "",
     "keep the products of GGUF's Q4_K, Q5_K and Q6_K scales in float32", 0, 0},
    {"mode", 0, CLI_CHOICE, offsetof(arguments, mode), "affine|mxfp4|mxfp8|nvfp4",
     "quantisation (default: affine)", 0, 0},
    {"recipe", 0, CLI_CHOICE, offsetof(arguments, recipe),
     "mixed_2_6|mixed_3_4|mixed_3_6|mixed_4_6",
     "more bits for the tensors that need them, as in mlx-lm", 0, 0},
    {"force", 'f', CLI_FLAG, offsetof(arguments, force), "", "replace an existing model folder", 0,
     0},
    {"quiet", 'q', CLI_FLAG, offsetof(arguments, quiet), "", "no progress bar", 0, 0},
    {0}};

static const char EXAMPLES[] =
    "  loam convert SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2\n"
    "  loam convert qwen2.5-coder-1.5b-instruct-q4_k_m.gguf models/qwen --bits 4 --group-size 64\n"
    "  loam convert models/llama-hf models/llama-8bit --bits 8 --dtype bfloat16\n"
    "  loam convert models/llama-8bit models/llama-f16 --dequantize --dtype float16\n";

static const cli_program PROGRAM = {
    "loam convert",
    "SRC DST [OPTIONS]",
    "make an MLX model folder DST from a GGUF file or a model folder SRC",
    OPTIONS,
    EXAMPLES,
    2,
    2,
};

static int read_dtype(const char *name) {
    if (!name) return 0;
    if (strcmp(name, "float32") == 0 || strcmp(name, "f32") == 0) return LOAM_F32 + 1;
    return (name[0] == 'b' ? LOAM_BF16 : LOAM_F16) + 1;
}

static void check_usage(const arguments *a) {
    if (a->bits == 7) cli_fail(CLI_EXIT_USAGE, "--bits 7: MLX knows 2, 3, 4, 5, 6 and 8");
    if (a->group_size && a->group_size != 32 && a->group_size != 64 && a->group_size != 128)
        cli_fail(CLI_EXIT_USAGE, "--group-size %d: MLX knows 32, 64 and 128", a->group_size);
    if (a->dequantize && a->bits) cli_fail(CLI_EXIT_USAGE, "--dequantize: does not go with --bits");
}

static void show_progress(void *ctx, uint64_t done, uint64_t total) {
    cli_progress_set(ctx, done, total);
}

int loam_cmd_convert(int argc, char **argv) {
    arguments a = {0};
    cli_strings rest;
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    check_usage(&a);

    const loam_convert_options options = {
        .bits = a.bits,
        .group_size = a.group_size,
        .dtype = read_dtype(a.dtype),
        .dequantize = a.dequantize,
        .exact_scales = a.exact_scales,
        .mode = a.mode,
        .recipe = a.recipe,
        .force = a.force,
        .cancel = &cli_cancel,
    };
    loam_err err = {0};
    cli_progress *bar = a.quiet ? NULL : cli_progress_new("converting", 0, "B");
    const loam_status st =
        loam_convert(rest.items[0], rest.items[1], &options, bar ? show_progress : NULL, bar, &err);
    cli_progress_end(bar);
    if (st) cli_die(&err);
    printf("%s\n", rest.items[1]);
    return CLI_EXIT_OK;
}
