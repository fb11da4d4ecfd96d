/* The options of tok-encode: see encode_command.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/encode_command.h"

#include <getopt.h>
#include <stddef.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/utf8.h"
#include "wire/tokens.h"

enum { MAX_THREADS = 256, MAX_MEMORY = 1 << 16 }; // MiB
#define MAX_STEPS UINT64_C(1000000000000)

static const char help[] =
    "usage: tok-encode [-m DIR] [-l | -0 | -j] [options] [FILE]\n"
    "Turns text into token ids, as the model's tokenizer.json says: tokens(5).\n"
    "Without -l, -0 or -j the whole input is one prompt, without one newline at its end.\n"
    "\n"
    "  -m, --model DIR        the model's folder, or org/name in the Hugging Face cache "
    "($LLM_MODEL)\n"
    "  -l, --lines            each line is a record\n"
    "  -0, --null             each record ends in a NUL byte\n"
    "  -j, --json             each line is {\"text\": \"...\"} or {\"messages\": [...]}; other "
    "keys become\n"
    "                         attributes\n"
    "      --chat             the input is messages in JSON, for the model's chat template\n"
    "      --template NAME    use this chat template: one of the model's, or a file\n"
    "      --system TEXT      begin chats with this system message, unless they have one\n"
    "      --set KEY=VALUE    set a variable of the chat template, in JSON or as text\n"
    "      --continue         let the model continue a chat's last message\n"
    "      --no-generation-prompt  do not append the beginning of an answer to a chat\n"
    "      --trust-content    text in messages can become control tokens\n"
    "      --render           print the rendered chat, not its ids\n"
    "      --template-memory MIB, --template-steps N  limits of a template (64, 200000000)\n"
    "      --prompt NAME      put this prompt of an embedding model before each text\n"
    "      --no-special       no beginning and end tokens\n"
    "      --split-special-tokens  special tokens in a text are text\n"
    "  -t, --threads N        encode records on N threads; output stays in order (default 1)\n"
    "      --offsets          a token a line: its range of bytes in the text, and its id\n"
    "      --skip-done FILE   leave out records whose id has an answer in FILE (of tok-decode -j)\n"
    "      --truncate [N]     cut texts to N tokens, or to the length in tokenizer.json\n"
    "      --truncate-side S  cut at the left or the right end\n"
    "      --verify FILE      refuse files that differ from a list made by st-inspect --hash "
    "--all\n"
    "      --strict           invalid UTF-8 is an error, not replaced by U+FFFD\n"
    "  -v, --verbose          print which tokenizer it is, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum {
    OPT_NO_SPECIAL = OPT_LONG_ONLY,
    OPT_OFFSETS,
    OPT_TRUNCATE,
    OPT_STRICT,
    OPT_CHAT,
    OPT_NO_GENERATION,
    OPT_TRUST_CONTENT,
    OPT_RENDER,
    OPT_SKIP_DONE,
    OPT_TEMPLATE,
    OPT_TEMPLATE_MEMORY,
    OPT_TEMPLATE_STEPS,
    OPT_SYSTEM,
    OPT_SET,
    OPT_CONTINUE,
    OPT_SPLIT_SPECIAL,
    OPT_TRUNCATE_SIDE,
    OPT_VERIFY,
    OPT_PROMPT
};

/* --chat and the options that go with it. */
static void check_chat(struct encode_command *o) {
    if (o->chat && o->job.prompt.form == PROMPT_RECORD)
        die_usage("--chat reads JSON: not with -l or -0");
    if (!o->chat && o->job.render)
        die_usage("--render goes with --chat");
    if (!o->chat && o->of_chat && o->job.prompt.form != PROMPT_JSON)
        die_usage("%s goes with --chat or -j", o->of_chat);
    o->job.prompt.chat_only = o->chat;
    if (o->chat && o->job.prompt.form == PROMPT_WHOLE)
        o->job.prompt.form = PROMPT_CHAT;
}

static const struct option longs[] = {
    {"model", required_argument, NULL, 'm'},
    {"lines", no_argument, NULL, 'l'},
    {"null", no_argument, NULL, '0'},
    {"json", no_argument, NULL, 'j'},
    {"no-special", no_argument, NULL, OPT_NO_SPECIAL},
    {"strict", no_argument, NULL, OPT_STRICT},
    {"offsets", no_argument, NULL, OPT_OFFSETS},
    {"split-special-tokens", no_argument, NULL, OPT_SPLIT_SPECIAL},
    {"truncate", optional_argument, NULL, OPT_TRUNCATE},
    {"truncate-side", required_argument, NULL, OPT_TRUNCATE_SIDE},
    {"threads", required_argument, NULL, 't'},
    {"chat", no_argument, NULL, OPT_CHAT},
    {"no-generation-prompt", no_argument, NULL, OPT_NO_GENERATION},
    {"trust-content", no_argument, NULL, OPT_TRUST_CONTENT},
    {"render", no_argument, NULL, OPT_RENDER},
    {"skip-done", required_argument, NULL, OPT_SKIP_DONE},
    {"template", required_argument, NULL, OPT_TEMPLATE},
    {"template-memory", required_argument, NULL, OPT_TEMPLATE_MEMORY},
    {"template-steps", required_argument, NULL, OPT_TEMPLATE_STEPS},
    {"system", required_argument, NULL, OPT_SYSTEM},
    {"set", required_argument, NULL, OPT_SET},
    {"continue", no_argument, NULL, OPT_CONTINUE},
    {"verify", required_argument, NULL, OPT_VERIFY},
    {"prompt", required_argument, NULL, OPT_PROMPT},
    OPT_COMMON,
};

