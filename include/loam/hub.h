/* hub.h - from a model's name to a folder on this machine, without a network.
 *
 *     char *folder;
 *     if (loam_hub_find(&folder, "mlx-community/SmolLM2-135M-Instruct-4bit", NULL, &err)) ...
 *     free(folder);
 *
 * The Hugging Face cache layout is read as it is and never rearranged.  This is
 * the one part of the library that reads the environment: HF_HOME, HF_HUB_CACHE
 * (HUGGINGFACE_HUB_CACHE), XDG_CACHE_HOME, HOME; LOAM_MODELS, XDG_DATA_HOME.
 */
#ifndef LOAM_HUB_H
#define LOAM_HUB_H

#include <loam/base.h>

enum { LOAM_HUB_MAX_REPO = 96, LOAM_HUB_MAX_REVISION = 200 };

/* What a name says: the repository and the revision asked for ("" when none). */
typedef struct loam_hub_name {
    char repo[LOAM_HUB_MAX_REPO + 1];
    char revision[LOAM_HUB_MAX_REVISION + 1];
} loam_hub_name;

/* Take "org/name", "name", "org/name@revision", "hf://org/name" or
 * "https://huggingface.co/org/name[/tree/REV]" apart.  `revision` (may be NULL)
 * wins over the one in the name.  Errors: ARGUMENT. */
LOAM_API loam_status loam_hub_parse(loam_hub_name *out, const char *name, const char *revision,
                                    loam_err *err);

/* `name`: an existing folder is returned as it is; "name" or "org/name" may be a
 * folder of the loam model directory ($LOAM_MODELS, else $XDG_DATA_HOME/loam/models,
 * else ~/.local/share/loam/models); anything else that loam_hub_parse takes is
 * looked up in the cache (refs/REV, then snapshots/COMMIT).  A snapshot is
 * complete when no link dangles, every shard that its index names is there and,
 * where trees/COMMIT.json exists, so is every file that a model is read from, in
 * its full size.
 * The caller frees *out.  Errors: ARGUMENT (bad name), NOT_FOUND; the message
 * ends with the exact command that mends it: "run: loam pull org/name". */
LOAM_API loam_status loam_hub_find(char **out, const char *name, const char *revision,
                                   loam_err *err);

/* The cache's root ("…/hub"), and the folder of the token and other caches
 * ($HF_HOME); the caller frees. */
LOAM_API loam_status loam_hub_cache_dir(char **out, loam_err *err);
LOAM_API loam_status loam_hub_home(char **out, loam_err *err);

/* "CACHE/models--org--name"; the caller frees. */
LOAM_API loam_status loam_hub_repo_dir(char **out, const char *repo, loam_err *err);

/* 1 when `name` is a well-formed repo id (org/name or name, allowed characters,
 * no "..", no "--", at most 96 characters). */
LOAM_API int loam_hub_valid_repo(const char *name);

/* 1 when `path` (of a file inside a repository) stays inside: relative, no empty,
 * "." or ".." part, no backslash, no control character, at most 1024 bytes. */
LOAM_API int loam_hub_valid_path(const char *path);

/* Writing the cache, for the program that downloads.  Everything is put in place
 * by rename, so that readers see a file whole or not at all. */

typedef struct loam_hub_file {
    const char *path; /* inside the repository */
    uint64_t size;
    const char *blob_id;    /* the file's git object id */
    const char *lfs_sha256; /* NULL: an ordinary file */
    const char *xet_hash;   /* NULL: none */
} loam_hub_file;

/* Make the cache, CACHEDIR.TAG and the repository's folders. */
LOAM_API loam_status loam_hub_prepare(const char *repo, loam_err *err);
/* trees/COMMIT.json: what the commit holds, so that a partial snapshot can be told. */
LOAM_API loam_status loam_hub_write_tree(const char *repo, const char *commit,
                                         const loam_hub_file *files, size_t n, loam_err *err);
/* refs/REVISION: 40 digits without a newline; nothing is written when it says so already. */
LOAM_API loam_status loam_hub_write_ref(const char *repo, const char *revision, const char *commit,
                                        loam_err *err);

/* 1 when `etag` is safe as a file name: letters, digits, '-', '_', at most 128. */
LOAM_API int loam_hub_valid_etag(const char *etag);
/* "CACHE/models--org--name/blobs/ETAG"; the caller frees. */
LOAM_API loam_status loam_hub_blob_path(char **out, const char *repo, const char *etag,
                                        loam_err *err);
/* The partial file of a blob, this process's own: ETAG.loam-PID-HOST.incomplete beside the
 * blob.  What a dead process left of the same blob is taken over, bytes and all; files of
 * other programs are not touched.  The caller closes *fd and frees *path. */
LOAM_API loam_status loam_hub_open_partial(int *fd, char **path, const char *repo, const char *etag,
                                           loam_err *err);
/* 1 when the snapshot's file is there in its full size. */
LOAM_API int loam_hub_has_file(const char *repo, const char *commit, const char *path,
                               uint64_t size);
/* snapshots/COMMIT/PATH -> the blob, by a relative link; `plain`, or a file system
 * without links: the blob itself is moved there. */
LOAM_API loam_status loam_hub_link(const char *repo, const char *commit, const char *path,
                                   const char *etag, int plain, loam_err *err);
/* "CACHE/models--org--name/snapshots/COMMIT"; the caller frees. */
LOAM_API loam_status loam_hub_snapshot_dir(char **out, const char *repo, const char *commit,
                                           loam_err *err);

/* .locks/models--org--name/ETAG.lock, as huggingface_hub takes it.  *fd is closed by
 * the caller to unlock.  Errors: BUSY (another process has it), IO (cannot be
 * locked here: read-only, or a file system without locks). */
LOAM_API loam_status loam_hub_lock(int *fd, const char *repo, const char *etag, loam_err *err);

#endif
