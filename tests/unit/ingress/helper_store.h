/* A store in memory that answers on a later turn, can be stopped, and can fail. */
#ifndef HELPER_STORE_H
#define HELPER_STORE_H

#include "postern/port/store.h"

struct test_item {
    char *key;
    size_t key_len;
    struct pn_buf value;
};

struct test_store {
    struct store port;
    const struct store_events *events;
    struct test_item *items; /* in the order of keys */
    size_t count, cap;
    struct store_write *writes;
    struct store_write **writes_end;
    struct store_read *reads;
    struct store_read **reads_end;
    struct store_tag *failed; /* not healed yet */
    size_t failed_count;
    bool stopped; /* answers nothing for now */
    bool failing; /* answers with errors, and then reopens */
    uint64_t batches;
};

void test_store_init(struct test_store *store);
void test_store_fini(struct test_store *store);
/* One turn of the writer and the reader. True when there was something to do. */
bool test_store_run(struct test_store *store);

#endif
