// links: smtp base
/*
 * What stands behind XCLIENT. Whatever it is, what is taken of it can stand in a log line, a
 * record and a trace header, and is as long as it says.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/smtp/xclient.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size);

static void check_value(const char *value)
{
    struct pn_str text = pn_str_z(value);

    pn_assert(text.len <= SMTP_XCLIENT_VALUE_MAX);
    pn_assert(pn_str_is_utf8(text) && !pn_str_has_control(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    struct smtp_xclient xclient;
    struct smtp_reply reply = {0};
    char *copy = pn_alloc(size > 0 ? size : 1);

    if (size > 0) {
        memcpy(copy, octets, size);
    }
    if (smtp_xclient_parse((struct pn_str){copy, size}, &xclient, &reply)) {
        pn_assert(xclient.told != 0);
        check_value(xclient.name);
        check_value(xclient.helo);
        check_value(xclient.login);
        pn_assert(xclient.ip.family == PN_FAMILY_NONE || (xclient.told & SMTP_XCLIENT_ADDR));
        pn_assert(xclient.port == 0 || (xclient.told & SMTP_XCLIENT_PORT));
    } else {
        pn_assert(reply.code == 501);
    }
    free(copy);
    return 0;
}
