/* Writing an index: see writer.h.
 *
 * Records of the old file and the staged ones have numbers, the old ones first (ids.h).
 * A record that is replaced or removed is marked as dropped, and not copied.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "index/writer.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/ids.h"
#include "index/scan_i8.h"
#include "index/words.h"
#include "weights/half.h"

enum { STAGE_MOST = 1 << 16, COPY_ROWS = 64 };

struct index_writer {
    char *path, *folder;
    struct index_info info; // of the new file
    struct index_file old;  // map.p NULL: there is none
    struct stat seen;       // of the old file
    bool changed;
    FILE *values, *blob;         // staged: [n, dim] f32; the records' bytes
    struct index_entry *entries; // [STAGE_MOST] of the staged records; `at` in the staged blob
    size_t n_staged;
    struct ids ids;     // of old.info.n + STAGE_MOST records, with what is dropped
    struct str *staged; // [STAGE_MOST] ids of the staged records
    struct arena mem;   // of staged ids
    struct words words;
    float *row;        // [dim]
    struct scan_i8 i8; // of INDEX_I8
};

/* ---- Opening ---- */

static int check_same(const struct index_writer *w, const struct index_info *info, struct err *e) {
    const struct index_info *old = &w->old.info;
    if (old->dim != info->dim)
        return err_set(e, EXIT_DATA, "vectors of dimension %zu, and the index has %zu: %s",
                       info->dim, old->dim, w->path);
    if (old->model != info->model)
        return err_set(e, EXIT_DATA,
                       "vectors of another model: fingerprint %016" PRIx64
                       ", and the index has %016" PRIx64 ": %s",
                       info->model, old->model, w->path);
    if (old->tokenizer && info->tokenizer && old->tokenizer != info->tokenizer)
        return err_set(e, EXIT_DATA,
                       "vectors of another tokenizer: fingerprint %016" PRIx64
                       ", and the index has %016" PRIx64 ": %s",
                       info->tokenizer, old->tokenizer, w->path);
    if (old->metric != info->metric)
        return err_set(e, EXIT_DATA, "the vectors and the index have different metrics: %s",
                       w->path);
    if (info->store && old->store != info->store)
        return err_set(e, EXIT_DATA, "the index stores another type than --store says: %s",
                       w->path);
    return 0;
}

/* ids_get_fn. No record has the empty id: it is that of one whose entry is damaged. */
static struct str id_of(void *ctx, uint32_t record) {
    const struct index_writer *w = ctx;
    struct str id;
    struct err ignored = {0};
    if (record >= w->old.info.n)
        return w->staged[record - w->old.info.n];
    return index_id(&w->old, record, &id, &ignored) == 0 ? id : (struct str){0};
}

/* Maps the old file, and enters its ids. */
static int load_old(struct index_writer *w, struct err *e) {
    w->n_staged = 0;
    if (is_there(w->path)) {
        if (index_open(&w->old, w->path, e) != 0 || index_check_records(&w->old, e) != 0)
            return -1;
        if (stat(w->path, &w->seen) != 0)
            return err_errno(e, EXIT_IO, "cannot stat %s", w->path);
    }
    size_t n = w->old.info.n;
    if (ids_open(&w->ids, w->folder, n + STAGE_MOST, id_of, w, e) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct str id;
        if (index_id(&w->old, i, &id, e) != 0)
            return -1;
        uint32_t *slot = ids_find(&w->ids, id);
        if (*slot)
            return err_set(e, EXIT_DATA, "record %zu has the id of another one: %s", i, w->path);
        *slot = (uint32_t)i + 1;
    }
    return 0;
}

static void unload_old(struct index_writer *w) {
    ids_close(&w->ids);
    arena_free(&w->mem);
    index_close(&w->old);
    w->mem = (struct arena){0};
}

/* A file without a name in the index's folder, as a stream. */
static FILE *open_temp(const struct index_writer *w, struct err *e) {
    int fd = io_temp(w->folder, e);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w+b");
    if (fd >= 0 && !f) {
        err_errno(e, EXIT_SYSTEM, "cannot open a temporary file");
        close(fd);
    }
    return f;
}

