/* kv(5), read and written: see kv_file.h and the page.
 *
 * The header's hash covers the table, so a damaged table is refused. The sum of a block is not
 * cryptographic: it finds damage, at the speed of memory. Who can write the file can put any keys
 * and values into it, as who can write the weights can.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // fchmod, madvise
#endif
#include "model/kv_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mapped.h"
#include "base/mem.h"
#include "model/span_hash.h"
#include "wire/bytes.h"

static const char magic[8] = {'L', 'L', 'M', '-', 'K', 'V', '\r', '\n'};

enum header_offset {
    H_MAGIC = 0,
    H_VERSION = 8,
    H_BYTES = 12, // of the header itself: 256
    H_SPAN = 16,  // ids of a record: 64
    H_GROUPS = 20,
    H_MODEL = 24,
    H_WAY = 56,
    H_RECORDS = 88,
    H_BLOCKS = 96, // offset of the first
    H_GROUP = 104, // [2] of 32 bytes
    H_ZERO = 168,
    H_HASH = 224,
};
enum group_offset {
    G_KIND = 0,
    G_LAYERS = 4,
    G_SPAN = 8,
    G_ZERO = 12,
    G_BYTES = 16,
    G_WINDOW = 24
};
enum { GROUP_BYTES = 32 };
enum record_offset { R_PARENT = 0, R_ZERO = 4, R_SALT = 8, R_AT = 24, R_SUM = 40, R_IDS = 56 };

_Static_assert(R_IDS + 4 * STATE_REF_SPAN == KV_FILE_RECORD, "a record is its fields");
_Static_assert(STATE_MAX_GROUPS == 2, "the format has room for two groups");

struct record {
    struct prefix_salt salt;
    uint32_t parent, next; // records; KV_FILE_NONE. next: in the same bucket
    uint64_t at[STATE_MAX_GROUPS], sum[STATE_MAX_GROUPS];
    bool checked[STATE_MAX_GROUPS];
};

struct kv_file {
    char *path;
    int fd;
    size_t bytes;       // of the file
    unsigned char *map; // [bytes], or NULL
    struct kv_origin origin;
    size_t n;
    struct record *records; // [n]
    uint32_t *ids;          // [n][STATE_REF_SPAN]
    struct span_secret secret;
    uint32_t *buckets; // [n_buckets], a power of two: the first record of each hash
    size_t n_buckets;
};

/* ---- The sum of a block ---- */

enum { LANES = 4, MAP_PAGE = 4096 };

struct sum {
    uint64_t lane[LANES];
};

static const uint64_t prime = 0x100000001b3u; // FNV-1a's, over words of 8 bytes

static void sum_begin(struct sum *s) {
    for (uint64_t i = 0; i < LANES; i++)
        s->lane[i] = 0xcbf29ce484222325u + i;
}

/* p [n], n a multiple of KV_FILE_UNIT: word i goes into lane i % 4. */
static void sum_add(struct sum *s, const unsigned char *p, size_t n) {
    struct sum t = *s;
    for (; n > 0; p += sizeof t.lane, n -= sizeof t.lane) {
        uint64_t words[LANES];
        memcpy(words, p, sizeof words);
        for (size_t i = 0; i < LANES; i++)
            t.lane[i] = (t.lane[i] ^ words[i]) * prime;
    }
    *s = t;
}

static uint64_t sum_end(const struct sum *s) {
    uint64_t h = 0;
    for (size_t i = 0; i < LANES; i++)
        h = (h ^ s->lane[i] ^ s->lane[i] >> 32) * prime;
    return h;
}

/* ---- The header ---- */

static void put_header(uint8_t b[KV_FILE_HEADER], const struct kv_origin *o, uint64_t n,
                       uint64_t blocks) {
    memset(b, 0, KV_FILE_HEADER);
    memcpy(b + H_MAGIC, magic, sizeof magic);
    put_u32(b + H_VERSION, KV_FILE_VERSION);
    put_u32(b + H_BYTES, KV_FILE_HEADER);
    put_u32(b + H_SPAN, STATE_REF_SPAN);
    put_u32(b + H_GROUPS, (uint32_t)o->n_groups);
    memcpy(b + H_MODEL, o->model.bytes, HASH_BYTES);
    memcpy(b + H_WAY, o->way, KV_FILE_WAY);
    put_u64(b + H_RECORDS, n);
    put_u64(b + H_BLOCKS, blocks);
    for (size_t g = 0; g < o->n_groups; g++) {
        uint8_t *p = b + H_GROUP + g * GROUP_BYTES;
        put_u32(p + G_KIND, (uint32_t)o->groups[g].kind);
        put_u32(p + G_LAYERS, (uint32_t)o->groups[g].n_layers);
        put_u32(p + G_SPAN, (uint32_t)o->groups[g].span);
        put_u64(p + G_BYTES, o->groups[g].layer_bytes);
        put_u64(p + G_WINDOW, o->groups[g].window);
    }
}

