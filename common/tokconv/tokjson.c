/* Writes tokenizer.json: see tokjson.h. The layout has a token or a merge a line, so that two files
 * can be compared with diff.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/tokjson.h"

#include <inttypes.h>

#include "base/json.h"

static const char *truth(bool b) {
    return b ? "true" : "false";
}

void tokjson_head(struct buf *out) {
    buf_str(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
}

void tokjson_one_added(const struct tokjson_added *a, bool first, struct buf *out) {
    buf_fmt(out, "%s\n  {\"id\":%" PRIu32 ",\"content\":", first ? "" : ",", a->id);
    json_write_str(out, a->text);
    buf_fmt(out,
            ",\"single_word\":%s,\"lstrip\":%s,\"rstrip\":%s,\"normalized\":%s,\"special\":%s}",
            truth(a->single_word), truth(a->lstrip), truth(a->rstrip), truth(a->normalized),
            truth(a->special));
}

void tokjson_merge(struct str left, struct str right, bool first, struct buf *out) {
    buf_str(out, first ? "\n    [" : ",\n    [");
    json_write_str(out, left);
    buf_byte(out, ',');
    json_write_str(out, right);
    buf_byte(out, ']');
}

static void step(const char *key, const struct buf *json, struct buf *out) {
    buf_fmt(out, "\"%s\":%s,\n", key, json->n ? json->p : "null");
}

static void bpe(const struct tokjson *t, struct buf *out) {
    buf_str(out, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    if (t->unk >= 0)
        json_write_str(out, t->tokens[t->unk].text);
    else
        buf_str(out, "null");
    buf_fmt(out,
            ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":%s,"
            "\"byte_fallback\":%s,\"ignore_merges\":%s,\n  \"vocab\":{",
            truth(t->fuse_unk), truth(t->byte_fallback), truth(t->ignore_merges));
    for (size_t i = 0; i < t->n_tokens; i++) {
        buf_str(out, i ? ",\n    " : "\n    ");
        json_write_str(out, t->tokens[i].text);
        buf_fmt(out, ":%" PRIu32, t->tokens[i].id);
    }
    buf_str(out, "},\n  \"merges\":[");
    for (size_t i = 0; i < t->n_merges; i++)
        tokjson_merge(t->tokens[t->merges[i].left].text, t->tokens[t->merges[i].right].text, i == 0,
                      out);
    buf_str(out, "]}}\n");
}

static void unigram(const struct tokjson *t, struct buf *out) {
    buf_str(out, "\"model\":{\"type\":\"Unigram\",\"unk_id\":");
    if (t->unk >= 0)
        buf_fmt(out, "%" PRId64, t->unk);
    else
        buf_str(out, "null");
    buf_fmt(out, ",\"byte_fallback\":%s,\n  \"vocab\":[", truth(t->byte_fallback));
    for (size_t i = 0; i < t->n_tokens; i++) {
        buf_str(out, i ? ",\n    [" : "\n    [");
        json_write_str(out, t->tokens[i].text);
        buf_fmt(out, ",%.17g]", t->tokens[i].score); // the same double when it is read
    }
    buf_str(out, "]}}\n");
}

void tokjson_write(const struct tokjson *t, struct buf *out) {
    tokjson_head(out);
    buf_str(out, "\"added_tokens\":[");
    for (size_t i = 0; i < t->n_added; i++)
        tokjson_one_added(&t->added[i], i == 0, out);
    buf_str(out, "],\n");
    step("normalizer", &t->normalizer, out);
    step("pre_tokenizer", &t->pre_tokenizer, out);
    step("post_processor", &t->post_processor, out);
    step("decoder", &t->decoder, out);
    (t->unigram ? unigram : bpe)(t, out);
}

void tokjson_free(struct tokjson *t) {
    buf_free(&t->normalizer);
    buf_free(&t->pre_tokenizer);
    buf_free(&t->post_processor);
    buf_free(&t->decoder);
}

static void template_parts(const char *plan, const struct tokjson_special *begin,
                           const struct tokjson_special *end, struct buf *out) {
    for (const char *p = plan; *p; p += 2) {
        if (p != plan)
            buf_byte(out, ',');
        if (*p == 'A' || *p == 'B') {
            buf_fmt(out, "{\"Sequence\":{\"id\":\"%c\",\"type_id\":%c}}", p[0], p[1]);
            continue;
        }
        buf_str(out, "{\"SpecialToken\":{\"id\":");
        json_write_str(out, *p == 'b' ? begin->text : end->text);
        buf_fmt(out, ",\"type_id\":%c}}", p[1]);
    }
}

static void template_token(const struct tokjson_special *s, struct buf *out) {
    json_write_str(out, s->text);
    buf_str(out, ":{\"id\":");
    json_write_str(out, s->text);
    buf_fmt(out, ",\"ids\":[%" PRIu32 "],\"tokens\":[", s->id);
    json_write_str(out, s->text);
    buf_str(out, "]}");
}

void tokjson_template(const char *single, const char *pair, struct tokjson_special begin,
                      struct tokjson_special end, struct buf *out) {
    bool has_begin = strchr(pair, 'b') != NULL, has_end = strchr(pair, 'e') != NULL;
    if (!has_begin && !has_end)
        return;
    buf_str(out, "{\"type\":\"TemplateProcessing\",\n  \"single\":[");
    template_parts(single, &begin, &end, out);
    buf_str(out, "],\n  \"pair\":[");
    template_parts(pair, &begin, &end, out);
    buf_str(out, "],\n  \"special_tokens\":{");
    if (has_begin)
        template_token(&begin, out);
    if (has_end && (!has_begin || begin.id != end.id)) {
        if (has_begin)
            buf_byte(out, ',');
        template_token(&end, out);
    }
    buf_str(out, "}}");
}

void tokjson_bos_eos(bool bos, bool eos, struct tokjson_special begin, struct tokjson_special end,
                     struct buf *out) {
    static const char *const single[] = {"A0", "b0A0", "A0e0", "b0A0e0"};
    static const char *const pair[] = {"A0B1", "b0A0b1B1", "A0e0B1e1", "b0A0e0b1B1e1"};
    int i = (bos ? 1 : 0) + (eos ? 2 : 0);
    tokjson_template(single[i], pair[i], begin, end, out);
}

void tokjson_split(struct str regex, struct buf *out) {
    buf_str(out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
    json_write_str(out, regex);
    buf_str(out, "},\"behavior\":\"Isolated\",\"invert\":false}");
}

void tokjson_byte_level(bool prefix_space, bool regex, struct buf *out) {
    buf_fmt(out,
            "{\"type\":\"ByteLevel\",\"add_prefix_space\":%s,\"trim_offsets\":true,"
            "\"use_regex\":%s}",
            truth(prefix_space), truth(regex));
}

void tokjson_byte_level_decoder(struct buf *out) {
    tokjson_byte_level(true, true, out);
}

void tokjson_member(const char *key, struct str text, struct buf *out) {
    buf_fmt(out, ",\n  \"%s\": ", key);
    if (text.p)
        json_write_str(out, text);
    else
        buf_str(out, "null");
}
