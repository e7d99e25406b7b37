#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_conf.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define OWN_MAX 4

char *helper_said(const struct conf_mistakes *mistakes)
{
    struct pn_buf out;
    char *text;

    pn_buf_init(&out, (size_t)1024 * 1024);
    for (size_t i = 0; i < mistakes->count; i++) {
        assert_int_equal(conf_mistake_format(&mistakes->items[i], &out), 0);
        assert_int_equal(pn_buf_append_char(&out, '\n'), 0);
    }
    text = pn_buf_detach(&out);
    pn_buf_fini(&out);
    return text;
}

static const char least[] = "hostname = \"mx2.example.net\"\n"
                            "listener \"mx\" { address = \"0.0.0.0:25\" }\n";

/* What the daemon would give: the wildcard of port 25, and an address of port 2525. */
static size_t own_endpoints(struct pn_endpoint own[OWN_MAX])
{
    assert_true(pn_endpoint_parse(PN_STR("0.0.0.0:25"), &own[0]));
    assert_true(pn_endpoint_parse(PN_STR("192.0.2.9:2525"), &own[1]));
    assert_true(pn_endpoint_parse(PN_STR("[2001:db8::9]:25"), &own[2]));
    return 3;
}

static struct conf_domain *parse_domain(const char *file, const char *name, struct pn_str text,
                                        struct conf_mistakes *mistakes)
{
    struct conf *conf = helper_conf(pn_str_z(least));
    struct pn_endpoint own[OWN_MAX];
    size_t count = own_endpoints(own);
    struct conf_domain *domain =
        conf_domain_parse(file, pn_str_z(name), text, conf, own, count, mistakes);

    conf_unref(&conf);
    return domain;
}

void helper_check(const struct helper_row *row, const char *domain)
{
    struct conf_mistakes mistakes;
    char *said;
    bool parsed;

    conf_mistakes_init(&mistakes);
    if (domain) {
        struct conf_domain *made = parse_domain("f", domain, pn_str_z(row->text), &mistakes);

        parsed = made != NULL;
        conf_domain_unref(&made);
    } else {
        struct conf *made = conf_parse("f", pn_str_z(row->text), &mistakes);

        parsed = made != NULL;
        conf_unref(&made);
    }
    said = helper_said(&mistakes);
    if (strcmp(said, row->said) != 0) {
        print_error("row: %s\n", row->name);
    }
    assert_string_equal(said, row->said);
    assert_int_equal(parsed, !conf_mistakes_fatal(&mistakes));
    free(said);
    conf_mistakes_fini(&mistakes);
}

static void check_silent(struct conf_mistakes *mistakes)
{
    char *said = helper_said(mistakes);

    assert_string_equal(said, "");
    free(said);
    conf_mistakes_fini(mistakes);
}

struct conf *helper_conf(struct pn_str text)
{
    struct conf_mistakes mistakes;
    struct conf *conf;

    conf_mistakes_init(&mistakes);
    conf = conf_parse("f", text, &mistakes);
    check_silent(&mistakes);
    assert_non_null(conf);
    return conf;
}

struct conf_domain *helper_domain(const char *name, struct pn_str text)
{
    struct conf_mistakes mistakes;
    struct conf_domain *domain;

    conf_mistakes_init(&mistakes);
    domain = parse_domain("f", name, text, &mistakes);
    check_silent(&mistakes);
    assert_non_null(domain);
    return domain;
}

struct pn_str helper_file(const char *path)
{
    char full[1024];
    struct pn_buf content;
    char block[4096];
    size_t got;
    size_t length;
    FILE *file;

    (void)snprintf(full, sizeof full, "%s/%s", TEST_SOURCE_DIR, path);
    file = fopen(full, "r");
    assert_non_null(file);
    pn_buf_init(&content, (size_t)1024 * 1024);
    while ((got = fread(block, 1, sizeof block, file)) > 0) {
        assert_int_equal(pn_buf_append(&content, (struct pn_str){block, got}), 0);
    }
    (void)fclose(file);
    length = content.len;
    return (struct pn_str){pn_buf_detach(&content), length};
}
