/* hub.h - from a model's name to a folder on this machine, without a network.
 *
 *     char *folder;
 *     if (loam_hub_find(&folder, "mlx-community/SmolLM2-135M-Instruct-4bit", NULL, &err)) ...
 *     free(folder);
 *
 * The Hugging Face cache layout is read as it is and never rearranged.  This is
 * the one part of the library that reads the environment: HF_HOME, HF_HUB_CACHE
 * (HUGGINGFACE_HUB_CACHE), XDG_CACHE_HOME, HOME.
 */
#ifndef LOAM_HUB_H
#define LOAM_HUB_H

#include <loam/base.h>

/* `name`: an existing folder is returned as it is; else "org/name[@revision]",
 * "hf://org/name", "https://huggingface.co/org/name" or an alias's folder under
 * the loam model directory is looked up in the cache (refs/REV, then
 * snapshots/COMMIT, completeness checked against trees/COMMIT.json when there).
 * The caller frees *out.  Errors: ARGUMENT (bad name), NOT_FOUND; the message
 * ends with the exact command that mends it: "run: loam pull org/name". */
LOAM_API loam_status loam_hub_find(char **out, const char *name, const char *revision,
                                   loam_err *err);

/* The cache's root ("…/hub"); caller frees. */
LOAM_API loam_status loam_hub_cache_dir(char **out, loam_err *err);

/* 1 when `name` is a well-formed repo id (org/name or name, allowed characters,
 * no "..", no "--", at most 96 characters). */
LOAM_API int loam_hub_valid_repo(const char *name);

#endif
