/*
 * conf/syntax.c - libconfuse reads a file's settings, as texts with line numbers.
 *
 * Every option is a string or a list of strings to the library; what a text means is
 * decided in values.c, with a better sentence than the library has. The library knows the
 * line only while it parses, so its value callback writes the number in front of each
 * value, and the walk afterwards takes it off again.
 *
 * Its callbacks have no context parameter, and a static would be shared by all readers.
 * The address of the parse travels in def.number of every option, a member that strings do
 * not use and that is copied along when the library makes a section. That an option was
 * set before is a bit in its flags, far above those of the library.
 */
#include "syntax_priv.h"

#include "text_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <confuse.h>

#include <stdio.h>
#include <string.h>

#define GIVEN       (1 << 24)
#define SECTIONS    4 /* kinds of sections in postern.conf */
#define MESSAGE_MAX 400

_Static_assert(sizeof(long) >= sizeof(void *), "def.number carries a pointer");

struct parse {
    struct conf_reader *reader;
    enum conf_section top;
    struct pn_buf value;
};

static const struct {
    const char *name;
    enum conf_section section;
    cfg_flag_t flags;
} sections[SECTIONS] = {
    {"listener", CONF_LISTENER, CFGF_TITLE | CFGF_NO_TITLE_DUPES},
    {"certificate", CONF_CERTIFICATE, CFGF_TITLE | CFGF_NO_TITLE_DUPES},
    {"smart_host", CONF_SMART_HOST, CFGF_TITLE | CFGF_NO_TITLE_DUPES},
    {"outbound", CONF_OUTBOUND, 0},
};

static struct parse *parse_of(const cfg_opt_t *opt)
{
    return (struct parse *)opt->def.number;
}

static unsigned line_of(const cfg_t *cfg)
{
    return cfg->line > 0 ? (unsigned)cfg->line : 0;
}

static enum conf_section section_of(const cfg_t *cfg)
{
    for (size_t i = 0; i < SECTIONS; i++) {
        if (strcmp(cfg->name, sections[i].name) == 0) {
            return sections[i].section;
        }
    }
    return parse_of(cfg->opts)->top;
}

static void say_unknown(struct parse *parse, enum conf_section section, unsigned line,
                        struct pn_str name)
{
    struct conf_nearest nearest = {name, SIZE_MAX, NULL};
    char quoted[CONF_QUOTE_CHARS];

    conf_text_quote(name, quoted);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *known = conf_option_get(i)->name;

        if (conf_row_get(i)->section == section) {
            conf_nearest_consider(&nearest, known);
        } else if (pn_str_eq(name, pn_str_z(known))) {
            conf_reader_mistake(parse->reader, line,
                                "option %s does not belong here; it stands %s", quoted,
                                conf_section_place(conf_row_get(i)->section));
            return;
        }
    }
    for (size_t i = 0; i < SECTIONS; i++) {
        if (section == CONF_MAIN) {
            conf_nearest_consider(&nearest, sections[i].name);
        } else if (pn_str_eq(name, pn_str_z(sections[i].name))) {
            conf_reader_mistake(parse->reader, line,
                                "%s is a section of postern.conf and does not belong here",
                                quoted);
            return;
        }
    }
    if (nearest.found) {
        conf_reader_mistake(parse->reader, line, "unknown option %s; did you mean \"%s\"?",
                            quoted, nearest.found);
    } else {
        conf_reader_mistake(parse->reader, line, "unknown option %s", quoted);
    }
}

static void on_error(cfg_t *cfg, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void on_error(cfg_t *cfg, const char *format, va_list args)
{
    struct parse *parse = parse_of(cfg->opts);
    char text[MESSAGE_MAX];

    if (strstr(format, "no such option")) {
        say_unknown(parse, section_of(cfg), line_of(cfg), pn_str_z(va_arg(args, const char *)));
        return;
    }
    (void)vsnprintf(text, sizeof text, format, args);
    for (char *c = text; *c != '\0'; c++) {
        if (pn_is_control(*c)) {
            *c = '?';
        }
    }
    if (!pn_str_is_utf8(pn_str_z(text))) {
        (void)snprintf(text, sizeof text, "unexpected text");
    }
    conf_reader_mistake(parse->reader, line_of(cfg), "syntax error: %s", text);
}

/* Keeps the line with the value, and notices an option that was set before. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct parse *parse = parse_of(opt);
    uintptr_t first = (uintptr_t)cfg->opts;
    uintptr_t here = (uintptr_t)opt;

    /* "listener|address" is the library's way to reach into a section from outside. */
    if (here < first || here >= first + (size_t)cfg_numopts(cfg->opts) * sizeof *opt) {
        conf_reader_mistake(parse->reader, line_of(cfg),
                            "\"|\" is not supported: open the section and set \"%s\" in it",
                            opt->name);
        return -1;
    }
    /* The value was counted already, and "=" has dropped those of an earlier setting. */
    if (opt->nvalues == 1) {
        if (opt->flags & GIVEN) {
            conf_reader_mistake(parse->reader, line_of(cfg), "option \"%s\" is set twice",
                                opt->name);
        }
        opt->flags |= GIVEN;
    }
    pn_buf_clear(&parse->value);
    if (pn_buf_printf(&parse->value, "%u:%s", line_of(cfg), value) != 0 ||
        pn_buf_append_char(&parse->value, '\0') != 0) {
        conf_reader_mistake(parse->reader, line_of(cfg), "the value of \"%s\" is too long",
                            opt->name);
        return -1;
    }
    *(const char **)result = pn_buf_str(&parse->value).ptr;
    return 0;
}

