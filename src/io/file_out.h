/* file_out.h - a file that appears whole or not at all.
 *
 *     loam_file_out o;
 *     if (loam_file_out_open(&o, path, 0666, err)) ...
 *     loam_file_out_write(&o, bytes, n);        as often as needed; errors are kept
 *     return loam_file_out_commit(&o, err);     or loam_file_out_abandon(&o)
 *
 * Temp file beside the target, fsync, rename, fsync of the folder.  What killed writers of the
 * same target left is removed when it is an hour old.  A file that is replaced
 * keeps its mode; `mode` is for a new one.  A target that is a device or a pipe is written
 * directly.
 */
#ifndef LOAM_IO_FILE_OUT_H
#define LOAM_IO_FILE_OUT_H

#include "base/base.h"

typedef struct loam_file_out {
    char *target; /* symbolic links resolved */
    char *temp;   /* NULL: written directly */
    unsigned char *buffer;
    size_t n_buffer;
    uint64_t n_written; /* bytes taken so far */
    int fd;
    int failed;  /* errno of the first failure */
    int no_sync; /* set after opening: the file may be lost in a crash, its readers check it */
} loam_file_out;

loam_status loam_file_out_open(loam_file_out *o, const char *path, unsigned mode, loam_err *err);
void loam_file_out_write(loam_file_out *o, const void *bytes, size_t n);
/* Both release everything; abandon removes the temp file and leaves the target alone. */
loam_status loam_file_out_commit(loam_file_out *o, loam_err *err);
void loam_file_out_abandon(loam_file_out *o);

/* Make a rename to `path` durable by syncing the folder it stands in: 0 or an errno.  Some file
 * systems do not offer that, and a folder that may be written may be unreadable: no failure. */
int loam_folder_sync(const char *path);

#endif
