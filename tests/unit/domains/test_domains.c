/* The table of relay domains: changes, snapshots, and who takes mail for a name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "postern/domains/domains.h"

#include "postern/base/mem.h"
#include "postern/base/time.h"

#include <stdio.h>
#include <string.h>

#define MANY 5000

static struct conf_domain *define(const char *name, bool subdomains, unsigned hours)
{
    struct conf_mistakes mistakes;
    struct conf_domain *domain;
    char text[256];

    (void)snprintf(text, sizeof text,
                   "target = mail.example recipients = any when_up = accept subdomains = %s "
                   "hold = %uh",
                   subdomains ? "yes" : "no", hours);
    conf_mistakes_init(&mistakes);
    domain = conf_domain_parse("f", pn_str_z(name), pn_str_z(text), NULL, NULL, 0, &mistakes);
    assert_non_null(domain);
    conf_mistakes_fini(&mistakes);
    return domain;
}

static struct conf_domain *define_aliases(const char *name, const char *aliases)
{
    struct conf_mistakes mistakes;
    struct conf_domain *domain;
    char text[256];

    (void)snprintf(text, sizeof text, "target = mail.example %s", aliases);
    conf_mistakes_init(&mistakes);
    domain = conf_domain_parse("f", pn_str_z(name), pn_str_z(text), NULL, NULL, 0, &mistakes);
    assert_non_null(domain);
    conf_mistakes_fini(&mistakes);
    return domain;
}

/* Replaces the table by one in which name is defined anew, or not at all (hours 0). */
static void change(struct domains **table, const char *name, bool subdomains, unsigned hours)
{
    struct domains_change one = {pn_str_z(name), NULL};
    struct conf_domain *definition = hours > 0 ? define(name, subdomains, hours) : NULL;
    struct domains *next;

    one.definition = definition;
    next = domains_with(*table, &one, 1);
    domains_unref(table);
    conf_domain_unref(&definition);
    *table = next;
}

static const struct {
    const char *name;
    const char *found; /* NULL: we do not relay for it */
} finds[] = {
    {"relay.test", "relay.test"},
    {"xrelay.test", NULL},
    {"relay.test.evil", NULL},
    {"sub.relay.test", NULL},
    {"wide.test", "wide.test"},
    {"a.wide.test", "wide.test"},
    {"a.b.c.wide.test", "wide.test"},
    {"xwide.test", NULL},
    {"wide.test.evil", NULL},
    {".wide.test", NULL},
    {"a..wide.test", NULL},
    {"narrow.wide.test", "narrow.wide.test"},
    {"a.narrow.wide.test", "wide.test"},
    {"own.wide.test", "own.wide.test"},
    {"a.own.wide.test", "own.wide.test"},
    {"test", NULL},
    {"", NULL},
    {".", NULL},
    {"wide.test.", NULL},
    {"WIDE.test", NULL},
};

static void test_find(void **state)
{
    struct domains *table = domains_new();

    (void)state;
    change(&table, "relay.test", false, 1);
    change(&table, "wide.test", true, 1);
    change(&table, "narrow.wide.test", false, 1);
    change(&table, "own.wide.test", true, 1);
    for (size_t i = 0; i < PN_COUNT(finds); i++) {
        const struct conf_domain *found = domains_find(table, pn_str_z(finds[i].name));

        if (!found || !finds[i].found) {
            if (found || finds[i].found) {
                print_error("row: %s\n", finds[i].name);
            }
            assert_true(!found && !finds[i].found);
        } else {
            assert_string_equal(found->name, finds[i].found);
        }
    }
    domains_unref(&table);
}

static void test_empty(void **state)
{
    struct domains *table = domains_new();
    struct domains *next = domains_with(table, NULL, 0);

    (void)state;
    assert_int_equal(domains_count(next), 0);
    assert_null(domains_find(next, PN_STR("a.test")));
    change(&next, "absent.test", false, 0);
    assert_int_equal(domains_count(next), 0);
    domains_unref(&next);
    domains_unref(&next); /* NULL is fine */
    domains_unref(&table);
}

/* Who holds an old table sees the old definitions. */
static void test_snapshots(void **state)
{
    struct domains *old = domains_new();
    struct domains *table;

    (void)state;
    change(&old, "a.test", false, 1);
    table = domains_ref(old);
    change(&table, "a.test", false, 2);
    change(&table, "b.test", false, 3);
    assert_int_equal(domains_find(old, PN_STR("a.test"))->hold_ms, PN_HOURS(1));
    assert_null(domains_find(old, PN_STR("b.test")));
    assert_int_equal(domains_find(table, PN_STR("a.test"))->hold_ms, PN_HOURS(2));
    change(&table, "a.test", false, 0);
    assert_null(domains_find(table, PN_STR("a.test")));
    assert_int_equal(domains_count(table), 1);
    assert_int_equal(domains_find(old, PN_STR("a.test"))->hold_ms, PN_HOURS(1));
    domains_unref(&old);
    assert_int_equal(domains_find(table, PN_STR("b.test"))->hold_ms, PN_HOURS(3));
    domains_unref(&table);
}

/* Of several changes to one name the last one counts. */
static void test_last_change_counts(void **state)
{
    struct conf_domain *first = define("a.test", false, 1);
    struct conf_domain *second = define("a.test", false, 2);
    struct domains_change changes[] = {{PN_STR("a.test"), first},
                                       {PN_STR("b.test"), NULL},
                                       {PN_STR("a.test"), NULL},
                                       {PN_STR("a.test"), second}};
    struct domains *empty = domains_new();
    struct domains *table = domains_with(empty, changes, PN_COUNT(changes));

    (void)state;
    assert_int_equal(domains_count(table), 1);
    assert_int_equal(domains_at(table, 0)->hold_ms, PN_HOURS(2));
    domains_unref(&table);
    table = domains_with(empty, changes, 3);
    assert_int_equal(domains_count(table), 0);
    domains_unref(&table);
    domains_unref(&empty);
    conf_domain_unref(&first);
    conf_domain_unref(&second);
}