static struct index_writer *writer_new(const char *path, struct err *e) {
    struct index_writer *w = xcalloc(1, sizeof *w);
    w->path = xstrdup(path);
    w->folder = path_parent(path);
    w->entries = xcalloc(STAGE_MOST, sizeof *w->entries);
    w->staged = xcalloc(STAGE_MOST, sizeof *w->staged);
    if (load_old(w, e) == 0)
        return w;
    index_writer_close(w);
    return NULL;
}

struct index_writer *index_writer_open(const char *path, const struct index_info *info,
                                       struct err *e) {
    struct index_writer *w = writer_new(path, e);
    if (!w)
        return NULL;
    int rc = w->old.map.p ? check_same(w, info, e) : 0;
    w->info = w->old.map.p ? w->old.info : *info;
    if (!w->info.store)
        w->info.store = INDEX_F32;
    if (!w->info.tokenizer)
        w->info.tokenizer = info->tokenizer;
    w->row = xcalloc(w->info.dim, sizeof *w->row);
    if (rc == 0 && w->info.store == INDEX_I8 && w->info.dim > INDEX_MAX_DIM_I8)
        rc = err_set(e, EXIT_DATA, "vectors of dimension %zu: i8 stores at most %d: %s",
                     w->info.dim, INDEX_MAX_DIM_I8, path);
    else if (rc == 0 && w->info.store == INDEX_I8)
        scan_i8_init(&w->i8, w->info.dim);
    if (rc == 0 && (!(w->values = open_temp(w, e)) || !(w->blob = open_temp(w, e))))
        rc = -1;
    if (rc == 0)
        return w;
    index_writer_close(w);
    return NULL;
}

struct index_writer *index_writer_open_old(const char *path, struct err *e) {
    struct index_file ix;
    if (index_open(&ix, path, e) != 0) // refuses a file that is missing
        return NULL;
    struct index_info info = ix.info;
    index_close(&ix);
    return index_writer_open(path, &info, e);
}

void index_writer_close(struct index_writer *w) {
    if (!w)
        return;
    unload_old(w);
    if (w->values)
        fclose(w->values);
    if (w->blob)
        fclose(w->blob);
    words_free(&w->words);
    scan_i8_free(&w->i8);
    free(w->entries);
    free(w->staged);
    free(w->row);
    free(w->folder);
    free(w->path);
    free(w);
}

/* ---- Adding ---- */

/* The values as they are stored, into w->row. */
static void prepare_row(struct index_writer *w, const float *values) {
    const size_t dim = w->info.dim;
    double sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += (double)values[i] * (double)values[i];
    const double scale = w->info.metric == INDEX_COSINE && sum > 0 ? 1 / sqrt(sum) : 1;
    for (size_t i = 0; i < dim; i++) {
        w->row[i] = (float)((double)values[i] * scale);
        if (w->info.store == INDEX_BF16)
            w->row[i] = f32_from_bf16(bf16_from_f32(w->row[i]));
    }
}

/* Raises the bounds of the header to this row's. */
static void raise_bounds(struct index_writer *w) {
    double norm = 0, error = 0;
    for (size_t i = 0; i < w->info.dim; i++) {
        double v = w->row[i], d = v - (double)f32_from_bf16(bf16_from_f32(w->row[i]));
        norm += v * v;
        error += d * d;
    }
    error = sqrt(error);
    if (w->info.store == INDEX_I8) {
        error = scan_i8_add(&w->i8, w->row);
        w->i8.n = 0;
    }
    const float most = (float)(sqrt(norm) * (1 + 1e-6)), off = (float)(error * (1 + 1e-6));
    w->info.max_norm = most > w->info.max_norm ? most : w->info.max_norm;
    w->info.max_error = off > w->info.max_error ? off : w->info.max_error;
}

/* Whether record i of the old file is what is to be added; the row is prepared. */
static bool is_same(struct index_writer *w, uint32_t i, const struct index_item *item) {
    struct index_record r;
    struct err ignored = {0};
    if (i >= w->old.info.n || index_record(&w->old, i, &r, &ignored) != 0)
        return false;
    if (!str_same(r.attrs, item->attrs) || (item->text.n && !str_same(r.text, item->text)))
        return false;
    float *row = xmalloc(w->info.dim * sizeof *row);
    index_vector(&w->old, i, row);
    bool same = memcmp(row, w->row, w->info.dim * sizeof *row) == 0;
    free(row);
    return same;
}

