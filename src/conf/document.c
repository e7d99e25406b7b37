/*
 * conf/document.c - what people read about options: explanations and sample files.
 *
 * Everything comes from the rows. The only words kept here are examples for options that
 * have no default, and a test makes sure that each of those has one.
 */
#include "document_priv.h"

#include "values_priv.h"

#include "postern/base/mem.h"

#define COLUMNS 78

void conf_write(struct conf_writer *writer, const char *format, ...)
{
    va_list args;

    if (writer->status == 0) {
        va_start(args, format);
        writer->status = pn_buf_vprintf(writer->out, format, args);
        va_end(args);
    }
}

void conf_write_wrapped(struct conf_writer *writer, const char *prefix, const char *text)
{
    struct pn_str rest = pn_str_z(text);
    size_t margin = pn_str_z(prefix).len;
    size_t column = 0;

    while (rest.len > 0) {
        struct pn_str word = pn_str_cut(&rest, ' ');

        if (column > 0 && column + 1 + word.len > COLUMNS) {
            conf_write(writer, "\n");
            column = 0;
        }
        conf_write(writer, "%s%.*s", column == 0 ? prefix : " ", PN_FMT(word));
        column += (column == 0 ? margin : 1) + word.len;
    }
    conf_write(writer, "\n");
}

void conf_write_example(struct conf_writer *writer, size_t index)
{
    static const struct {
        enum conf_option_index option;
        const char *text;
    } examples[] = {
        {OPTION_MAIN_hostname, "\"mx2.example.net\""},
        {OPTION_LISTENER_address, "{\"0.0.0.0:25\", \"[::]:25\"}"},
        {OPTION_CERTIFICATE_chain, "\"/etc/postern/tls/fullchain.pem\""},
        {OPTION_CERTIFICATE_key, "\"/etc/postern/tls/privkey.pem\""},
        {OPTION_DOMAIN_target, "{\"mail.example.org:25\"}"},
        {OPTION_SMART_HOST_target, "{\"smtp.example.net:587\"}"},
    };
    const char *fallback = conf_option_get(index)->fallback;

    if (fallback && writer->status == 0) {
        writer->status = conf_value_write(conf_row_get(index)->type, fallback, writer->out);
    }
    for (size_t i = 0; i < PN_COUNT(examples) && !fallback; i++) {
        if (examples[i].option == index) {
            conf_write(writer, "%s", examples[i].text);
        }
    }
}

bool conf_write_range(struct conf_writer *writer, size_t index)
{
    const struct conf_option *option = conf_option_get(index);

    if (option->min[0] == '\0') {
        return false;
    }
    conf_write(writer, "%s to %s%s", option->min, option->max,
               conf_row_get(index)->type == CONF_STRINGS ? " items" : "");
    return true;
}

int conf_option_explain(const struct conf_option *option, struct pn_buf *out)
{
    struct conf_writer writer = {out, 0};
    size_t count;
    size_t index = (size_t)(option - conf_options(&count));

    conf_write(&writer, "%s = ", option->name);
    conf_write_example(&writer, index);
    conf_write(&writer, "\n\n");
    conf_write_wrapped(&writer, "  ", option->help);
    conf_write(&writer, "\n  stands:   %s\n", conf_section_place(conf_row_get(index)->section));
    conf_write(&writer, "  type:     %s\n", option->type);
    if (option->min[0] != '\0') {
        conf_write(&writer, "  range:    ");
        (void)conf_write_range(&writer, index);
        conf_write(&writer, "\n");
    }
    if (option->required) {
        conf_write(&writer, "  default:  none, it must be set\n");
    } else {
        conf_write(&writer, "  default:  ");
        conf_write_example(&writer, index);
        conf_write(&writer, "\n");
    }
    conf_write(&writer, "  changes:  take effect at the next %s\n",
               option->restart ? "start" : "reload");
    return writer.status;
}

/* One option: its help, then the setting, commented out when it is only the default. */
static void write_sample_option(struct conf_writer *writer, const char *indent, size_t index,
                                bool active)
{
    const struct conf_option *option = conf_option_get(index);

    if (conf_row_twin(index) < OPTION_COUNT) {
        conf_write(writer, "\n%s#%s = ", indent, option->name);
        conf_write_example(writer, index);
        conf_write(writer, " # as in a domain's file\n");
        return;
    }
    conf_write(writer, "\n");
    conf_write_wrapped(writer, indent[0] != '\0' ? "    # " : "# ", option->help);
    if (option->min[0] != '\0') {
        conf_write(writer, "%s# (", indent);
        (void)conf_write_range(writer, index);
        conf_write(writer, ")\n");
    }
    if (conf_type_has_words(conf_row_get(index)->type)) {
        conf_write(writer, "%s# (%s)\n", indent, option->type);
    }
    conf_write(writer, "%s%s%s = ", indent, active ? "" : "#", option->name);
    conf_write_example(writer, index);
    conf_write(writer, "\n");
}

