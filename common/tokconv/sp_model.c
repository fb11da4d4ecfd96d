/* Reads SentencePiece's ModelProto: see sp_model.h. The pieces are counted first, so that memory is
 * asked for once; each takes at least two bytes of the file.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/sp_model.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "tokconv/protobuf.h"
#include "tokconv/tokjson.h"

// Field numbers.
enum { MODEL_PIECE = 1, MODEL_TRAINER, MODEL_NORMALIZER, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE, PIECE_TYPE };
enum {
    TRAINER_KIND = 3,
    TRAINER_SPACE_AS_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_UNK_ID = 40,
    TRAINER_BOS_ID,
    TRAINER_EOS_ID,
    TRAINER_PAD_ID,
    TRAINER_UNK_PIECE = 45,
    TRAINER_BOS_PIECE,
    TRAINER_EOS_PIECE,
};
enum { NORMALIZER_CHARSMAP = 2, NORMALIZER_PREFIX, NORMALIZER_EXTRA_SPACES, NORMALIZER_ESCAPE };

static void read_bool(struct protobuf *m, const struct protobuf_field *f, bool *to) {
    if (protobuf_is(m, f, PROTOBUF_VARINT))
        *to = f->value != 0;
}

/* An id is an int32, -1 for none. Negative numbers are stored with 64 bits. */
static void read_id(struct protobuf *m, const struct protobuf_field *f, int64_t *to) {
    if (!protobuf_is(m, f, PROTOBUF_VARINT))
        return;
    int32_t id = (int32_t)(uint32_t)f->value;
    *to = id < 0 ? -1 : id;
}

static void read_text(struct protobuf *m, const struct protobuf_field *f, struct str *to) {
    if (!protobuf_is(m, f, PROTOBUF_BYTES))
        return;
    if (utf8_valid(f->bytes.p, f->bytes.n) != f->bytes.n)
        protobuf_refuse(m, f, "a text is not UTF-8");
    else
        *to = f->bytes;
}

static void read_piece(struct sp_model *s, struct protobuf *m, size_t id) {
    struct str text = {0};
    float score = 0;
    uint64_t type = SP_NORMAL;
    struct protobuf_field f, whole = {.at = m->p};
    while (protobuf_next(m, &f))
        if (f.number == PIECE_TEXT)
            read_text(m, &f, &text);
        else if (f.number == PIECE_SCORE && protobuf_is(m, &f, PROTOBUF_I32))
            score = protobuf_float(&f);
        else if (f.number == PIECE_TYPE && protobuf_is(m, &f, PROTOBUF_VARINT))
            type = f.value;
    uint32_t other;
    if (m->failed)
        return;
    if (text.n == 0)
        protobuf_refuse(m, &whole, "piece %zu is empty", id);
    else if (!isfinite(score))
        protobuf_refuse(m, &whole, "the score of piece %zu is not a number", id);
    else if (type < SP_NORMAL || type > SP_BYTE)
        protobuf_refuse(m, &whole, "piece %zu has the unknown type %" PRIu64, id, type);
    else if (!strmap_add(&s->v.ids, text, (uint32_t)id)) {
        strmap_find(&s->v.ids, text, &other);
        protobuf_refuse(m, &whole, "pieces %" PRIu32 " and %zu are both '%.*s'", other, id,
                        str_shown(text), text.p);
    }
    s->v.texts[id] = text;
    s->v.scores[id] = score;
    s->v.types[id] = (unsigned char)type;
}

static void read_kind(struct sp_model *s, struct protobuf *m, const struct protobuf_field *f) {
    static const char *const names[] = {"", "unigram", "bpe", "word", "char"};
    if (!protobuf_is(m, f, PROTOBUF_VARINT))
        return;
    if (f->value == SP_UNIGRAM || f->value == SP_BPE)
        s->kind = (enum sp_kind)f->value;
    else if (f->value < sizeof names / sizeof *names && f->value > 0)
        protobuf_refuse(m, f, "the model type '%s' is not supported, 'unigram' and 'bpe' are",
                        names[f->value]);
    else
        protobuf_refuse(m, f, "the model type %" PRIu64 " is unknown", f->value);
}

