/* convert.c - loam_convert: from the request to a folder that appears whole.
 *
 *     out.loam-XXXXXX/ ... everything written and synced ... -> rename -> out
 *
 * The temporary folder stands beside the destination, so the rename stays inside
 * one file system; whatever fails before it removes the folder again.
 */
#include "io/file_out.h"
#include "model/convert_job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void loam_convert_job_deinit(convert_job *job) {
    for (size_t i = 0; i < job->n_items; i++) free(job->items[i].name);
    free(job->items);
    for (size_t i = 0; i < job->n_files; i++) loam_buf_deinit(&job->files[i].bytes);
    loam_arrays_close(job->arrays);
    memset(job, 0, sizeof *job);
}

convert_item *loam_convert_add_item(convert_job *job, const char *name, const loam_tensor *src) {
    if (!loam_grow((void **)&job->items, &job->cap_items, job->n_items + 1, sizeof *job->items))
        return NULL;
    convert_item *it = &job->items[job->n_items];
    memset(it, 0, sizeof *it);
    it->name = loam_strdup(name);
    if (!it->name) return NULL;
    it->src = src;
    it->rows = 1;
    it->cols = src->rank ? src->shape[src->rank - 1] : 1;
    for (int i = 0; i + 1 < src->rank; i++) it->rows *= src->shape[i];
    job->n_items++;
    return it;
}

loam_status loam_convert_add_file(convert_job *job, const char *name, loam_buf *bytes,
                                  loam_err *err) {
    LOAM_ASSERT(job->n_files < CONVERT_MAX_FILES);
    convert_file *f = &job->files[job->n_files++];
    snprintf(f->name, sizeof f->name, "%s", name);
    f->bytes = *bytes;
    memset(bytes, 0, sizeof *bytes);
    if (f->bytes.failed) return loam_fail(err, LOAM_ERR_MEMORY, "%s: text", name);
    return LOAM_OK;
}

/* mlx-lm's mixed recipes: v_proj and down_proj of the first and last eighth and of
 * every third layer between, and the head, get more bits. */
static int recipe_bits(const char *recipe, const char *path, size_t n_layers) {
    const int low = recipe[6] - '0', high = recipe[8] - '0';
    size_t layer = 0;
    const char *at = strstr(path, "layers.");
    if (at) layer = strtoul(at + 7, NULL, 10);
    const size_t eighth = n_layers / 8;
    const int more = layer < eighth || layer >= 7 * n_layers / 8 ||
                     (layer >= eighth && (layer - eighth) % 3 == 2);
    if (strstr(path, "lm_head")) return high;
    if (more && (strstr(path, "v_proj") || strstr(path, "down_proj"))) return high;
    return low;
}

int loam_convert_pick_quant(const convert_job *job, const char *path, const loam_tensor *t,
                            size_t n_layers, convert_quant *out) {
    *out = job->quant;
    if (!job->quantize || t->rank < 2) return 0;
    /* experts are stacked in a third dimension; other tensors of rank 3 are convolutions */
    if (t->rank > 2 && !strstr(path, "switch_mlp") && !strstr(path, "experts")) return 0;
    if (job->options->recipe) out->bits = recipe_bits(job->options->recipe, path, n_layers);
    return t->shape[t->rank - 1] % (uint64_t)out->group == 0 && t->shape[t->rank - 1] != 0;
}

static const char *mode_name(loam_quant_mode mode) {
    static const char *const names[] = {"affine", "mxfp4", "mxfp8", "nvfp4"};
    return names[mode];
}

static void put_quant(loam_pyjson *w, const convert_quant *q) {
    loam_pyjson_int(w, "group_size", q->group);
    loam_pyjson_int(w, "bits", q->bits);
    loam_pyjson_string(w, "mode", mode_name(q->mode));
}

static int same_quant(const convert_quant *a, const convert_quant *b) {
    return a->mode == b->mode && a->bits == b->bits && a->group == b->group;
}