static bool put(FILE *f, const void *p, size_t n) {
    return n == 0 || fwrite(p, 1, n, f) == n;
}

static int stage_record(struct index_writer *w, const struct index_item *item, struct err *e) {
    static const char zeros[8];
    const long at = ftell(w->blob);
    words_read(&w->words, item->text);
    struct index_entry entry = {.at = at < 0 ? 0 : (uint64_t)at,
                                .n_id = (uint32_t)item->id.n,
                                .n_attrs = (uint32_t)item->attrs.n,
                                .n_text = (uint32_t)item->text.n,
                                .n_words = (uint32_t)w->words.n,
                                .length = (uint32_t)w->words.length};
    size_t n = item->id.n + item->attrs.n + item->text.n;
    if (at < 0 || !put(w->values, w->row, w->info.dim * sizeof *w->row) ||
        !put(w->blob, item->id.p, item->id.n) || !put(w->blob, item->attrs.p, item->attrs.n) ||
        !put(w->blob, item->text.p, item->text.n) || !put(w->blob, zeros, -n % 8) ||
        !put(w->blob, w->words.at, w->words.n * sizeof *w->words.at))
        return err_errno(e, EXIT_IO, "cannot write a temporary file beside %s", w->path);
    w->staged[w->n_staged] = arena_str(&w->mem, item->id.p, item->id.n);
    w->entries[w->n_staged++] = entry;
    return 0;
}

int index_add(struct index_writer *w, const struct index_item *item, enum index_added *added,
              struct err *e) {
    const uint32_t number = (uint32_t)(w->old.info.n + w->n_staged);
    if (item->id.n > INDEX_MAX_PART || item->attrs.n > INDEX_MAX_PART ||
        item->text.n > INDEX_MAX_PART)
        return err_set(e, EXIT_DATA, "an id, attributes or a text of more than %d bytes: id %.*s",
                       INDEX_MAX_PART, str_shown(item->id), item->id.p);
    if (w->old.info.n + w->n_staged >= INDEX_MAX_RECORDS)
        return err_set(e, EXIT_DATA, "more than %d records: %s", INDEX_MAX_RECORDS, w->path);
    prepare_row(w, item->values);
    uint32_t *slot = ids_find(&w->ids, item->id), old = *slot;
    if (old)
        *added =
            !w->ids.dropped[old - 1] && is_same(w, old - 1, item) ? INDEX_SAME : INDEX_REPLACED;
    else
        *added = INDEX_NEW;
    if (*added == INDEX_SAME)
        return 0;
    if (stage_record(w, item, e) != 0)
        return -1;
    if (old)
        w->ids.dropped[old - 1] = true;
    *slot = number + 1;
    raise_bounds(w);
    w->changed = true;
    return w->n_staged == STAGE_MOST ? index_commit(w, e) : 0;
}

int index_prune(struct index_writer *w, bool (*keep)(void *ctx, struct str id), void *ctx,
                size_t *n, struct err *e) {
    *n = 0;
    for (size_t i = 0; i < w->old.info.n; i++) {
        struct str id;
        if (index_id(&w->old, i, &id, e) != 0)
            return -1;
        if (w->ids.dropped[i] || keep(ctx, id))
            continue;
        w->ids.dropped[i] = w->changed = true;
        ++*n;
    }
    return 0;
}

size_t index_staged(const struct index_writer *w) {
    return w->n_staged;
}

size_t index_count(const struct index_writer *w) {
    return w->old.info.n;
}

/* ---- Writing the file ---- */

static int pad_to(struct outfile *o, uint64_t from, uint64_t to, struct err *e) {
    static const char zeros[INDEX_ALIGN];
    return outfile_write(o, zeros, (size_t)(to - from), e);
}

