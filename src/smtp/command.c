/*
 * smtp/command.c - the arguments of commands.
 *
 * Where clients are sloppy and nothing depends on it, they are let through: junk as a name
 * in EHLO, one blank behind "FROM:", blanks at the end. Where a second reading would be
 * possible they are not: what follows a path is a parameter or an error, a BDAT whose size
 * is in doubt ends the session (FAULTS 4.3).
 */
#include "command_priv.h"

#include "params_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define NAME_MAX_OCTETS 255

static bool refuse(struct smtp_event *out, int code, const char *enhanced, const char *text)
{
    smtp_reply_set(&out->reply, code, enhanced, "%s", text);
    return false;
}

static bool parse_name(struct pn_str args, bool extended, struct smtp_event *out)
{
    out->name = pn_str_trim(args);
    out->extended = extended;
    if (out->name.len == 0 || out->name.len > NAME_MAX_OCTETS ||
        pn_str_has_control(out->name) || !pn_str_is_utf8(out->name)) {
        return refuse(out, 501, "5.5.4", "A host name is needed");
    }
    return true;
}

bool smtp_command_ehlo(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    (void)facts;
    return parse_name(args, true, out);
}

bool smtp_command_helo(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    (void)facts;
    return parse_name(args, false, out);
}

/* Turns what the address parser said into a reply; enhanced is about sender or recipient. */
static bool judge_path(enum mail_address_result result, const char *enhanced,
                       struct smtp_event *out)
{
    switch (result) {
    case MAIL_ADDRESS_OK:
        return true;
    case MAIL_ADDRESS_TOO_LONG:
        return refuse(out, 501, enhanced, "The address is too long");
    case MAIL_ADDRESS_DOMAIN:
        return refuse(out, 501, enhanced, "The domain of the address is not valid");
    case MAIL_ADDRESS_SYNTAX:
        break;
    }
    return refuse(out, 501, enhanced, "The address is not valid");
}

/* "FROM:<path>" or "TO:<path>" at the front of *args, which moves behind it. */
static bool parse_path(struct pn_str *args, struct pn_str word, struct smtp_event *out)
{
    bool mail = out->kind == SMTP_EV_MAIL;

    if (!pn_str_starts_nocase(*args, word)) {
        return refuse(out, 501, "5.5.4",
                      mail ? "MAIL FROM:<address> is needed" : "RCPT TO:<address> is needed");
    }
    *args = pn_str_sub(*args, word.len, args->len);
    if (pn_str_starts(*args, PN_STR(" "))) {
        *args = pn_str_sub(*args, 1, args->len);
    }
    return judge_path(mail_path_parse(args, mail, !mail, true, &out->address),
                      mail ? "5.1.7" : "5.1.3", out);
}

/* RFC 6531 3.5; FAULTS 3.22. */
static bool judge_utf8(const struct smtp_facts *facts, struct smtp_event *out)
{
    if (!out->address.utf8) {
        return true;
    }
    out->flags |= MAIL_UTF8_ADDRESS;
    return facts->utf8 || refuse(out, 553, "5.6.7", "The address needs SMTPUTF8");
}

bool smtp_command_mail(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    if (!parse_path(&args, PN_STR("FROM:"), out) || !smtp_params_parse(args, facts, out)) {
        return false;
    }
    facts->utf8 = (out->flags & MAIL_SMTPUTF8) != 0;
    return judge_utf8(facts, out);
}

bool smtp_command_rcpt(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    return parse_path(&args, PN_STR("TO:"), out) && smtp_params_parse(args, facts, out) &&
           judge_utf8(facts, out);
}

bool smtp_command_bdat(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    bool has_last = pn_str_find(args, ' ') < args.len;
    struct pn_str last = args;
    struct pn_str size = pn_str_cut(&last, ' ');
    uint64_t octets;

    if (!pn_str_to_u64(size, INT64_MAX, &octets) ||
        (has_last && !pn_str_eq_nocase(last, PN_STR("LAST")))) {
        return refuse(out, 501, "5.5.4", "BDAT takes a decimal number, and LAST or nothing");
    }
    facts->chunk_octets = octets;
    facts->chunk_last = has_last;
    return true;
}

bool smtp_command_etrn(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    (void)facts;
    out->name = pn_str_trim(args);
    if (out->name.len == 0 || out->name.len > NAME_MAX_OCTETS ||
        pn_str_find(out->name, ' ') < out->name.len || pn_str_has_control(out->name) ||
        !pn_str_is_ascii(out->name)) {
        return refuse(out, 501, "5.5.4", "ETRN takes a domain");
    }
    return true;
}

bool smtp_command_bare(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    (void)facts;
    return args.len == 0 || refuse(out, 501, "5.5.4", "The command takes no parameters");
}

bool smtp_command_starttls(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    if (facts->secured) {
        return refuse(out, 503, "5.5.1", "TLS is on already");
    }
    if (!facts->starttls) {
        return refuse(out, 502, "5.5.1", "STARTTLS is not offered");
    }
    return smtp_command_bare(args, facts, out);
}

bool smtp_command_xclient(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    if (!facts->xclient) {
        return refuse(out, 550, "5.7.0", "You may not speak for others");
    }
    out->name = pn_str_trim(args);
    return out->name.len > 0 || refuse(out, 501, "5.5.4", "XCLIENT takes attributes");
}

bool smtp_command_any(struct pn_str args, struct smtp_facts *facts, struct smtp_event *out)
{
    (void)args;
    (void)facts;
    (void)out;
    return true;
}

/* A browser made to talk to us would put a mail of the attacker's into its request body. */
bool smtp_command_foreign(struct pn_str line)
{
    static const char *const starts[] = {"GET ",     "POST ",    "HEAD ", "PUT ",
                                         "OPTIONS ", "CONNECT ", "Host:", "Content-Length:"};
    static const struct pn_str version = {" HTTP/1.", 8};

    for (size_t i = 0; i < PN_COUNT(starts); i++) {
        if (pn_str_starts_nocase(line, pn_str_z(starts[i]))) {
            return true;
        }
    }
    return line.len > 0 && memmem(line.ptr, line.len, version.ptr, version.len) != NULL;
}