static void read_trainer(struct sp_model *s, struct protobuf *m) {
    bool suffix = false;
    for (struct protobuf_field f; protobuf_next(m, &f);)
        switch (f.number) {
        case TRAINER_KIND:
            read_kind(s, m, &f);
            break;
        case TRAINER_SPACE_AS_SUFFIX:
            read_bool(m, &f, &suffix);
            if (suffix && !m->failed)
                protobuf_refuse(m, &f, "treat_whitespace_as_suffix is not supported");
            break;
        case TRAINER_BYTE_FALLBACK:
            read_bool(m, &f, &s->byte_fallback);
            break;
        case TRAINER_UNK_ID:
            read_id(m, &f, &s->unk);
            break;
        case TRAINER_BOS_ID:
            read_id(m, &f, &s->bos);
            break;
        case TRAINER_EOS_ID:
            read_id(m, &f, &s->eos);
            break;
        case TRAINER_PAD_ID:
            read_id(m, &f, &s->pad);
            break;
        case TRAINER_UNK_PIECE:
            read_text(m, &f, &s->unk_piece);
            break;
        case TRAINER_BOS_PIECE:
            read_text(m, &f, &s->bos_piece);
            break;
        case TRAINER_EOS_PIECE:
            read_text(m, &f, &s->eos_piece);
            break;
        }
}

static void read_normalizer(struct sp_model *s, struct protobuf *m) {
    for (struct protobuf_field f; protobuf_next(m, &f);)
        switch (f.number) {
        case NORMALIZER_CHARSMAP:
            if (protobuf_is(m, &f, PROTOBUF_BYTES))
                s->charsmap = f.bytes;
            break;
        case NORMALIZER_PREFIX:
            read_bool(m, &f, &s->dummy_prefix);
            break;
        case NORMALIZER_EXTRA_SPACES:
            read_bool(m, &f, &s->remove_extra_spaces);
            break;
        case NORMALIZER_ESCAPE:
            read_bool(m, &f, &s->escape_spaces);
            break;
        }
}

static void read_denormalizer(struct sp_model *s, struct protobuf *m) {
    for (struct protobuf_field f; protobuf_next(m, &f);)
        if (f.number == NORMALIZER_CHARSMAP && f.type == PROTOBUF_BYTES && f.bytes.n)
            s->has_denormalizer = true;
}

static size_t count_pieces(struct protobuf m) {
    size_t n = 0;
    for (struct protobuf_field f; protobuf_next(&m, &f);)
        n += f.number == MODEL_PIECE;
    return m.failed ? 0 : n;
}

static void read_fields(struct sp_model *s, struct protobuf *m) {
    size_t id = 0;
    for (struct protobuf_field f; protobuf_next(m, &f);) {
        bool known = f.number == MODEL_PIECE || f.number == MODEL_TRAINER ||
                     f.number == MODEL_NORMALIZER || f.number == MODEL_DENORMALIZER;
        if (!known || !protobuf_is(m, &f, PROTOBUF_BYTES))
            continue;
        struct protobuf in = protobuf_inside(m, &f);
        if (f.number == MODEL_PIECE)
            read_piece(s, &in, id++);
        else
            (f.number == MODEL_TRAINER      ? read_trainer
             : f.number == MODEL_NORMALIZER ? read_normalizer
                                            : read_denormalizer)(s, &in);
        m->failed |= in.failed;
    }
}

int sp_model_read(struct sp_model *s, const char *name, struct str file, struct err *e) {
    *s = (struct sp_model){.v.name = name,
                           .kind = SP_UNIGRAM,
                           .bos = 1,
                           .eos = 2,
                           .pad = -1,
                           .unk_piece = str_of("<unk>"),
                           .bos_piece = str_of("<s>"),
                           .eos_piece = str_of("</s>"),
                           .dummy_prefix = true,
                           .remove_extra_spaces = true,
                           .escape_spaces = true};
    struct protobuf m = protobuf_begin(name, file, e);
    struct err first = {0};
    struct protobuf counting = protobuf_begin(name, file, &first);
    s->v.n = count_pieces(counting);
    if (first.code) {
        *e = first;
        return -1;
    }
    if (s->v.n == 0 || s->v.n > TOKJSON_MAX_TOKENS)
        return err_set(e, EXIT_DATA, "expected 1 to %u pieces, found %zu: %s", TOKJSON_MAX_TOKENS,
                       s->v.n, name);
    s->v.texts = xcalloc(s->v.n, sizeof *s->v.texts);
    s->v.scores = xcalloc(s->v.n, sizeof *s->v.scores);
    s->v.types = xcalloc(s->v.n, 1);
    strmap_init(&s->v.ids, s->v.n);
    read_fields(s, &m);
    if (m.failed)
        return -1;
    if (s->unk >= (int64_t)s->v.n)
        return err_set(e, EXIT_DATA, "unk_id is %" PRId64 " of %zu pieces: %s", s->unk, s->v.n,
                       name);
    return 0;
}

void sp_model_free(struct sp_model *s) {
    free(s->v.texts);
    free(s->v.scores);
    free(s->v.types);
    strmap_free(&s->v.ids);
    *s = (struct sp_model){0};
}