/* Calls row() with each row that stays as f32: the old ones, then the staged ones. */
static int each_row(struct index_writer *w, struct outfile *o,
                    int (*row)(struct index_writer *w, struct outfile *o, struct err *e),
                    struct err *e) {
    for (size_t i = 0; i < w->old.info.n; i++) {
        if (w->ids.dropped[i])
            continue;
        index_vector(&w->old, i, w->row);
        if (row(w, o, e) != 0)
            return -1;
    }
    if (fflush(w->values) != 0 || fseek(w->values, 0, SEEK_SET) != 0)
        return err_errno(e, EXIT_IO, "cannot write a temporary file beside %s", w->path);
    for (size_t i = 0; i < w->n_staged; i++) {
        if (fread(w->row, sizeof *w->row, w->info.dim, w->values) != w->info.dim)
            return err_set(e, EXIT_IO, "cannot read a temporary file beside %s", w->path);
        if (!w->ids.dropped[w->old.info.n + i] && row(w, o, e) != 0)
            return -1;
    }
    return 0;
}

static int write_panel(struct index_writer *w, struct outfile *o, struct err *e) {
    return outfile_write(o, scan_i8_take(&w->i8), panel_i8_bytes(w->info.dim), e);
}

static int write_i8_row(struct index_writer *w, struct outfile *o, struct err *e) {
    scan_i8_add(&w->i8, w->row);
    return w->i8.n == PANEL_ROWS ? write_panel(w, o, e) : 0;
}

static int write_bf16_row(struct index_writer *w, struct outfile *o, struct err *e) {
    uint16_t half[512];
    for (size_t k = 0, n; k < w->info.dim; k += n) {
        for (n = 0; n < sizeof half / sizeof *half && k + n < w->info.dim; n++)
            half[n] = bf16_from_f32(w->row[k + n]);
        if (outfile_write(o, half, n * sizeof *half, e) != 0)
            return -1;
    }
    return 0;
}

static int write_scan(struct index_writer *w, struct outfile *o, struct err *e) {
    if (w->info.store != INDEX_I8)
        return each_row(w, o, write_bf16_row, e);
    if (each_row(w, o, write_i8_row, e) != 0)
        return -1;
    return w->i8.n > 0 ? write_panel(w, o, e) : 0;
}

static int write_exact_row(struct index_writer *w, struct outfile *o, struct err *e) {
    return outfile_write(o, w->row, w->info.dim * sizeof *w->row, e);
}

/* The entry of an old record, whose place in the old blob is in .at. -1 if it is damaged. */
static int old_entry(const struct index_writer *w, size_t i, struct index_entry *entry,
                     struct err *e) {
    struct index_record r;
    if (index_record(&w->old, i, &r, e) != 0)
        return -1;
    *entry = (struct index_entry){.at = (uint64_t)((const unsigned char *)r.id.p - w->old.blob),
                                  .n_id = (uint32_t)r.id.n,
                                  .n_attrs = (uint32_t)r.attrs.n,
                                  .n_text = (uint32_t)r.text.n,
                                  .n_words = (uint32_t)r.n_words,
                                  .length = r.length};
    return 0;
}

/* Record i of both, where it stays: its entry. *from: NULL for a staged one. */
static int entry_of(const struct index_writer *w, size_t i, struct index_entry *entry,
                    const unsigned char **from, struct err *e) {
    if (i >= w->old.info.n) {
        *entry = w->entries[i - w->old.info.n];
        *from = NULL;
        return 0;
    }
    if (old_entry(w, i, entry, e) != 0)
        return -1;
    *from = w->old.blob + entry->at;
    return 0;
}

/* Counts what stays. */
static int sum_up(struct index_writer *w, uint64_t *blob_bytes, struct err *e) {
    w->info.n = 0;
    w->info.n_texts = w->info.all_words = *blob_bytes = 0;
    for (size_t i = 0; i < w->old.info.n + w->n_staged; i++) {
        struct index_entry entry;
        const unsigned char *from;
        if (w->ids.dropped[i])
            continue;
        if (entry_of(w, i, &entry, &from, e) != 0)
            return -1;
        w->info.n++;
        w->info.n_texts += entry.n_text > 0;
        w->info.all_words += entry.length;
        *blob_bytes += index_entry_bytes(&entry);
    }
    return 0;
}