void loam_convert_put_quantization(loam_pyjson *w, const char *key, const convert_job *job,
                                   const convert_quant *global, int all) {
    loam_pyjson_open(w, key, '{');
    put_quant(w, global);
    for (size_t i = 0; i < job->n_items; i++) {
        const convert_item *it = &job->items[i];
        if (it->action != CONVERT_QUANTIZE && it->action != CONVERT_BLOCKS) continue;
        if (!all && same_quant(&it->quant, global)) continue;
        loam_pyjson_open(w, it->name, '{');
        put_quant(w, &it->quant);
        loam_pyjson_close(w);
    }
    loam_pyjson_close(w);
}

/* What the options ask for, checked before anything is opened. */
static loam_status read_options(convert_job *job, const loam_convert_options *o, loam_err *err) {
    static const char *const recipes[] = {"mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"};
    job->options = o;
    job->quantize = o->bits || o->group_size || o->recipe || o->mode;
    if (o->dequantize && job->quantize)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "--dequantize: does not go with --bits or a mode");
    if (o->dtype) {
        job->has_dtype = 1;
        job->dtype = (loam_dtype)(o->dtype - 1);
        if (job->dtype != LOAM_F16 && job->dtype != LOAM_BF16 && job->dtype != LOAM_F32)
            return loam_fail(err, LOAM_ERR_ARGUMENT, "--dtype: float16, bfloat16 or float32");
    }
    job->quant = (convert_quant){LOAM_QUANT_AFFINE, o->bits ? o->bits : 4,
                                 o->group_size ? o->group_size : 64};
    if (o->recipe) {
        int known = 0;
        for (int i = 0; i < 4; i++) known |= strcmp(o->recipe, recipes[i]) == 0;
        if (!known)
            return loam_fail(err, LOAM_ERR_ARGUMENT,
                             "--recipe %s: mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6",
                             o->recipe);
    }
    if (o->mode && strcmp(o->mode, "affine") != 0) {
        if (strcmp(o->mode, "mxfp4") == 0)
            job->quant = (convert_quant){LOAM_QUANT_MXFP4, 4, 32};
        else if (strcmp(o->mode, "mxfp8") == 0)
            job->quant = (convert_quant){LOAM_QUANT_MXFP8, 8, 32};
        else if (strcmp(o->mode, "nvfp4") == 0)
            job->quant = (convert_quant){LOAM_QUANT_NVFP4, 4, 16};
        else
            return loam_fail(err, LOAM_ERR_ARGUMENT, "--mode %s: affine, mxfp4, mxfp8 or nvfp4",
                             o->mode);
        if (o->recipe || (o->bits && o->bits != job->quant.bits) ||
            (o->group_size && o->group_size != job->quant.group))
            return loam_fail(err, LOAM_ERR_ARGUMENT, "--mode %s: has %d bits in groups of %d",
                             o->mode, job->quant.bits, job->quant.group);
    } else if (job->quantize && !loam_quant_affine_valid(job->quant.bits, job->quant.group)) {
        return loam_fail(err, LOAM_ERR_ARGUMENT,
                         "%d bits in groups of %d: MLX knows 2, 3, 4, 5, 6, 8 bits in groups of "
                         "32, 64, 128",
                         job->quant.bits, job->quant.group);
    }
    return LOAM_OK;
}

static loam_status plan(convert_job *job, const char *src, loam_err *err) {
    job->src = src;
    job->from_folder = loam_path_is_folder(src);
    if (job->from_folder) {
        loam_status st = loam_arrays_open_folder(&job->arrays, src, err);
        return st ? st : loam_convert_plan_folder(job, err);
    }
    loam_status st = loam_arrays_open(&job->arrays, src, err);
    if (st) return st;
    if (loam_arrays_container(job->arrays) != LOAM_GGUF)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "%s: a single array file: give the model's folder or a GGUF file", src);
    return loam_convert_plan_gguf(job, err);
}

