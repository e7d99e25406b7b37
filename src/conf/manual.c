/*
 * conf/manual.c - postern.conf(5) and postern-domain(5), in mdoc(7).
 *
 * What surrounds the options is a text of its own below; the options come from the rows.
 * Each sentence starts a line, as the format asks, and what roff would take for a request
 * or an escape is made plain.
 */
#include "document_priv.h"

static const char main_head[] =
    ".Dd November 21, 2026\n"
    ".Dt POSTERN.CONF 5\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm postern.conf\n"
    ".Nd configuration of the backup MX posternd\n"
    ".Sh DESCRIPTION\n"
    "This file configures\n"
    ".Xr posternd 8 .\n"
    "The domains that it takes mail for have a file each, described in\n"
    ".Xr postern-domain 5 .\n";

static const char domain_head[] =
    ".Dd November 21, 2026\n"
    ".Dt POSTERN-DOMAIN 5\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm postern-domain\n"
    ".Nd a relay domain of the backup MX posternd\n"
    ".Sh DESCRIPTION\n"
    "Each domain that\n"
    ".Xr posternd 8\n"
    "takes mail for has one file in the directory\n"
    ".Pa /etc/postern/domains.d .\n"
    "The file's name is the domain, in lower case and as A-labels, followed by\n"
    ".Pa .conf :\n"
    ".Pa example.org.conf .\n"
    "Files with other endings, and those whose name begins with a dot, are ignored.\n"
    ".Pp\n"
    "The directory is watched: a new, changed or removed file takes effect by itself.\n"
    "A file with a mistake is reported, and the last good version of the domain stays in\n"
    "force until the file is mended.\n"
    ".Pp\n"
    "A name that has a file of its own belongs to that file, whoever lists it among\n"
    ".Ic aliases .\n"
    "When several files list the same alias, it belongs to the first in the order of names.\n";

static const char syntax_text[] =
    ".Ss Syntax\n"
    "A setting is a name, an equals sign and a value.\n"
    "A value with blanks, braces, commas or quotes stands in quotes.\n"
    "A list stands in braces, its items separated by commas.\n"
    "Comments begin with\n"
    ".Ql #\n"
    "or\n"
    ".Ql //\n"
    "and end with the line, or stand between\n"
    ".Ql /*\n"
    "and\n"
    ".Ql */ .\n"
    "An option that is set twice is a mistake, and so is an unknown one.\n"
    "The environment is not read, and no other file can be included.\n"
    ".Ss Values\n"
    ".Bl -tag -width Ds\n"
    ".It duration\n"
    "A number with a unit:\n"
    ".Ql ms ,\n"
    ".Ql s ,\n"
    ".Ql m ,\n"
    ".Ql h ,\n"
    ".Ql d\n"
    "or\n"
    ".Ql w ,\n"
    "or several of them with falling units:\n"
    ".Ql 90s ,\n"
    ".Ql 1h30m ,\n"
    ".Ql 14d .\n"
    ".It size\n"
    "A number of octets, or one with\n"
    ".Ql K ,\n"
    ".Ql M ,\n"
    ".Ql G\n"
    "or\n"
    ".Ql T ,\n"
    "which are powers of 1024:\n"
    ".Ql 64K ,\n"
    ".Ql 2G .\n"
    ".It networks\n"
    "Addresses with or without the number of bits that count:\n"
    ".Ql 192.0.2.0/24 ,\n"
    ".Ql 2001:db8::/32 ,\n"
    ".Ql 192.0.2.1 .\n"
    ".El\n";

static const char reload_text[] =
    ".Ss Reload\n"
    "The file is read again on SIGHUP and by\n"
    ".Ql postern reload .\n"
    "One with a mistake changes nothing.\n"
    "Options that are said to need a restart keep their value until then.\n"
    ".Ql posternd --check\n"
    "reads the configuration, says what is wrong with it and ends.\n";

