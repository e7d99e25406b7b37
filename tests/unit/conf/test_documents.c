/* What is made of the option table: explanations, samples, manual pages; and the examples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_conf.h"

#include "postern/base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define ROOM ((size_t)1024 * 1024)

typedef int write_fn(struct pn_buf *out);

static char *written(write_fn *write)
{
    struct pn_buf out;
    char *text;

    pn_buf_init(&out, ROOM);
    assert_int_equal(write(&out), 0);
    text = pn_buf_detach(&out);
    pn_buf_fini(&out);
    return text;
}

/* Makes every commented-out setting and section an active one, in place. */
static void uncomment(char *text)
{
    bool at_start = true;

    for (char *c = text; *c != '\0'; c++) {
        if (at_start && *c == '#' && (pn_is_alpha(c[1]) || c[1] == '}')) {
            *c = ' ';
        }
        at_start = *c == '\n' || (at_start && *c == ' ');
    }
}

static void test_sample(void **state)
{
    char *text = written(conf_write_sample);
    struct conf *conf = helper_conf(pn_str_z(text));

    (void)state;
    assert_int_equal(conf->listener_count, 1);
    assert_int_equal(conf->certificate_count, 0);
    conf_unref(&conf);
    uncomment(text);
    conf = helper_conf(pn_str_z(text));
    assert_int_equal(conf->certificate_count, 1);
    assert_string_equal(conf->certificates[0].key, "/etc/postern/tls/privkey.pem");
    conf_unref(&conf);
    free(text);
}

static void test_domain_sample(void **state)
{
    char *text = written(conf_write_domain_sample);
    struct conf_domain *domain = helper_domain("example.org", pn_str_z(text));

    (void)state;
    conf_domain_unref(&domain);
    uncomment(text);
    domain = helper_domain("example.org", pn_str_z(text));
    conf_domain_unref(&domain);
    free(text);
}

/* Each option, set to its default, stands in the sample of its file, once. */
static void test_samples_are_complete(void **state)
{
    char *texts[] = {written(conf_write_sample), written(conf_write_domain_sample)};
    size_t count;
    const struct conf_option *options = conf_options(&count);

    (void)state;
    uncomment(texts[0]);
    uncomment(texts[1]);
    for (size_t i = 0; i < count; i++) {
        const char *text = texts[strcmp(options[i].section, "domain") == 0];
        char setting[128];
        const char *found;

        (void)snprintf(setting, sizeof setting, " %s = ", options[i].name);
        found = strstr(text, setting);
        if (!found) {
            setting[0] = '\n';
            found = strstr(text, setting);
        }
        assert_non_null(found);
        assert_true(found[strlen(setting)] != '\n'); /* required ones have an example */
    }
    free(texts[0]);
    free(texts[1]);
}

static void test_lines_are_short(void **state)
{
    char *texts[] = {written(conf_write_sample), written(conf_write_domain_sample)};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(texts); i++) {
        struct pn_str rest = pn_str_z(texts[i]);

        while (rest.len > 0) {
            assert_true(pn_str_cut(&rest, '\n').len <= 80);
        }
        free(texts[i]);
    }
}

static void test_manuals(void **state)
{
    char *texts[] = {written(conf_write_man), written(conf_write_domain_man)};
    size_t count;
    const struct conf_option *options = conf_options(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        const char *text = texts[strcmp(options[i].section, "domain") == 0];
        char item[128];

        (void)snprintf(item, sizeof item, "\n.It Ic %s No = ", options[i].name);
        assert_non_null(strstr(text, item));
    }
    for (size_t i = 0; i < PN_COUNT(texts); i++) {
        assert_int_equal(strncmp(texts[i], ".Dd ", 4), 0);
        assert_non_null(strstr(texts[i], "\n.Sh SEE ALSO\n"));
        assert_null(strstr(texts[i], "\n\n")); /* mdoc has a macro for that */
        free(texts[i]);
    }
}

