/* Chat templates of a model folder: see templates.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "chat/templates.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "jinja/uses.h"

enum { MAX_TEMPLATE = 8 << 20, MAX_CONFIG = 64 << 20, MAX_TEMPLATES = 64 };

static struct chat_template *find(const struct chat_templates *t, struct str name) {
    for (size_t i = 0; i < t->n; i++)
        if (str_eq(name, t->items[i].name))
            return &t->items[i];
    return NULL;
}

/* Adds a template. A later one with the same name takes the place of the earlier one. */
static void add(struct chat_templates *t, const char *place, struct str name, struct str source) {
    struct chat_template new = {.name = str_dup(name)}, *old = find(t, name);
    if (source.n > MAX_TEMPLATE)
        err_set(&new.broken, EXIT_DATA, "the chat template has %zu bytes, more than %d: %s",
                source.n, MAX_TEMPLATE, place);
    else
        new.parsed = jinja_parse(place, source, &new.broken);
    new.takes_parts = new.parsed &&jinja_uses_list(new.parsed, "content");
    if (old) {
        jinja_template_free(old->parsed);
        free(old->name);
        *old = new;
        return;
    }
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 4;
        t->items = xreallocarray(t->items, t->cap, sizeof *t->items);
    }
    t->items[t->n++] = new;
}

/* Reads a template file. One that cannot be read is a broken template. */
static void add_file(struct chat_templates *t, const char *path, struct str name) {
    struct buf text = {0};
    struct err e = {0};
    if (read_file(path, MAX_TEMPLATE, &text, &e) == 0) {
        add(t, path, name, text.p ? buf_view(&text) : str_of(""));
    } else {
        add(t, path, name, str_of(""));
        struct chat_template *broken = find(t, name);
        jinja_template_free(broken->parsed);
        broken->parsed = NULL;
        broken->broken = e;
    }
    buf_free(&text);
}

static void read_files(struct chat_templates *t, const char *dir) {
    static const char end[] = ".jinja";
    char *path = path_join(dir, "chat_template.jinja");
    if (is_there(path))
        add_file(t, path, str_of("default"));
    free(path);
    char *folder = path_join(dir, "additional_chat_templates");
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && t->n < MAX_TEMPLATES && (entry = readdir(d));) {
        struct str name = str_of(entry->d_name);
        if (name.p[0] == '.' || name.n < sizeof end || !str_ends_with(name, end))
            continue;
        char *file = path_join(folder, entry->d_name);
        add_file(t, file, (struct str){name.p, name.n - (sizeof end - 1)});
        free(file);
    }
    if (d)
        closedir(d);
    free(folder);
}

/* Reads one item of a list: {"name": ..., "template": ...}. */
static void read_item(struct chat_templates *t, struct json *j) {
    struct str key, name = {NULL, 0}, source = {NULL, 0};
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (str_eq(key, "name"))
            name = json_str(j);
        else if (str_eq(key, "template"))
            source = json_str(j);
        else
            json_skip(j);
    }
    if (json_failed(j))
        return;
    if (!name.p || !source.p)
        json_refuse(j, "a chat template needs \"name\" and \"template\"");
    else if (t->n >= MAX_TEMPLATES)
        json_refuse(j, "more than %d chat templates", MAX_TEMPLATES);
    else
        add(t, j->name, name, source);
}

/* Reads `chat_template`: a text, a list of named ones, or an object of them. */
static void read_value(struct chat_templates *t, struct json *j) {
    enum json_type type = json_peek(j);
    if (type == JSON_STRING) {
        struct str source = json_str(j);
        if (!json_failed(j))
            add(t, j->name, str_of("default"), source);
    } else if (type == JSON_ARRAY) {
        json_enter_array(j);
        while (json_item(j))
            read_item(t, j);
    } else {
        json_skip(j);
    }
}

static int read_config(struct chat_templates *t, const char *path, struct err *e) {
    struct buf text = {0};
    struct json j;
    struct str key;
    if (!is_there(path))
        return 0;
    if (read_file(path, MAX_CONFIG, &text, e) < 0) {
        buf_free(&text);
        return -1;
    }
    json_init(&j, path, text.p, text.n, e);
    j.python = true;
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (str_eq(key, "chat_template"))
            read_value(t, &j);
        else
            json_skip(&j);
    bool good = json_end(&j);
    json_free(&j);
    buf_free(&text);
    return good ? 0 : -1;
}

/* Writes "a, b, c": the names of the templates. */
static void list_names(const struct chat_templates *t, struct buf *out) {
    for (size_t i = 0; i < t->n && out->n < 500; i++)
        buf_fmt(out, "%s%.60s", i ? ", " : "", t->items[i].name);
}

static int no_template(const struct chat_templates *t, struct str name, struct err *e) {
    struct buf names = {0};
    list_names(t, &names);
    err_set(e, EXIT_DATA, "the model has no chat template '%.*s': it has %s", str_shown(name),
            name.p, names.n ? names.p : "none");
    buf_free(&names);
    return -1;
}

/* Finds the operator's choice: a name first, then a file. */
static int choose(struct chat_templates *t, const char *choice, struct err *e) {
    if (!find(t, str_of(choice)) && is_file(choice))
        add_file(t, choice, str_of(choice));
    t->chosen = find(t, str_of(choice));
    if (t->chosen && t->chosen->parsed)
        return 0;
    if (t->chosen) {
        *e = t->chosen->broken;
        return -1;
    }
    no_template(t, str_of(choice), e);
    e->code = EXIT_NO_INPUT;
    return err_where(e, "and there is no such file");
}

int templates_read(struct chat_templates *t, const char *dir, const char *choice, struct err *e) {
    read_files(t, dir);
    // Processors of older versions have their template in chat_template.json.
    static const char *const configs[] = {"tokenizer_config.json", "chat_template.json"};
    for (size_t i = 0; i < 2 && t->n == 0; i++) {
        char *path = path_join(dir, configs[i]);
        int rc = read_config(t, path, e);
        free(path);
        if (rc != 0)
            return -1;
    }
    if (choice)
        return choose(t, choice, e);
    if (t->n == 0)
        return err_set(e, EXIT_NO_INPUT, "the model has no chat template: %s", dir);
    for (size_t i = 0; i < t->n; i++)
        if (t->items[i].parsed)
            return 0;
    const struct chat_template *plain = find(t, str_of("default"));
    *e = plain ? plain->broken : t->items[0].broken;
    return -1;
}

void templates_free(struct chat_templates *t) {
    for (size_t i = 0; i < t->n; i++) {
        jinja_template_free(t->items[i].parsed);
        free(t->items[i].name);
    }
    free(t->items);
    *t = (struct chat_templates){0};
}

const struct chat_template *templates_choose(const struct chat_templates *t, const char *name,
                                             bool tools, struct err *e) {
    const struct chat_template *found = name ? find(t, str_of(name)) : t->chosen;
    if (name && !found) {
        no_template(t, str_of(name), e);
        return NULL;
    }
    if (!found && tools)
        found = find(t, str_of("tool_use"));
    if (!found)
        found = find(t, str_of("default"));
    if (!found) {
        struct buf names = {0};
        list_names(t, &names);
        err_set(e, EXIT_DATA,
                "the model has no chat template 'default': choose one with --template: %s",
                names.p);
        buf_free(&names);
    } else if (!found->parsed) {
        *e = found->broken;
        found = NULL;
    }
    return found;
}

void templates_literals(const struct chat_templates *t, struct buf *out) {
    for (size_t i = 0; i < t->n; i++)
        if (t->items[i].parsed)
            jinja_literals(t->items[i].parsed, out);
}