static int write_table(struct index_writer *w, struct outfile *o, struct err *e) {
    uint64_t at = 0;
    for (size_t i = 0; i < w->old.info.n + w->n_staged; i++) {
        struct index_entry entry;
        const unsigned char *from;
        uint8_t bytes[INDEX_ENTRY_BYTES];
        if (w->ids.dropped[i])
            continue;
        if (entry_of(w, i, &entry, &from, e) != 0)
            return -1;
        entry.at = at;
        at += index_entry_bytes(&entry);
        index_write_entry(&entry, bytes);
        if (outfile_write(o, bytes, sizeof bytes, e) != 0)
            return -1;
    }
    return 0;
}

static int write_blob(struct index_writer *w, struct outfile *o, struct err *e) {
    struct buf bytes = {0};
    int rc = 0;
    if (fflush(w->blob) != 0)
        return err_errno(e, EXIT_IO, "cannot write a temporary file beside %s", w->path);
    for (size_t i = 0; i < w->old.info.n + w->n_staged && rc == 0; i++) {
        struct index_entry entry;
        const unsigned char *from;
        if (w->ids.dropped[i])
            continue;
        if ((rc = entry_of(w, i, &entry, &from, e)) != 0)
            break;
        size_t n = (size_t)index_entry_bytes(&entry);
        if (!from) {
            buf_clear(&bytes);
            buf_reserve(&bytes, n);
            if (fseek(w->blob, (long)entry.at, SEEK_SET) != 0 ||
                fread(bytes.p, 1, n, w->blob) != n) {
                rc = err_set(e, EXIT_IO, "cannot read a temporary file beside %s", w->path);
                break;
            }
            from = (const unsigned char *)bytes.p;
        }
        rc = outfile_write(o, from, n, e);
    }
    buf_free(&bytes);
    return rc;
}

static int write_all(struct index_writer *w, struct outfile *o, struct err *e) {
    uint8_t header[INDEX_HEADER_BYTES];
    uint64_t blob_bytes;
    struct index_layout l;
    if (sum_up(w, &blob_bytes, e) != 0)
        return -1;
    if (!index_lay_out(&w->info, &l))
        return err_set(e, EXIT_DATA, "the index would be too large: %s", w->path);
    index_write_header(&w->info, blob_bytes, header);
    uint64_t table_end = l.table + (uint64_t)w->info.n * INDEX_ENTRY_BYTES;
    if (outfile_write(o, header, sizeof header, e) != 0 ||
        pad_to(o, sizeof header, l.scan, e) != 0 || write_scan(w, o, e) != 0)
        return -1;
    uint64_t end = l.scan + l.scan_bytes;
    if (w->info.store != INDEX_BF16) {
        if (pad_to(o, end, l.exact, e) != 0 || each_row(w, o, write_exact_row, e) != 0)
            return -1;
        end = l.exact + l.exact_bytes;
    }
    if (pad_to(o, end, l.table, e) != 0 || write_table(w, o, e) != 0 ||
        pad_to(o, table_end, l.blob, e) != 0)
        return -1;
    return write_blob(w, o, e);
}

/* Whether the file is still the one that was mapped, or still missing. */
static int check_unchanged(const struct index_writer *w, struct err *e) {
    struct stat now;
    bool there = stat(w->path, &now) == 0;
    if (there != (w->old.map.p != NULL) ||
        (there && (now.st_ino != w->seen.st_ino || now.st_size != w->seen.st_size ||
                   now.st_mtim.tv_sec != w->seen.st_mtim.tv_sec ||
                   now.st_mtim.tv_nsec != w->seen.st_mtim.tv_nsec)))
        return err_set(e, EXIT_DATA, "another program has changed the index: %s", w->path);
    return 0;
}

int index_commit(struct index_writer *w, struct err *e) {
    struct outfile o;
    if (!w->changed && w->old.map.p)
        return 0;
    if (check_unchanged(w, e) != 0 || outfile_open(&o, w->path, e) != 0)
        return -1;
    if (write_all(w, &o, e) != 0 || check_unchanged(w, e) != 0) {
        outfile_abort(&o);
        return -1;
    }
    if (outfile_commit(&o, e) != 0)
        return -1;
    unload_old(w);
    w->changed = false;
    rewind(w->values);
    rewind(w->blob);
    return load_old(w, e);
}