static const char lists_text[] =
    ".Ss Recipient lists\n"
    "A list that\n"
    ".Ic recipient_list\n"
    "names has one entry on a line:\n"
    ".Bl -tag -width Ds\n"
    ".It Ar local Ns @ Ns Ar domain\n"
    "An address of this domain, one of its\n"
    ".Ic aliases ,\n"
    "or, with\n"
    ".Ic subdomains ,\n"
    "a name below them.\n"
    "Addresses of other domains are skipped, so several domains may share a list.\n"
    ".It Ar local\n"
    "A local part alone.\n"
    ".It Li @ | @ Ns Ar domain\n"
    "Every local part.\n"
    ".El\n"
    ".Pp\n"
    "What follows\n"
    ".Ql #\n"
    "at the beginning of a line or after a blank is a comment.\n"
    "Case, sub-addresses and quotes count as the domain's other options say.\n"
    ".Pp\n"
    "A file is read again when it has changed and stays the same for a second.\n"
    "An address is fetched with what the server said about the last version (ETag,\n"
    "Last-Modified); redirects are not followed, and 256 MiB are the most.\n"
    "What was fetched is kept below the spool, for a start while the server is away.\n"
    ".Pp\n"
    "The last good list stays in force when a new one cannot be had, has no recipient of\n"
    "the domain, or has more broken lines than good ones.\n"
    "Until there was a good one, the list knows nothing and refuses nobody.\n";

static const char smart_hosts_text[] =
    ".Ss Smart hosts\n"
    "Each section\n"
    ".Ic smart_host Qq Ar name\n"
    "is a server that takes mail which is not for a relay domain.\n"
    "The first section whose\n"
    ".Ic senders\n"
    "and\n"
    ".Ic domains\n"
    "both fit takes a mail, else the section that has neither, of which there may be one.\n"
    "Where no section is for a mail it goes to the MX hosts of the recipient's domain.\n"
    "The mail waits in the queue\n"
    ".Ql smarthost:name .\n";

static const char outbound_text[] = ".Ss The world\n"
                                    "The section\n"
                                    ".Ic outbound\n"
                                    "says how the MX hosts of the world are spoken to.\n"
                                    "Each domain has a queue of its own,\n"
                                    ".Ql out:example.net .\n"
                                    "The original client's address is never told to them.\n";

static const char main_tail[] =
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa /etc/postern/postern.conf\n"
    "The configuration.\n"
    ".It Pa /etc/postern/domains.d/DOMAIN.conf\n"
    "The relay domains.\n"
    ".El\n"
    ".Sh EXAMPLES\n"
    "The least that is needed:\n"
    ".Bd -literal -offset indent\n"
    "hostname = \"mx2.example.net\"\n"
    "listener \"mx\" {\n"
    "    address = {\"0.0.0.0:25\", \"[::]:25\"}\n"
    "}\n"
    ".Ed\n"
    ".Pp\n"
    "STARTTLS for clients:\n"
    ".Bd -literal -offset indent\n"
    "certificate \"main\" {\n"
    "    chain = \"/etc/postern/tls/fullchain.pem\"\n"
    "    key   = \"/etc/postern/tls/privkey.pem\"\n"
    "}\n"
    ".Ed\n"
    ".Pp\n"
    "A provider's server for the mail of one domain, with a login:\n"
    ".Bd -literal -offset indent\n"
    "smart_host \"provider\" {\n"
    "    target      = {\"smtp.example.net:587\"}\n"
    "    credentials = \"/etc/postern/provider.login\"\n"
    "    tls         = verify\n"
    "    senders     = {\"@example.org\"}\n"
    "}\n"
    ".Ed\n"
    ".Sh SEE ALSO\n"
    ".Xr postern 1 ,\n"
    ".Xr postern-domain 5 ,\n"
    ".Xr postern-admin 7 ,\n"
    ".Xr posternd 8\n";

static const char domain_tail[] =
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa /etc/postern/domains.d/DOMAIN.conf\n"
    "The relay domains.\n"
    ".El\n"
    ".Sh EXAMPLES\n"
    "One server.\n"
    "Clients talk through to it while it is up, its recipients are learned, and mail is held\n"
    "while it is away:\n"
    ".Bd -literal -offset indent\n"
    "target = {\"mail.example.org:25\"}\n"
    ".Ed\n"
    ".Pp\n"
    "A hoster's customer: recipients are asked for, and mail is stored before it goes on:\n"
    ".Bd -literal -offset indent\n"
    "target     = {\"mail.example.org\"}\n"
    "recipients = {call-ahead}\n"
    "when_up    = accept\n"
    ".Ed\n"
    ".Pp\n"
    "An ISP's customer: a list says who there is, and senders use the target while it is up:\n"
    ".Bd -literal -offset indent\n"
    "target         = {\"mail.example.org\"}\n"
    "recipients     = {list}\n"
    "recipient_list = \"https://lists.example.net/example.org\"\n"
    "when_up        = defer\n"
    ".Ed\n"
    ".Pp\n"
    "Two servers that take every local part over LMTP, never without TLS, and mail is kept\n"
    "for a month:\n"
    ".Bd -literal -offset indent\n"
    "target     = {\"[2001:db8::25]:24\", \"192.0.2.25:24\"}\n"
    "service    = lmtp\n"
    "tls        = encrypt\n"
    "hold       = \"30d\"\n"
    "recipients = {any}\n"
    "when_up    = accept\n"
    ".Ed\n"
    ".Pp\n"
    "The hosts of the domain's MX records that are better than ours, and a host for when none "
    "of\n"
    "them can be reached:\n"
    ".Bd -literal -offset indent\n"
    "target   = mx\n"
    "fallback = {\"standby.example.org\"}\n"
    "tls      = dane\n"
    ".Ed\n"
    ".Sh SEE ALSO\n"
    ".Xr postern 1 ,\n"
    ".Xr postern.conf 5 ,\n"
    ".Xr posternd 8\n";

