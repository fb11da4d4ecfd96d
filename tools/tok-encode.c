/* tok-encode: text to token ids, tokens(5), with the model's tokenizer.json. See man/tok-encode.1.
 *
 * This file opens tokenizer and chat template; common/stages/encode.c does the work, and
 * encode_command.c there has the options.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "spec/sentence.h"
#include "stages/encode.h"
#include "stages/encode_command.h"
#include "stages/encode_pair.h"
#include "stages/watch.h"
#include "tokens/tokenizer.h"
#include "weights/hashlist.h"

static void verify_model(const char *list, const char *path) {
    struct err e = {0};
    if (!is_dir(path))
        die_usage("--verify needs a model's folder: %s", path);
    if (hashlist_verify_folder(path, list, &e) != 0)
        die_err(&e);
}

/* The tokenizer, or NULL with --render, which needs none. Without the ids' header it need not be
 * hashed. */
static struct tokenizer *open_tokenizer(const struct encode_command *o, const char *path) {
    struct err e = {0};
    if (o->job.render)
        return NULL;
    struct tokenizer *t =
        o->job.offsets ? tokenizer_open(path, &e) : tokenizer_open_hashed(path, &e);
    if (!t)
        die_err(&e);
    if (opt_verbose())
        print_note("%s: vocabulary %" PRIu32 ", fingerprint %016" PRIx64, path, tokenizer_vocab(t),
                   tokenizer_fingerprint(t));
    if (tokenizer_truncation(t) && !o->job.encode.truncate)
        warn("tokenizer.json asks for truncation to %zu tokens, which is not done without "
             "--truncate",
             tokenizer_truncation(t));
    if (tokenizer_pads(t))
        warn("tokenizer.json asks for padding, which is not done");
    return t;
}

/* The chat template: needed with --chat, used with -j if there is one. */
static struct chat *open_chat(struct encode_command *o, const char *path) {
    if (!o->chat && o->job.prompt.form != PROMPT_JSON)
        return NULL;
    struct chat *chat = chat_open(path, &o->chat_options, &o->job.prompt.no_chat);
    // A template that was named must be there, even if no record is a chat.
    if (!chat && (o->chat || o->chat_options.template))
        die_err(&o->job.prompt.no_chat);
    o->job.prompt.chat = chat;
    return chat;
}

/* The id that ends a message in the template, if llm-forward does not know it. */
static int64_t find_turn_end(const struct encode_command *o, const struct chat *chat,
                             const struct tokenizer *t, const char *path) {
    if (!chat || !t || o->job.offsets)
        return -1;
    int64_t id = encode_turn_end(chat, t, path);
    if (id >= 0 && opt_verbose()) {
        struct str piece = tokenizer_piece(t, (uint32_t)id);
        print_note("%s: id %" PRId64
                   " (%.*s) ends a message in the chat template, and the model's files "
                   "do not say so: answers end there",
                   path, id, (int)piece.n, piece.p);
    }
    return id;
}

static void report_done(struct done *done) {
    if (!done)
        return;
    if (done_without_id(done))
        warn("%zu records without \"id\" or \"custom_id\" were not skipped", done_without_id(done));
    if (opt_verbose())
        print_note("%zu records have answers already", done_lines(done));
    done_free(done);
}

/* The text of --prompt, owned by the caller. */
static struct buf read_prompt(const char *name, const char *path) {
    struct buf text = {0};
    struct err e = {0};
    if (name && !is_dir(path))
        die_usage("--prompt needs a model's folder: %s", path);
    if (name && sentence_prompt(path, name, &text, &e) != 0)
        die_err(&e);
    return text;
}

int main(int argc, char **argv) {
    struct encode_command o;
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    stage_watch_stdout();
    encode_command_parse(&o, argc, argv);
    char *path = o.model && is_file(o.model) ? xstrdup(o.model) : model_dir(o.model, &e);
    if (!path)
        die_err(&e);
    if (o.verify)
        verify_model(o.verify, path);
    struct tokenizer *t = open_tokenizer(&o, path);
    struct chat *chat = open_chat(&o, path);
    struct buf before = read_prompt(o.prompt, path);
    o.job.before = buf_view(&before);
    int fd = open_operand(o.input, &name, &e);
    if (fd < 0)
        die_err(&e);
    o.job.prompt.input = name;
    if (chat && t)
        tokenizer_find_plain(t, chat_literals(chat));
    o.job.end_id = find_turn_end(&o, chat, t, path);
    if (o.job.prompt.form == PROMPT_JSON && t)
        o.job.prefix_id = encode_pair_prefix(t, path);
    if (o.skip_done && !(o.job.done = done_open(o.skip_done, &e)))
        die_err(&e);
    if (sandbox_enter(&(struct sandbox){.may = SANDBOX_THREADS}, &e) != 0)
        die_err(&e);
    int status = stage_encode(&o.job, t, fd, name, stdout, &e);
    if (status < 0)
        die_err(&e);
    report_done(o.job.done);
    tokenizer_free(t);
    chat_free(chat);
    buf_free(&o.job.prompt.defaults.variables);
    buf_free(&before);
    free(path);
    close_stdout();
    return status;
}