/* Remove a folder with what is in it, without following links. */
static void remove_tree(int parent, const char *name, int depth) {
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d && fd >= 0) close(fd);
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (unlinkat(dirfd(d), e->d_name, 0) != 0 && depth < 8)
            remove_tree(dirfd(d), e->d_name, depth + 1);
    }
    if (d) closedir(d);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* An existing destination is replaced only on demand, and only when it looks like
 * a model: --force must not empty somebody's home. */
static loam_status check_destination(const char *src, const char *dst, int force, loam_err *err) {
    struct stat sb, src_sb;
    if (lstat(dst, &sb) != 0)
        return errno == ENOENT ? LOAM_OK : loam_fail_errno(err, errno, "%s", dst);
    if (!force)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: exists already: give another name or --force",
                         dst);
    if (!S_ISDIR(sb.st_mode)) return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: is not a folder", dst);
    if (stat(src, &src_sb) == 0 && src_sb.st_dev == sb.st_dev && src_sb.st_ino == sb.st_ino)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: source and destination are the same", dst);
    char *config = loam_path_join(dst, "config.json");
    const int is_model = config && loam_path_exists(config);
    free(config);
    if (is_model || rmdir(dst) == 0) return LOAM_OK; /* an empty folder may go at once */
    return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: holds no config.json: will not replace it", dst);
}

/* Make the finished folder `tmp` the destination. */
static loam_status publish(const char *tmp, const char *dst, int force, loam_err *err) {
    char *old = NULL;
    loam_status st = LOAM_OK;
    char *inside = loam_format("%s/.", tmp);
    if (!inside) return loam_fail(err, LOAM_ERR_MEMORY, "%s: path", dst);
    (void)loam_folder_sync(inside);
    free(inside);
    if (force && loam_path_exists(dst)) {
        old = loam_format("%s-old", tmp);
        if (!old) return loam_fail(err, LOAM_ERR_MEMORY, "%s: path", dst);
        if (rename(dst, old) != 0) st = loam_fail_errno(err, errno, "%s: move aside", dst);
    }
    if (!st && renameat2(AT_FDCWD, tmp, AT_FDCWD, dst, RENAME_NOREPLACE) != 0) {
        int e = errno;
        /* file systems without the flag: plain rename refuses folders that hold anything */
        if (e == EINVAL || e == ENOSYS) e = rename(tmp, dst) == 0 ? 0 : errno;
        if (e) st = loam_fail_errno(err, e, "%s: rename", dst);
        if (e && old) (void)rename(old, dst);
    }
    if (!st && old) remove_tree(AT_FDCWD, old, 0);
    if (!st) (void)loam_folder_sync(dst);
    free(old);
    return st;
}

loam_status loam_convert(const char *src, const char *dst, const loam_convert_options *o,
                         void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                         loam_err *err) {
    static const loam_convert_options none;
    convert_job job = {0};
    char *to = NULL, *tmp = NULL;
    int made = 0;

    if (!o) o = &none;
    loam_status st = read_options(&job, o, err);
    if (st) goto done;
    to = loam_strdup(dst);
    for (size_t n = to ? strlen(to) : 0; n > 1 && to[n - 1] == '/'; n--) to[n - 1] = '\0';
    tmp = to ? loam_format("%s.loam-XXXXXX", to) : NULL;
    if (!tmp) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: path", dst);
        goto done;
    }
    if (!*to) {
        st = loam_fail(err, LOAM_ERR_ARGUMENT, "destination: empty name");
        goto done;
    }
    st = plan(&job, src, err);
    if (!st) st = check_destination(src, to, o->force, err);
    if (st) goto done;

    made = mkdtemp(tmp) != NULL;
    if (!made) {
        st = loam_fail_errno(err, errno, "%s: create", to);
        goto done;
    }
    const mode_t mask = umask(0);
    umask(mask);
    (void)chmod(tmp, 0777 & ~mask);
    st = loam_convert_run(&job, tmp, progress, ctx, err);
    if (!st) st = publish(tmp, to, o->force, err);
done:
    if (st && made) remove_tree(AT_FDCWD, tmp, 0);
    loam_convert_job_deinit(&job);
    free(tmp);
    free(to);
    return st;
}