/* A line of running text: nothing in it is a request or an escape. */
static void write_line(struct conf_writer *writer, struct pn_str line)
{
    if (line.len > 0 && (line.ptr[0] == '.' || line.ptr[0] == '\'')) {
        conf_write(writer, "\\&");
    }
    while (line.len > 0) {
        size_t plain = pn_str_find(line, '\\');

        conf_write(writer, "%.*s%s", PN_FMT(pn_str_sub(line, 0, plain)),
                   plain < line.len ? "\\e" : "");
        line = pn_str_sub(line, plain < line.len ? plain + 1 : plain, SIZE_MAX);
    }
    conf_write(writer, "\n");
}

static void write_sentences(struct conf_writer *writer, const char *text)
{
    struct pn_str rest = pn_str_z(text);

    while (rest.len > 0) {
        size_t end = 0;

        while (end < rest.len && !pn_str_starts(pn_str_sub(rest, end, 2), PN_STR(". "))) {
            end++;
        }
        write_line(writer, pn_str_sub(rest, 0, end + 1));
        rest = pn_str_sub(rest, end + 2, SIZE_MAX);
    }
}

static void write_option(struct conf_writer *writer, size_t index)
{
    const struct conf_option *option = conf_option_get(index);

    conf_write(writer, ".It Ic %s No = Ar %s\n", option->name, option->type);
    if (conf_row_twin(index) < OPTION_COUNT) {
        conf_write(writer, "As in\n.Xr postern-domain 5 .\n");
    } else {
        write_sentences(writer, option->help);
    }
    if (option->min[0] != '\0') {
        conf_write(writer, "Range: ");
        (void)conf_write_range(writer, index);
        conf_write(writer, ".\n");
    }
    if (option->required) {
        conf_write(writer, "It must be set.\n");
    } else if (option->fallback[0] != '\0') {
        conf_write(writer, "Default:\n.Ql %s .\n", option->fallback);
    } else {
        conf_write(writer, "Default: empty.\n");
    }
    if (option->restart) {
        conf_write(writer, "A change needs a restart.\n");
    }
}

static void write_options(struct conf_writer *writer, enum conf_section section)
{
    conf_write(writer, ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (conf_row_get(i)->section == section) {
            write_option(writer, i);
        }
    }
    conf_write(writer, ".El\n");
}

int conf_write_man(struct pn_buf *out)
{
    struct conf_writer writer = {out, 0};

    conf_write(&writer, "%s%s%s.Sh OPTIONS\n", main_head, syntax_text, reload_text);
    write_options(&writer, CONF_MAIN);
    conf_write(&writer, ".Ss Listeners\n"
                        "Each section\n"
                        ".Ic listener Qq Ar name\n"
                        "is a place where clients connect; there must be at least one.\n");
    write_options(&writer, CONF_LISTENER);
    conf_write(&writer, ".Ss Certificates\n"
                        "Each section\n"
                        ".Ic certificate Qq Ar name\n"
                        "is a certificate for STARTTLS.\n"
                        "The client's SNI chooses among several; the first is used when none "
                        "fits.\n");
    write_options(&writer, CONF_CERTIFICATE);
    conf_write(&writer, "%s", smart_hosts_text);
    write_options(&writer, CONF_SMART_HOST);
    conf_write(&writer, "%s", outbound_text);
    write_options(&writer, CONF_OUTBOUND);
    conf_write(&writer, "%s", main_tail);
    return writer.status;
}

int conf_write_domain_man(struct pn_buf *out)
{
    struct conf_writer writer = {out, 0};

    conf_write(&writer, "%s%s.Sh OPTIONS\n", domain_head, syntax_text);
    write_options(&writer, CONF_DOMAIN);
    conf_write(&writer, "%s%s", lists_text, domain_tail);
    return writer.status;
}