static size_t declare(cfg_opt_t *opts, enum conf_section section, struct parse *parse)
{
    size_t count = 0;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct conf_row *row = conf_row_get(i);

        if (row->section == section) {
            int list = conf_type_is_list(row->type) ? CFGF_LIST : CFGF_NONE;

            opts[count++] = (cfg_opt_t){
                .name = conf_option_get(i)->name,
                .type = CFGT_STR,
                .flags = CFGF_NODEFAULT | list,
                .def = {.number = (long)(intptr_t)parse},
                .parsecb = on_value,
            };
        }
    }
    return count;
}

static cfg_t *read_tree(struct parse *parse, const char *text, bool *out_complete)
{
    cfg_opt_t opts[OPTION_COUNT + SECTIONS + 1] = {0};
    cfg_opt_t inner[SECTIONS][OPTION_COUNT + 1] = {0};
    size_t count = declare(opts, parse->top, parse);
    cfg_t *cfg;
    int status;

    for (size_t i = 0; parse->top == CONF_MAIN && i < SECTIONS; i++) {
        declare(inner[i], sections[i].section, parse);
        opts[count++] =
            (cfg_opt_t)CFG_SEC(sections[i].name, inner[i], CFGF_MULTI | sections[i].flags);
    }
    cfg = cfg_init(opts, CFGF_NONE);
    pn_assert(cfg); /* It fails for want of memory only. */
    cfg_set_error_function(cfg, on_error);
    status = cfg_parse_buf(cfg, text);
    if (status != CFG_SUCCESS && !parse->reader->failed) {
        conf_reader_mistake(parse->reader, line_of(cfg), "syntax error");
    }
    *out_complete = status == CFG_SUCCESS;
    return cfg;
}

/* Splits "12:text", as on_value wrote it. */
static struct conf_value split_value(const char *marked)
{
    struct pn_str text = pn_str_z(marked);
    struct pn_str number = pn_str_cut(&text, ':');
    uint64_t line = 0;

    (void)pn_str_to_u64(number, UINT32_MAX, &line);
    return (struct conf_value){text, (unsigned)line};
}

static size_t count_values(const cfg_t *cfg)
{
    size_t count = 0;

    for (const cfg_opt_t *opt = cfg->opts; opt->name; opt++) {
        for (unsigned i = 0; i < opt->nvalues; i++) {
            count += opt->type == CFGT_SEC ? count_values(opt->values[i]->section) : 1;
        }
    }
    return count;
}

/* Takes over the settings of one level; *next is the first free element of values. */
static void fill_block(struct conf_block *block, cfg_t *cfg, struct conf_value **next)
{
    block->section = section_of(cfg);
    block->title = cfg->title ? cfg->title : "";
    block->line = line_of(cfg);
    for (const cfg_opt_t *opt = cfg->opts; opt->name; opt++) {
        struct conf_setting *setting;

        if (opt->type == CFGT_SEC) {
            continue;
        }
        setting = &block->settings[conf_row_find(block->section, pn_str_z(opt->name))];
        setting->values = *next;
        for (unsigned i = 0; i < opt->nvalues; i++) {
            if (opt->values[i]->string) { /* absent where on_value ended the parse */
                (*next)[setting->count++] = split_value(opt->values[i]->string);
            }
        }
        if (setting->count == 0 && (opt->flags & GIVEN) && !parse_of(opt)->reader->failed) {
            /* Set, and then set again to an empty list, which calls nobody back. */
            conf_reader_mistake(parse_of(opt)->reader, 0, "option \"%s\" is set twice",
                                opt->name);
        }
        *next += setting->count;
        /* A section that was read through has the number of its last line. */
        if (setting->count > 0 && setting->values[0].line < block->line) {
            block->line = setting->values[0].line;
        }
    }
}

static void fill_blocks(struct conf_syntax *syntax, cfg_t *cfg)
{
    size_t count = 1;
    struct conf_value *next;

    for (const cfg_opt_t *opt = cfg->opts; opt->name; opt++) {
        count += opt->type == CFGT_SEC ? opt->nvalues : 0;
    }
    syntax->values = pn_alloc_array(count_values(cfg) + 1, sizeof *syntax->values);
    syntax->blocks = pn_alloc_array(count, sizeof *syntax->blocks);
    next = syntax->values;
    fill_block(&syntax->blocks[syntax->block_count++], cfg, &next);
    for (const cfg_opt_t *opt = cfg->opts; opt->name; opt++) {
        for (unsigned i = 0; opt->type == CFGT_SEC && i < opt->nvalues; i++) {
            fill_block(&syntax->blocks[syntax->block_count++], opt->values[i]->section, &next);
        }
    }
}

void conf_syntax_init(struct conf_syntax *syntax, enum conf_section top,
                      struct conf_reader *reader, struct pn_str text)
{
    struct parse parse = {.reader = reader, .top = top};
    char *prepared = conf_text_prepare(reader, text);
    cfg_t *cfg;

    *syntax = (struct conf_syntax){0};
    if (!prepared) {
        return;
    }
    pn_buf_init(&parse.value, CONF_TEXT_MAX + 32);
    cfg = read_tree(&parse, prepared, &syntax->complete);
    fill_blocks(syntax, cfg);
    syntax->tree = cfg;
    pn_buf_fini(&parse.value);
    free(prepared);
}

void conf_syntax_fini(struct conf_syntax *syntax)
{
    if (syntax->tree) {
        (void)cfg_free(syntax->tree);
    }
    free(syntax->values);
    free(syntax->blocks);
    *syntax = (struct conf_syntax){0};
}

unsigned conf_block_line(const struct conf_block *block, enum conf_option_index index)
{
    const struct conf_setting *setting = &block->settings[index];

    return setting->count > 0 ? setting->values[0].line : 0;
}