/* The argument of --truncate, after "=" or as the next word if that is a number; NULL if none. */
static const char *truncate_arg(int argc, char **argv) {
    const char *next = optind < argc ? argv[optind] : "";
    if (!optarg && *next && strspn(next, "0123456789") == strlen(next)) {
        optarg = argv[optind];
        optind++;
    }
    return optarg;
}

static enum truncate_side truncate_side(const char *arg) {
    if (strcmp(arg, "left") == 0)
        return TRUNCATE_LEFT;
    if (strcmp(arg, "right") != 0)
        die_usage("--truncate-side takes 'left' or 'right', not '%s'", arg);
    return TRUNCATE_RIGHT;
}

/* Options that set one flag. */
static const struct {
    int option;
    size_t at; // the flag in struct encode_command
    bool value;
    const char *of_chat; // its name, where it goes with chats only
} flags[] = {
    {OPT_NO_SPECIAL, offsetof(struct encode_command, job.encode.no_special), true, NULL},
    {OPT_SPLIT_SPECIAL, offsetof(struct encode_command, job.encode.split_special), true, NULL},
    {OPT_OFFSETS, offsetof(struct encode_command, job.offsets), true, NULL},
    {OPT_RENDER, offsetof(struct encode_command, job.render), true, NULL},
    {OPT_STRICT, offsetof(struct encode_command, job.prompt.strict), true, NULL},
    {OPT_CHAT, offsetof(struct encode_command, chat), true, NULL},
    {OPT_TRUST_CONTENT, offsetof(struct encode_command, job.trust_content), true,
     "--trust-content"},
    {OPT_NO_GENERATION, offsetof(struct encode_command, job.prompt.defaults.generation), false,
     "--no-generation-prompt"},
    {OPT_CONTINUE, offsetof(struct encode_command, job.prompt.defaults.continue_final), true,
     "--continue"},
};

/* False if c is another option. */
static bool take_flag(int c, struct encode_command *o) {
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].option == c) {
            *(bool *)((char *)o + flags[i].at) = flags[i].value;
            o->of_chat = flags[i].of_chat ? flags[i].of_chat : o->of_chat;
            return true;
        }
    return false;
}

/* Options with a value that only conversations have. False if c is another one. */
static bool take_of_chat(int c, struct encode_command *o) {
    struct chat_defaults *d = &o->job.prompt.defaults;
    struct jinja_limits *limits = &o->chat_options.limits;
    struct err e = {0};
    switch (c) {
    case OPT_TEMPLATE:
        o->chat_options.template = optarg;
        o->of_chat = "--template";
        return true;
    case OPT_TEMPLATE_MEMORY:
        limits->memory = (size_t)opt_u64("--template-memory", optarg, 1, MAX_MEMORY) << 20;
        return true;
    case OPT_TEMPLATE_STEPS:
        limits->steps = opt_u64("--template-steps", optarg, 1, MAX_STEPS);
        return true;
    case OPT_SYSTEM:
        if (utf8_valid(optarg, strlen(optarg)) != strlen(optarg))
            die_usage("--system is not valid UTF-8");
        d->system = optarg;
        o->of_chat = "--system";
        return true;
    case OPT_SET:
        if (chat_set(&d->variables, optarg, &e) != 0)
            die_usage("--set: %s", e.msg);
        o->of_chat = "--set";
        return true;
    default:
        return false;
    }
}

static void set_form(struct encode_command *o, enum records_kind records, enum prompt_form form) {
    o->job.records = records;
    o->job.prompt.form = form;
}

static void take_option(int c, int argc, char **argv, struct encode_command *o) {
    struct encode_options *encode = &o->job.encode;
    switch (c) {
    case 'm':
        o->model = optarg;
        break;
    case 'l':
        set_form(o, RECORDS_LINES, PROMPT_RECORD);
        break;
    case '0':
        set_form(o, RECORDS_NUL, PROMPT_RECORD);
        break;
    case 'j':
        set_form(o, RECORDS_LINES, PROMPT_JSON);
        break;
    case 't':
        o->job.threads = (unsigned)opt_u64("-t", optarg, 1, MAX_THREADS);
        break;
    case OPT_TRUNCATE:
        encode->truncate = true;
        if (truncate_arg(argc, argv))
            encode->truncate_to = (size_t)opt_u64("--truncate", optarg, 1, TOKENS_MAX_SEQUENCE);
        break;
    case OPT_TRUNCATE_SIDE:
        encode->side = truncate_side(optarg);
        break;
    case OPT_VERIFY:
        o->verify = optarg;
        break;
    case OPT_SKIP_DONE:
        o->skip_done = optarg;
        break;
    case OPT_PROMPT:
        o->prompt = optarg;
        break;
    default:
        opt_common(c, help);
    }
}

void encode_command_parse(struct encode_command *o, int argc, char **argv) {
    *o = (struct encode_command){0};
    o->job.records = RECORDS_WHOLE;
    o->job.prompt.defaults.generation = true;
    for (int c; (c = getopt_long(argc, argv, "t:m:l0j" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        if (!take_flag(c, o) && !take_of_chat(c, o))
            take_option(c, argc, argv, o);
    check_chat(o);
    if (o->skip_done && o->job.prompt.form != PROMPT_JSON)
        die_usage("--skip-done goes with -j");
    if (o->prompt && (o->chat || o->job.offsets))
        die_usage("--prompt is for texts: not with %s", o->chat ? "--chat" : "--offsets");
    if (o->job.encode.side && !o->job.encode.truncate)
        die_usage("--truncate-side goes with --truncate");
    o->input = opt_file(argc, argv);
}
