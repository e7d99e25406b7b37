/*
 * verify/list_priv.h - the parts of recipient lists: tables, loads, and copies on disk.
 */
#ifndef POSTERN_VERIFY_LIST_PRIV_H
#define POSTERN_VERIFY_LIST_PRIV_H

#include "postern/verify/list.h"

/* A local part in its compared form, hashed: 128 bits of SHA-256, never all zero. */
struct verify_key {
    uint64_t high;
    uint64_t low;
};
struct verify_key verify_key_make(const struct crypto *crypto, struct pn_str local);

/* A set of keys, made for a number of them that is known. */
struct verify_table;
struct verify_table *verify_table_new(size_t keys);
void verify_table_free(struct verify_table **table);
void verify_table_add(struct verify_table *table, struct verify_key key);
bool verify_table_has(const struct verify_table *table, struct verify_key key);
size_t verify_table_count(const struct verify_table *table);
bool verify_table_eq(const struct verify_table *a, const struct verify_table *b);

/* What was read of a list, for its status. */
struct verify_facts {
    size_t good_lines;
    size_t broken_lines;
    size_t foreign_lines;
    bool all;
    char broken[400];
};

/* A text being made a table, a slice at a time. */
struct verify_load {
    const struct conf_domain *domain; /* borrowed */
    const struct crypto *crypto;
    struct pn_buf text; /* owned */
    size_t at;
    size_t line;
    unsigned shown; /* broken lines that stand in facts.broken */
    struct verify_key *keys;
    size_t count;
    size_t cap;
    size_t moved; /* keys that are in the table */
    struct verify_table *table;
    struct verify_facts facts;
};

/* Takes the text over. */
void verify_load_init(struct verify_load *load, const struct conf_domain *domain,
                      const struct crypto *crypto, struct pn_buf *text);
void verify_load_fini(struct verify_load *load);
/* Works until *budget, about as many microseconds, is used up. True: the table is made. */
bool verify_load_step(struct verify_load *load, int64_t *budget);
/* False: the list is not to be believed, and out says why. */
bool verify_load_judge(const struct verify_load *load, char *out, size_t room);

/* What a copy on disk knows besides the list. */
struct verify_copy {
    struct pn_wall fetched;
    char etag[256];
    char modified[64];
};

/* "<directory>/<SHA-256 of the address in hexadecimal>.list" */
void verify_copy_path(const struct crypto *crypto, const char *directory, const char *url,
                      struct pn_buf *out);
/* Puts what the copy knows behind the list. The text may grow for it beyond its bound. */
void verify_copy_write(const struct verify_copy *copy, const char *url, struct pn_buf *text);
/* Finds it at the end; false when this is no copy, or one of another address. */
bool verify_copy_read(struct pn_str text, const char *url, struct verify_copy *out);

#endif