static void name_of_number(unsigned number, char name[32])
{
    (void)snprintf(name, 32, "d%05u.test", number);
}

/* Compares the table with what a plain array says is in it. */
static void check(const struct domains *table, const unsigned hours[MANY])
{
    size_t index = 0;

    for (unsigned i = 0; i < MANY; i++) {
        char name[32];
        const struct conf_domain *found;

        name_of_number(i, name);
        found = domains_find(table, pn_str_z(name));
        assert_int_equal(found != NULL, hours[i] > 0);
        if (found) {
            assert_int_equal(found->hold_ms, PN_HOURS(hours[i]));
            assert_ptr_equal(domains_at(table, index), found);
            index++;
        }
    }
    assert_int_equal(domains_count(table), index);
}

/* Batches of changes of every size, against a model. */
static void test_model(void **state)
{
    static unsigned hours[MANY];
    static const unsigned batches[] = {1, 3000, 2, 700, 1, 40, 5000, 1, 4999, 17, 1, 2500};
    struct domains *table = domains_new();
    uint32_t random = 12345;

    (void)state;
    for (size_t b = 0; b < PN_COUNT(batches); b++) {
        struct domains_change *changes = pn_alloc_array(batches[b], sizeof *changes);
        char(*names)[32] = pn_alloc_array(batches[b], sizeof *names);
        struct domains *next;

        for (unsigned i = 0; i < batches[b]; i++) {
            unsigned number;

            random = random * 1664525 + 1013904223;
            number = (random >> 8) % MANY;
            /* One in four goes away, and in one batch all but a few. */
            hours[number] = (random >> 24) % 4 == 0 || batches[b] == 4999 ? 0 : 1 + i % 9;
            name_of_number(number, names[i]);
            changes[i].name = pn_str_z(names[i]);
            changes[i].definition =
                hours[number] > 0 ? define(names[i], false, hours[number]) : NULL;
        }
        next = domains_with(table, changes, batches[b]);
        domains_unref(&table);
        table = next;
        for (unsigned i = 0; i < batches[b]; i++) {
            conf_domain_unref(&changes[i].definition);
        }
        free(names);
        free(changes);
        check(table, hours);
    }
    domains_unref(&table);
}

static void change_aliases(struct domains **table, const char *name, const char *aliases)
{
    struct conf_domain *definition = define_aliases(name, aliases);
    struct domains_change one = {pn_str_z(name), definition};
    struct domains *next = domains_with(*table, &one, 1);

    domains_unref(table);
    conf_domain_unref(&definition);
    *table = next;
}

static void check_found(const struct domains *table, const char *name, const char *found)
{
    const struct conf_domain *domain = domains_find(table, pn_str_z(name));

    if (!found) {
        assert_null(domain);
    } else {
        assert_non_null(domain);
        assert_string_equal(domain->name, found);
    }
}

static void test_aliases(void **state)
{
    struct domains *table = domains_new();

    (void)state;
    change_aliases(&table, "b.test", "aliases = {x.test, y.test}");
    change_aliases(&table, "w.test", "aliases = Wide.test subdomains = yes");
    check_found(table, "x.test", "b.test");
    check_found(table, "a.x.test", NULL);
    check_found(table, "wide.test", "w.test");
    check_found(table, "a.b.wide.test", "w.test");
    assert_null(domains_find_exact(table, PN_STR("x.test")));
    assert_int_equal(domains_count(table), 2);

    /* Of two with the same alias the first has it, however late it came. */
    change_aliases(&table, "c.test", "aliases = x.test");
    check_found(table, "x.test", "b.test");
    change_aliases(&table, "a.test", "aliases = {x.test, z.test}");
    check_found(table, "x.test", "a.test");

    /* A definition wins, and the alias is there again when it goes away. */
    change(&table, "x.test", false, 1);
    check_found(table, "x.test", "x.test");
    change(&table, "x.test", false, 0);
    check_found(table, "x.test", "a.test");
    change_aliases(&table, "a.test", "");
    check_found(table, "x.test", "b.test");
    check_found(table, "z.test", NULL);
    change(&table, "b.test", false, 0);
    check_found(table, "x.test", "c.test");
    check_found(table, "y.test", NULL);
    change(&table, "c.test", false, 0);
    change(&table, "w.test", false, 0);
    check_found(table, "x.test", NULL);
    domains_unref(&table);
}

/* Who holds an old table finds the old aliases, whatever became of their domains. */
static void test_alias_snapshots(void **state)
{
    struct domains *table = domains_new();
    struct domains *old;

    (void)state;
    change_aliases(&table, "a.test", "aliases = {x.test, y.test}");
    change(&table, "other.test", false, 1); /* shares the index */
    old = domains_ref(table);
    change_aliases(&table, "a.test", "aliases = y.test");
    check_found(table, "x.test", NULL);
    check_found(table, "y.test", "a.test");
    assert_ptr_not_equal(domains_find(table, PN_STR("y.test")),
                         domains_find(old, PN_STR("y.test")));
    change(&table, "a.test", false, 0);
    check_found(old, "x.test", "a.test");
    domains_unref(&table);
    check_found(old, "y.test", "a.test");
    domains_unref(&old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_last_change_counts),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_alias_snapshots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