static void hash_table(const uint8_t *header, const uint8_t *table, size_t n, struct hash *h) {
    struct hash_state *s = hash_new();
    hash_update(s, header, H_HASH);
    hash_update(s, table, n);
    hash_final(s, h);
}

static size_t block_bytes(const struct kv_origin *o, size_t g) {
    return o->groups[g].n_layers * o->groups[g].layer_bytes;
}

/* ---- Opening ---- */

static int refuse(const struct kv_file *f, uint64_t byte, const char *what, struct err *e) {
    return err_set(e, EXIT_DATA, "%s: %s: byte %" PRIu64, what, f->path, byte);
}

/* A whole read at an offset. */
static int read_at(const struct kv_file *f, void *p, size_t n, uint64_t at, struct err *e) {
    unsigned char *to = p;
    while (n > 0) {
        ssize_t got = pread(f->fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(e, EXIT_IO, "cannot read %s", f->path);
        if (got == 0)
            return refuse(f, at, "the file was cut", e);
        to += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

/* Whether the file is of this origin; the message says what differs. */
static int check_origin(const struct kv_file *f, const uint8_t *b, struct err *e) {
    const struct kv_origin *o = &f->origin;
    uint8_t ours[KV_FILE_HEADER];
    char way[KV_FILE_WAY + 1] = {0};
    put_header(ours, o, get_u64(b + H_RECORDS), get_u64(b + H_BLOCKS));
    memcpy(way, b + H_WAY, KV_FILE_WAY);
    if (memcmp(b + H_MODEL, ours + H_MODEL, HASH_BYTES) != 0)
        return refuse(f, H_MODEL, "pages of another model, or of other weights", e);
    if (memcmp(b + H_WAY, ours + H_WAY, KV_FILE_WAY) != 0)
        return err_set(e, EXIT_DATA,
                       "pages computed with '%s', and this run computes with '%s': %s: byte %d",
                       way, o->way, f->path, (int)H_WAY);
    if (memcmp(b + H_SPAN, ours + H_SPAN, 4) != 0)
        return refuse(f, H_SPAN, "the page size is not 64 positions", e);
    if (memcmp(b + H_GROUPS, ours + H_GROUPS, 4) != 0 ||
        memcmp(b + H_GROUP, ours + H_GROUP, H_ZERO - H_GROUP) != 0)
        return refuse(f, H_GROUP, "pages of another layout", e);
    if (memcmp(b + H_ZERO, ours + H_ZERO, H_HASH - H_ZERO) != 0)
        return refuse(f, H_ZERO, "reserved bytes are not zero", e);
    return 0;
}

static int check_header(const struct kv_file *f, const uint8_t *b, uint64_t file_bytes,
                        struct err *e) {
    uint64_t n = get_u64(b + H_RECORDS), blocks = get_u64(b + H_BLOCKS);
    if (memcmp(b + H_MAGIC, magic, sizeof magic) != 0)
        return refuse(f, H_MAGIC, "not a kv(5) file, as llm-forward --kv-save writes it", e);
    if (get_u32(b + H_VERSION) != KV_FILE_VERSION)
        return refuse(f, H_VERSION, "a kv(5) file of a version other than 2", e);
    if (get_u32(b + H_BYTES) != KV_FILE_HEADER)
        return refuse(f, H_BYTES, "the header's length is not 256", e);
    if (check_origin(f, b, e) != 0)
        return -1;
    if (n > KV_FILE_MAX_RECORDS || KV_FILE_HEADER + n * KV_FILE_RECORD > file_bytes)
        return refuse(f, H_RECORDS, "more records than the file has room for", e);
    if (blocks < KV_FILE_HEADER + n * KV_FILE_RECORD || blocks % KV_FILE_UNIT != 0)
        return refuse(f, H_BLOCKS, "the blocks begin within the table", e);
    return 0;
}

/* Whether a block is in the file and past the table. */
static bool is_place(const struct kv_file *f, uint64_t at, size_t g, uint64_t blocks,
                     uint64_t file_bytes) {
    uint64_t n = block_bytes(&f->origin, g);
    return at >= blocks && at % KV_FILE_UNIT == 0 && n <= file_bytes && at <= file_bytes - n;
}

static void make_buckets(struct kv_file *f, size_t n) {
    span_secret_make(&f->secret);
    for (f->n_buckets = 1; f->n_buckets < n;)
        f->n_buckets *= 2;
    f->buckets = xcalloc(f->n_buckets, sizeof *f->buckets);
    for (size_t i = 0; i < f->n_buckets; i++)
        f->buckets[i] = KV_FILE_NONE;
}

/* What points to the record of that parent, salt and ids; to the end of its bucket's list if there
 * is none. */
static uint32_t *find_link(const struct kv_file *f, const struct prefix_salt *salt, uint32_t parent,
                           const uint32_t *ids) {
    uint64_t h = span_hash(&f->secret, salt, parent, ids);
    uint32_t *at = &f->buckets[h & (f->n_buckets - 1)];
    while (*at != KV_FILE_NONE) {
        struct record *r = &f->records[*at];
        if (r->parent == parent && memcmp(&r->salt, salt, sizeof *salt) == 0 &&
            memcmp(f->ids + (size_t)*at * STATE_REF_SPAN, ids, STATE_REF_SPAN * sizeof *ids) == 0)
            break;
        at = &r->next;
    }
    return at;
}

/* Of records with the same parent, salt and ids, the last is found. */
static void link_record(struct kv_file *f, uint32_t i) {
    struct record *r = &f->records[i];
    uint32_t *at = find_link(f, &r->salt, r->parent, f->ids + (size_t)i * STATE_REF_SPAN);
    r->next = *at == KV_FILE_NONE ? KV_FILE_NONE : f->records[*at].next;
    *at = i;
}

static int take_record(struct kv_file *f, uint32_t i, const uint8_t *b, uint64_t blocks,
                       uint64_t file_bytes, struct err *e) {
    uint64_t byte = KV_FILE_HEADER + (uint64_t)i * KV_FILE_RECORD;
    struct record *r = &f->records[i];
    uint32_t parent = get_u32(b + R_PARENT);
    *r = (struct record){.salt = {{get_u64(b + R_SALT), get_u64(b + R_SALT + 8)}},
                         .parent = parent == 0 ? KV_FILE_NONE : parent - 1};
    if (parent > i || get_u32(b + R_ZERO) != 0)
        return refuse(f, byte, "a record's parent does not come before it", e);
    for (size_t g = 0; g < STATE_MAX_GROUPS; g++) {
        r->at[g] = get_u64(b + R_AT + 8 * g);
        r->sum[g] = get_u64(b + R_SUM + 8 * g);
        if (r->at[g] != 0 &&
            (g >= f->origin.n_groups || !is_place(f, r->at[g], g, blocks, file_bytes)))
            return refuse(f, byte + R_AT + 8 * g, "a block is not within the file", e);
    }
    for (size_t k = 0; k < STATE_REF_SPAN; k++)
        f->ids[(size_t)i * STATE_REF_SPAN + k] = get_u32(b + R_IDS + 4 * k);
    link_record(f, i);
    return 0;
}

static int read_table(struct kv_file *f, const uint8_t *header, uint64_t file_bytes,
                      struct err *e) {
    struct hash h;
    int rc = 0;
    size_t n = (size_t)get_u64(header + H_RECORDS), bytes = n * KV_FILE_RECORD;
    uint8_t *table = xmalloc(bytes > 0 ? bytes : 1);
    if (read_at(f, table, bytes, KV_FILE_HEADER, e) != 0) {
        free(table);
        return -1;
    }
    hash_table(header, table, bytes, &h);
    if (memcmp(h.bytes, header + H_HASH, HASH_BYTES) != 0)
        rc = refuse(f, H_HASH, "header and table do not have this hash", e);
    f->records = xcalloc(n, sizeof *f->records);
    f->ids = xcalloc(n * STATE_REF_SPAN, sizeof *f->ids);
    make_buckets(f, n);
    for (; f->n < n && rc == 0; f->n++)
        rc = take_record(f, (uint32_t)f->n, table + f->n * KV_FILE_RECORD,
                         get_u64(header + H_BLOCKS), file_bytes, e);
    free(table);
    return rc;
}

static int open_parts(struct kv_file *f, struct err *e) {
    uint8_t header[KV_FILE_HEADER];
    struct stat st;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return err_errno(e, EXIT_NO_INPUT, "cannot open %s", f->path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, EXIT_NO_INPUT, "not a regular file: %s", f->path);
    if (st.st_size < KV_FILE_HEADER)
        return refuse(f, (uint64_t)st.st_size, "the file is shorter than a kv(5) header", e);
    if (read_at(f, header, sizeof header, 0, e) != 0 ||
        check_header(f, header, (uint64_t)st.st_size, e) != 0)
        return -1;
    f->bytes = (size_t)st.st_size;
    return read_table(f, header, (uint64_t)st.st_size, e);
}

int kv_file_open(struct kv_file **out, const char *path, const struct kv_origin *o, struct err *e) {
    struct kv_file *f = xcalloc(1, sizeof *f);
    *f = (struct kv_file){.path = xstrdup(path), .fd = -1, .origin = *o};
    int rc = open_parts(f, e);
    if (rc != 0) {
        kv_file_close(f);
        f = NULL;
    }
    *out = f;
    return rc;
}

void kv_file_close(struct kv_file *f) {
    if (!f)
        return;
    if (f->map)
        mapped_drop(f->map);
    if (f->fd >= 0)
        close(f->fd);
    free(f->records);
    free(f->ids);
    free(f->buckets);
    free(f->path);
    free(f);
}

const char *kv_file_path(const struct kv_file *f) {
    return f->path;
}

size_t kv_file_records(const struct kv_file *f) {
    return f->n;
}

size_t kv_file_bytes(const struct kv_file *f) {
    return f->bytes;
}

/* ---- Finding and checking ---- */

size_t kv_file_descend(const struct kv_file *f, const struct prefix_salt *salt, const uint32_t *ids,
                       size_t n, uint32_t *path) {
    size_t depth = 0;
    for (uint32_t parent = KV_FILE_NONE; depth < n; depth++) {
        parent = *find_link(f, salt, parent, ids + depth * STATE_REF_SPAN);
        if (parent == KV_FILE_NONE)
            break;
        path[depth] = parent;
    }
    return depth;
}

bool kv_file_has(const struct kv_file *f, uint32_t record, size_t group) {
    return f->records[record].at[group] != 0;
}

uint64_t kv_file_offset(const struct kv_file *f, uint32_t record, size_t group) {
    return f->records[record].at[group];
}

int kv_file_map(struct kv_file *f, unsigned char *p, struct err *e) {
    void *is = mmap(p, f->bytes, PROT_READ, MAP_SHARED | MAP_FIXED, f->fd, 0);
    if (is == MAP_FAILED)
        return err_errno(e, EXIT_SYSTEM, "cannot map %s", f->path);
    f->map = p;
    mapped_add(p, f->bytes, f->path);
    return 0;
}

const unsigned char *kv_file_map_of(const struct kv_file *f) {
    return f->map;
}

/* Maps the pages of [at, at + n) at once, which is faster than one by one, and where they cannot be
 * read is an error and no SIGBUS. Systems that cannot do it map them as they are read. */
static int touch(const struct kv_file *f, uint64_t at, size_t n, struct err *e) {
#ifdef MADV_POPULATE_READ
    size_t first = (size_t)at / MAP_PAGE * MAP_PAGE, end = (size_t)at + n;
    if (madvise(f->map + first, end - first, MADV_POPULATE_READ) != 0 && errno != EINVAL)
        return err_errno(e, EXIT_IO, "cannot read %s: byte %" PRIu64, f->path, at);
#else
    (void)f, (void)at, (void)n, (void)e;
#endif
    return 0;
}

int kv_file_check(struct kv_file *f, uint32_t record, size_t group, struct err *e) {
    struct record *r = &f->records[record];
    uint64_t at = r->at[group];
    size_t n = block_bytes(&f->origin, group);
    struct sum s;
    struct stat st;
    if (r->checked[group])
        return 0;
    if (fstat(f->fd, &st) != 0)
        return err_errno(e, EXIT_IO, "cannot read %s", f->path);
    if ((uint64_t)st.st_size < at + n)
        return refuse(f, (uint64_t)st.st_size, "the file was cut", e);
    if (touch(f, at, n, e) != 0)
        return -1;
    sum_begin(&s);
    sum_add(&s, f->map + at, n);
    if (sum_end(&s) != r->sum[group])
        return refuse(f, at, "a block does not have its sum", e);
    r->checked[group] = true;
    return 0;
}

void kv_file_forget_block(struct kv_file *f, uint32_t record, size_t group) {
    f->records[record].at[group] = 0;
}

/* ---- Writing ---- */

static void put_record(uint8_t b[KV_FILE_RECORD], const struct kv_origin *o,
                       const struct kv_source *s, size_t i, uint64_t *at) {
    const struct prefix_salt *salt = s->salt(s->ctx, i);
    const uint32_t *ids = s->ids(s->ctx, i);
    memset(b, 0, KV_FILE_RECORD);
    put_u32(b + R_PARENT, s->parent(s->ctx, i) + 1u); // KV_FILE_NONE becomes 0
    put_u64(b + R_SALT, salt->word[0]);
    put_u64(b + R_SALT + 8, salt->word[1]);
    for (size_t g = 0; g < o->n_groups; g++) {
        struct sum sum;
        if (!s->part(s->ctx, i, g, 0))
            continue;
        sum_begin(&sum);
        for (size_t l = 0; l < o->groups[g].n_layers; l++)
            sum_add(&sum, s->part(s->ctx, i, g, l), o->groups[g].layer_bytes);
        put_u64(b + R_AT + 8 * g, *at);
        put_u64(b + R_SUM + 8 * g, sum_end(&sum));
        *at += block_bytes(o, g);
    }
    for (size_t k = 0; k < STATE_REF_SPAN; k++)
        put_u32(b + R_IDS + 4 * k, ids[k]);
}

static int write_blocks(struct outfile *out, const struct kv_origin *o, const struct kv_source *s,
                        struct err *e) {
    for (size_t i = 0; i < s->n; i++)
        for (size_t g = 0; g < o->n_groups; g++)
            for (size_t l = 0; s->part(s->ctx, i, g, 0) && l < o->groups[g].n_layers; l++)
                if (outfile_write(out, s->part(s->ctx, i, g, l), o->groups[g].layer_bytes, e) != 0)
                    return -1;
    return 0;
}

static int write_all(struct outfile *out, const struct kv_origin *o, const struct kv_source *s,
                     struct err *e) {
    static const uint8_t zeros[KV_FILE_ALIGN];
    uint8_t header[KV_FILE_HEADER];
    struct hash h;
    size_t table_bytes = s->n * KV_FILE_RECORD,
           begin = round_up_size(KV_FILE_HEADER + table_bytes, KV_FILE_ALIGN);
    uint64_t at = begin;
    uint8_t *table = xmalloc(table_bytes > 0 ? table_bytes : 1);
    for (size_t i = 0; i < s->n; i++)
        put_record(table + i * KV_FILE_RECORD, o, s, i, &at);
    put_header(header, o, s->n, begin);
    hash_table(header, table, table_bytes, &h);
    memcpy(header + H_HASH, h.bytes, HASH_BYTES);
    int rc = outfile_write(out, header, sizeof header, e);
    if (rc == 0)
        rc = outfile_write(out, table, table_bytes, e);
    if (rc == 0)
        rc = outfile_write(out, zeros, begin - KV_FILE_HEADER - table_bytes, e);
    free(table);
    return rc == 0 ? write_blocks(out, o, s, e) : -1;
}

int kv_file_write(const char *path, const struct kv_origin *o, const struct kv_source *s,
                  struct err *e) {
    struct outfile out;
    if (outfile_open(&out, path, e) != 0)
        return -1;
    fchmod(fileno(out.f), S_IRUSR | S_IWUSR); // the ids are those of prompts
    if (write_all(&out, o, s, e) == 0)
        return outfile_commit(&out, e);
    outfile_abort(&out);
    return -1;
}
