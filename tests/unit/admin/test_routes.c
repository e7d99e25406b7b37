/*
 * The table of routes: found by path, and the same as in postern-admin(7).
 */
#include "helper_admin.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define PAGE_MAX (1u << 20)

static const struct {
    const char *method, *path;
    const char *pattern; /* NULL: none */
    const char *param;
} paths[] = {
    {"GET", "/v1/status", "/v1/status", ""},
    {"GET", "/metrics", "/metrics", ""},
    {"GET", "/v1/domains", "/v1/domains", ""},
    {"GET", "/v1/domains/example.org", "/v1/domains/NAME", "example.org"},
    {"POST", "/v1/domains/example.org/check", "/v1/domains/NAME/check", "example.org"},
    {"POST", "/v1/domains/check/check", "/v1/domains/NAME/check", "check"},
    {"GET", "/v1/domains/recipients/recipients", "/v1/domains/NAME/recipients", "recipients"},
    {"POST", "/v1/domains/a/recipients/test", "/v1/domains/NAME/recipients/test", "a"},
    {"GET", "/v1/destinations/smtp:[2001:db8::1]:25;tls=may", "/v1/destinations/NAME",
     "smtp:[2001:db8::1]:25;tls=may"},
    {"POST", "/v1/queue/hold", "/v1/queue/hold", ""},
    {"GET", "/v1/queue/hold", "/v1/queue/ID", "hold"},
    {"GET", "/v1/domains/NAME", "/v1/domains/NAME", "NAME"},
    {"GET", "v1/status", NULL, ""},
    {"GET", "//v1/status", NULL, ""},
    {"GET", "/v1/statu", NULL, ""},
    {"GET", "/v1/statuss", NULL, ""},
    {"GET", "/v1/domains/a/", NULL, ""},
    {"PUT", "/v1/status", NULL, ""},
};

static void test_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(paths); i++) {
        struct pn_str param = PN_STR("");
        unsigned status = 0;
        const struct admin_route *route = admin_route_find(
            pn_str_z(paths[i].method), pn_str_z(paths[i].path), &param, &status);

        if (!route != !paths[i].pattern ||
            (route && strcmp(route->pattern, paths[i].pattern) != 0) ||
            !pn_str_eq(param, pn_str_z(paths[i].param))) {
            fail_msg("%s %s: %s", paths[i].method, paths[i].path, route ? route->pattern : "-");
        }
    }
}

/* The page as one line, so that sentences may be broken anywhere. */
static char *read_page(void)
{
    FILE *file = fopen(TEST_SOURCE_DIR "/packaging/man/postern-admin.7", "r");
    char *page = pn_alloc(PAGE_MAX);
    size_t octets;

    assert_non_null(file);
    octets = fread(page, 1, PAGE_MAX - 1, file);
    assert_int_equal(fclose(file), 0);
    for (size_t i = 0; i < octets; i++) {
        page[i] = page[i] == '\n' ? ' ' : page[i];
    }
    return page;
}

static size_t count(const char *text, const char *what)
{
    size_t found = 0;

    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) {
        found++;
    }
    return found;
}

static void find_term(void *owner, const char *name)
{
    const char *page = owner;
    char alone[64];
    char behind[64]; /* of two on one line */

    (void)snprintf(alone, sizeof alone, "Cm %s ", name);
    (void)snprintf(behind, sizeof behind, "Cm sender , %s ", name);
    if (!strstr(page, alone) && !strstr(page, behind)) {
        fail_msg("postern-admin(7) does not name the term %s", name);
    }
}

static void test_manual_has_every_route(void **state)
{
    char *page = read_page();
    size_t routes_count;
    const struct admin_route *routes = admin_routes(&routes_count);

    (void)state;
    for (size_t i = 0; i < routes_count; i++) {
        char text[512];

        (void)snprintf(text, sizeof text, " .It Ic %s %s %s ", routes[i].method,
                       routes[i].pattern, routes[i].help);
        if (!strstr(page, text)) {
            fail_msg("postern-admin(7) has no \"%s\"", text);
        }
        admin_terms_each(routes[i].terms, find_term, page);
    }
    assert_int_equal(count(page, " .It Ic "), routes_count);
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_manual_has_every_route),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