static void write_sample_section(struct conf_writer *writer, enum conf_section section,
                                 const char *opening, bool active)
{
    const char *mark = active ? "" : "#";

    conf_write(writer, "%s%s {", mark, opening);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (conf_row_get(i)->section == section) {
            write_sample_option(writer, "    ", i, active && conf_option_get(i)->required);
        }
    }
    conf_write(writer, "%s}\n", mark);
}

static void write_sample_options(struct conf_writer *writer, enum conf_section section)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (conf_row_get(i)->section == section) {
            write_sample_option(writer, "", i, conf_option_get(i)->required);
        }
    }
}

int conf_write_sample(struct pn_buf *out)
{
    struct conf_writer writer = {out, 0};

    conf_write(
        &writer,
        "# postern.conf - the configuration of posternd; see postern.conf(5).\n"
        "#\n"
        "# A line that begins with # and an option's name shows that option's default.\n"
        "# Check changes with \"posternd --check\", apply them with \"postern reload\".\n");
    write_sample_options(&writer, CONF_MAIN);
    conf_write(&writer, "\n");
    conf_write_wrapped(&writer, "# ",
                       "Where clients connect. There may be several sections, each "
                       "with a name of its own.");
    write_sample_section(&writer, CONF_LISTENER, "listener \"mx\"", true);
    conf_write(&writer, "\n");
    conf_write_wrapped(&writer, "# ",
                       "For STARTTLS. Of several certificates the client's SNI chooses one; "
                       "the first is used when none fits.");
    write_sample_section(&writer, CONF_CERTIFICATE, "certificate \"main\"", false);
    conf_write(&writer, "\n");
    conf_write_wrapped(
        &writer, "# ",
        "Who takes our clients' mail for the world. The first smart host that is "
        "for the sender and the recipient's domain takes it, else the one without "
        "senders and domains; where there is none it goes to the domain's own "
        "MX hosts.");
    write_sample_section(&writer, CONF_SMART_HOST, "smart_host \"main\"", false);
    conf_write(&writer, "\n");
    conf_write_wrapped(&writer, "# ",
                       "How the MX hosts of the world are spoken to, and reports to senders "
                       "leave.");
    write_sample_section(&writer, CONF_OUTBOUND, "outbound", false);
    return writer.status;
}

int conf_write_domain_sample(struct pn_buf *out)
{
    struct conf_writer writer = {out, 0};

    conf_write(
        &writer,
        "# A relay domain; see postern-domain(5). The file's name is the domain:\n"
        "# example.org.conf. A change takes effect as soon as the file is saved.\n"
        "#\n"
        "# A line that begins with # and an option's name shows that option's default.\n");
    write_sample_options(&writer, CONF_DOMAIN);
    return writer.status;
}

/* True when the field has its default, judged by how both are written. */
static bool is_default(size_t index, struct pn_str text)
{
    const char *fallback = conf_option_get(index)->fallback;
    struct pn_buf wanted;
    bool same;

    pn_buf_init(&wanted, 4096);
    same = fallback && conf_value_write(conf_row_get(index)->type, fallback, &wanted) == 0 &&
           pn_str_eq(text, pn_buf_str(&wanted));
    pn_buf_fini(&wanted);
    return same;
}

int conf_domain_format(const struct conf_domain *domain, struct pn_buf *out)
{
    struct conf_writer writer = {out, 0};
    struct pn_buf value;

    pn_buf_init(&value, 64 * 1024);
    for (size_t i = 0; i < OPTION_COUNT && writer.status == 0; i++) {
        if (conf_row_get(i)->section == CONF_DOMAIN) {
            struct pn_str text;

            pn_buf_clear(&value);
            writer.status = conf_value_format(i, domain, &value);
            text = pn_buf_str(&value);
            if (!is_default(i, text)) {
                conf_write(&writer, "%s = %.*s\n", conf_option_get(i)->name, PN_FMT(text));
            }
        }
    }
    pn_buf_fini(&value);
    return writer.status;
}
