/*
 * mail/received.c - our trace header.
 *
 * Every value is printed through one function that knows which octets are harmless there:
 * the client's name and HELO are as hostile as its mail (FAULTS 3.14), and a parenthesis or
 * newline in them would let a client write header fields of its own. The cipher stands in
 * a comment, because RFC 5321 4.4 has no clause for it.
 */
#include "postern/mail/header.h"

#include "postern/mail/address.h"

#include <string.h>

#define VALUE_MAX 255

/* Letters, digits and those of `others`; '?' for what is neither. */
static int append_safe(struct pn_buf *out, struct pn_str value, const char *others)
{
    struct pn_str text = pn_str_sub(value, 0, VALUE_MAX);
    int result = text.len == 0 ? pn_buf_append_z(out, "unknown") : 0;

    for (size_t i = 0; i < text.len && result == 0; i++) {
        char c = text.ptr[i];
        bool safe = pn_is_alnum(c) || (c != '\0' && strchr(others, c));

        result = pn_buf_append_char(out, safe ? c : '?');
    }
    return result;
}

static int append_client(const struct mail_envelope *envelope, struct pn_buf *out)
{
    int result = pn_buf_append_z(out, "Received: from ");

    result = result ? result : append_safe(out, envelope->helo, ".-_:[]");
    result = result ? result : pn_buf_append_z(out, " (");
    result = result ? result : append_safe(out, envelope->client_name, ".-_");
    if (result == 0 && envelope->client.ip.family != PN_FAMILY_NONE) {
        result = pn_buf_append_char(out, ' ');
        result = result ? result : pn_ip_literal(&envelope->client.ip, out);
    }
    return result ? result : pn_buf_append_z(out, ")\r\n");
}

static int append_us(const struct mail_envelope *envelope, struct pn_str host,
                     struct pn_buf *out)
{
    char id[PN_ID_CHARS + 1];
    int result = pn_buf_append_z(out, "\tby ");

    pn_id_format(&envelope->id, id);
    result = result ? result : append_safe(out, host, ".-_");
    result = result ? result : pn_buf_append_z(out, " (Postern) with ");
    result = result ? result : append_safe(out, envelope->protocol, "-");
    return result ? result : pn_buf_printf(out, " id %s", id);
}

static int append_tls(const struct mail_envelope *envelope, struct pn_buf *out)
{
    int result;

    if (envelope->tls.len == 0) {
        return 0;
    }
    result = pn_buf_append_z(out, "\r\n\t(");
    result = result ? result : append_safe(out, envelope->tls, ".-_ ");
    return result ? result : pn_buf_append_char(out, ')');
}

static int append_for(struct pn_str for_, struct pn_buf *out)
{
    if (for_.len == 0 || for_.len > MAIL_ADDRESS_MAX || pn_str_has_control(for_) ||
        !pn_str_is_ascii(for_)) {
        return 0;
    }
    return pn_buf_printf(out, "\r\n\tfor <%.*s>", PN_FMT(for_));
}

int mail_received_write(const struct mail_envelope *envelope, struct pn_str host,
                        struct pn_str for_, struct pn_buf *out)
{
    size_t before = pn_buf_str(out).len;
    int result = append_client(envelope, out);

    result = result ? result : append_us(envelope, host, out);
    result = result ? result : append_tls(envelope, out);
    result = result ? result : append_for(for_, out);
    result = result ? result : pn_buf_append_z(out, "; ");
    result = result ? result : pn_wall_rfc5322(envelope->arrival, out);
    result = result ? result : pn_buf_append_z(out, "\r\n");
    if (result != 0) {
        pn_buf_truncate(out, before);
    }
    return result;
}