static void test_explain(void **state)
{
    size_t count;
    const struct conf_option *options = conf_options(&count);
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, 16384);
    for (size_t i = 0; i < count; i++) {
        pn_buf_clear(&out);
        assert_int_equal(conf_option_explain(&options[i], &out), 0);
        assert_true(pn_str_starts(pn_buf_str(&out), pn_str_z(options[i].name)));
        assert_int_equal(pn_buf_append_char(&out, '\0'), 0);
        assert_non_null(strstr(pn_buf_str(&out).ptr, options[i].type));
    }
    pn_buf_fini(&out);
}

static void test_explain_text(void **state)
{
    const char *nearest = NULL;
    const struct conf_option *option = conf_option_find(PN_STR("hold"), &nearest);
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, 4096);
    assert_non_null(option);
    assert_int_equal(conf_option_explain(option, &out), 0);
    assert_int_equal(pn_buf_append_char(&out, '\0'), 0);
    assert_string_equal(
        pn_buf_str(&out).ptr,
        "hold = 14d\n"
        "\n"
        "  How long mail is kept for a target that does not take it. Then it is parked\n"
        "  for the operator.\n"
        "\n"
        "  stands:   in a domain's file\n"
        "  type:     duration\n"
        "  range:    1h to 365d\n"
        "  default:  14d\n"
        "  changes:  take effect at the next reload\n");
    pn_buf_fini(&out);
}

static const struct {
    const char *name;
    const char *section; /* NULL: not found */
    const char *nearest;
} finds[] = {
    {"hold", "domain", NULL},
    {"hostname", "", NULL},
    {"listener.address", "listener", NULL},
    {"address", "listener", NULL},
    {"domain.hold", "domain", NULL},
    {"certificate.key", "certificate", NULL},
    {"holt", NULL, "hold"},
    {"listener.adress", NULL, "listener.address"},
    {"Hostname", NULL, "hostname"},
    {"", NULL, NULL},
    {"zzzzzzzz", NULL, NULL},
};

static void test_find(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(finds); i++) {
        const char *nearest = NULL;
        const struct conf_option *option = conf_option_find(pn_str_z(finds[i].name), &nearest);

        assert_int_equal(option != NULL, finds[i].section != NULL);
        if (option) {
            assert_string_equal(option->section, finds[i].section);
        } else if (finds[i].nearest) {
            assert_non_null(nearest);
            assert_string_equal(nearest, finds[i].nearest);
        } else {
            assert_null(nearest);
        }
    }
}

/* A default that would be refused in a file ends the program: see that there is none. */
static void test_defaults(void **state)
{
    size_t count;
    const struct conf_option *options = conf_options(&count);
    struct conf *conf =
        helper_conf(PN_STR("hostname = mx.example.net listener a { address = \"[::]:25\" }"));

    (void)state;
    conf_unref(&conf);
    assert_true(count > 50);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(options[i].fallback == NULL, options[i].required);
        assert_true(strlen(options[i].help) > 10);
    }
}

static void test_examples(void **state)
{
    DIR *directory = opendir(TEST_SOURCE_DIR "/domains.d");
    const struct dirent *entry;
    unsigned seen = 0;

    (void)state;
    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        struct pn_str name = pn_str_z(entry->d_name);

        if (pn_str_ends(name, PN_STR(".conf"))) {
            char path[512];
            char domain[256];
            struct pn_str text;
            struct conf_domain *parsed;

            (void)snprintf(path, sizeof path, "domains.d/%s", entry->d_name);
            (void)snprintf(domain, sizeof domain, "%.*s", (int)name.len - 5, name.ptr);
            text = helper_file(path);
            parsed = helper_domain(domain, text);
            conf_domain_unref(&parsed);
            free((char *)(uintptr_t)text.ptr);
            seen++;
        }
    }
    (void)closedir(directory);
    assert_true(seen >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_domain_sample),
        cmocka_unit_test(test_samples_are_complete),
        cmocka_unit_test(test_lines_are_short),
        cmocka_unit_test(test_manuals),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_explain_text),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_examples),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
