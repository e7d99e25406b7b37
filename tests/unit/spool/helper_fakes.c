/* helper_fakes.c - see the header. */
#include "helper_fakes.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- the loop ---------------------------------------------------------------------------- */

static bool on_post(struct loop *port, struct loop_task *task)
{
    struct fake_loop *loop = PN_CONTAINER(port, struct fake_loop, port);

    task->next = NULL;
    if (loop->head) {
        loop->tail->next = task;
    } else {
        loop->head = task;
    }
    loop->tail = task;
    return true;
}

static const struct loop_ops loop_ops = {.post = on_post};

void fake_loop_init(struct fake_loop *loop)
{
    *loop = (struct fake_loop){0};
    loop_init(&loop->port, &loop_ops);
}

void fake_loop_fini(struct fake_loop *loop)
{
    pn_timers_fini(&loop->port.timers);
}

bool fake_loop_run(struct fake_loop *loop)
{
    bool any = loop->head || loop->port.deferred;

    loop_run_deferred(&loop->port);
    while (loop->head) {
        struct loop_task *task = loop->head;

        loop->head = task->next;
        task->on_run(task);
        loop_run_deferred(&loop->port);
    }
    return any;
}

/* ---- the store --------------------------------------------------------------------------- */

struct fake_change {
    struct pn_buf key, value;
    bool deleted;
};

struct fake_batch {
    struct store_batch port; /* first */
    struct fake_store *store;
    struct fake_change *changes;
    size_t count;
};

static struct pn_buf copy_of(struct pn_str s)
{
    struct pn_buf buf;

    pn_buf_init(&buf, STORE_VALUE_MAX);
    pn_assert(pn_buf_append(&buf, s) == 0);
    return buf;
}

static size_t place_of(const struct fake_store *store, struct pn_str key)
{
    size_t i = 0, until = store->count;

    while (i < until) {
        size_t middle = i + (until - i) / 2;

        if (pn_str_cmp(pn_buf_str(&store->records[middle].key), key) < 0) {
            i = middle + 1;
        } else {
            until = middle;
        }
    }
    return i;
}

struct fake_record *fake_store_find(struct fake_store *store, struct pn_str key)
{
    size_t i = place_of(store, key);

    return i < store->count && pn_str_eq(pn_buf_str(&store->records[i].key), key)
               ? &store->records[i]
               : NULL;
}

size_t fake_store_count(struct fake_store *store, char kind)
{
    size_t count = 0;

    for (size_t i = 0; i < store->count; i++) {
        count += pn_buf_str(&store->records[i].key).ptr[0] == kind;
    }
    return count;
}

void fake_store_put(struct fake_store *store, struct pn_str key, struct pn_str value)
{
    struct fake_record *record = fake_store_find(store, key);
    size_t i = place_of(store, key);

    if (record) {
        pn_buf_fini(&record->value);
        record->value = copy_of(value);
        return;
    }
    store->records = pn_realloc(store->records, (store->count + 1) * sizeof *store->records);
    memmove(store->records + i + 1, store->records + i,
            (store->count - i) * sizeof *store->records);
    store->records[i] = (struct fake_record){copy_of(key), copy_of(value)};
    store->count++;
}

void fake_store_remove(struct fake_store *store, struct pn_str key)
{
    struct fake_record *record = fake_store_find(store, key);

    if (record) {
        size_t i = (size_t)(record - store->records);

        pn_buf_fini(&record->key);
        pn_buf_fini(&record->value);
        store->count--;
        memmove(record, record + 1, (store->count - i) * sizeof *record);
    }
}

static bool on_batch_get(struct store_batch *port, struct pn_str key, struct pn_buf *out)
{
    struct fake_batch *batch = PN_CONTAINER(port, struct fake_batch, port);
    struct fake_record *record;

    pn_buf_clear(out);
    batch->store->rotten_asked +=
        batch->store->rotten.len > 0 && pn_str_eq(pn_buf_str(&batch->store->rotten), key);
    for (size_t i = batch->count; i > 0; i--) {
        const struct fake_change *change = &batch->changes[i - 1];

        if (pn_str_eq(pn_buf_str(&change->key), key)) {
            return !change->deleted && pn_buf_append(out, pn_buf_str(&change->value)) == 0;
        }
    }
    record = fake_store_find(batch->store, key);
    return record && pn_buf_append(out, pn_buf_str(&record->value)) == 0;
}

static void change(struct store_batch *port, struct pn_str key, struct pn_str value,
                   bool deleted)
{
    struct fake_batch *batch = PN_CONTAINER(port, struct fake_batch, port);

    batch->changes = pn_realloc(batch->changes, (batch->count + 1) * sizeof *batch->changes);
    batch->changes[batch->count++] =
        (struct fake_change){copy_of(key), copy_of(value), deleted};
}

static void on_batch_put(struct store_batch *port, struct pn_str key, struct pn_str value)
{
    pn_assert(value.len <= STORE_VALUE_MAX);
    change(port, key, value, false);
}

static void on_batch_del(struct store_batch *port, struct pn_str key)
{
    change(port, key, PN_STR(""), true);
}

static const struct store_batch_ops batch_ops = {on_batch_get, on_batch_put, on_batch_del};

static void end_batch(struct fake_batch *batch, bool durable)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct fake_change *one = &batch->changes[i];

        if (durable && one->deleted) {
            fake_store_remove(batch->store, pn_buf_str(&one->key));
        } else if (durable) {
            fake_store_put(batch->store, pn_buf_str(&one->key), pn_buf_str(&one->value));
        }
        pn_buf_fini(&one->key);
        pn_buf_fini(&one->value);
    }
    free(batch->changes);
}

static void run_write(struct loop_task *task)
{
    struct store_write *write = PN_CONTAINER(task, struct store_write, task);

    write->on_done(write);
}

static void answer(struct store_write *write, int status)
{
    write->status = status;
    write->task.on_run = run_write;
    if (!write->loop) {
        write->on_done(write);
    } else if (!loop_post(write->loop, &write->task)) {
        return;
    }
}

static void on_write(struct store *port, struct store_write *write)
{
    struct fake_store *store = PN_CONTAINER(port, struct fake_store, port);

    if (store->state != STORE_OPEN && !write->must) {
        pn_assert(write->loop);
        answer(write, PN_EIO);
        return;
    }
    write->next = NULL;
    *store->writes_end = write;
    store->writes_end = &write->next;
}

static void on_read(struct store *port, struct store_read *read)
{
    struct fake_store *store = PN_CONTAINER(port, struct fake_store, port);

    read->next = NULL;
    *store->reads_end = read;
    store->reads_end = &read->next;
}

static enum store_state on_state(const struct store *port)
{
    return ((const struct fake_store *)(const void *)port)->state;
}

static uint64_t on_syncs(const struct store *port)
{
    return ((const struct fake_store *)(const void *)port)->batches;
}

static uint64_t on_written(const struct store *port)
{
    (void)port;
    return 0;
}

static const struct store_ops store_ops = {on_write, on_read, on_state, on_syncs, on_written};

void fake_store_init(struct fake_store *store)
{
    *store = (struct fake_store){.port.ops = &store_ops};
    store->writes_end = &store->writes;
    store->reads_end = &store->reads;
    pn_buf_init(&store->rotten, 1024);
}

void fake_store_forget(struct fake_store *store)
{
    store->writes = NULL;
    store->writes_end = &store->writes;
    store->reads = NULL;
    store->reads_end = &store->reads;
}

void fake_store_fini(struct fake_store *store)
{
    while (store->count > 0) {
        fake_store_remove(store, pn_buf_str(&store->records[store->count - 1].key));
    }
    free(store->records);
    pn_buf_fini(&store->rotten);
}

struct fake_store fake_store_snapshot(struct fake_store *store)
{
    struct fake_store copy;

    fake_store_init(&copy);
    for (size_t i = 0; i < store->count; i++) {
        fake_store_put(&copy, pn_buf_str(&store->records[i].key),
                       pn_buf_str(&store->records[i].value));
    }
    return copy;
}

void fake_store_revert(struct fake_store *store, struct fake_store *snapshot)
{
    struct fake_record *records = store->records;
    size_t count = store->count;

    store->records = snapshot->records;
    store->count = snapshot->count;
    snapshot->records = records;
    snapshot->count = count;
    fake_store_fini(snapshot);
}

static void tell_batch(struct fake_store *store, bool durable)
{
    if (store->events.on_batch) {
        store->events.on_batch(store->events.owner, durable);
    }
}

/* Applies all that gathered; when it fails, answers the rest and keeps what must be. */
static void run_batch(struct fake_store *store, bool heal)
{
    struct fake_batch batch = {.port = {.ops = &batch_ops}, .store = store};
    enum fake_failure failure = store->failure;
    struct store_write *write = store->writes;
    struct pn_err err;

    store->writes = NULL;
    store->writes_end = &store->writes;
    store->batches++;
    if (heal) {
        store->events.on_heal(store->events.owner, &batch.port, store->tags, store->tag_count);
        store->tag_count = 0;
    }
    for (struct store_write *one = write; one; one = one->next) {
        one->apply(one, &batch.port);
    }
    if (failure != FAKE_WORKS) {
        store->failure = FAKE_WORKS;
        store->state = STORE_REOPENING;
    }
    end_batch(&batch, failure != FAKE_LOSES);
    tell_batch(store, failure == FAKE_WORKS);
    if (failure != FAKE_WORKS && store->events.on_state) {
        (void)pn_err_set(&err, PN_EIO, "the fake store fails");
        store->events.on_state(store->events.owner, STORE_REOPENING, &err);
    }
    while (write) {
        struct store_write *next = write->next;

        if (failure == FAKE_WORKS || !write->must) {
            if (failure != FAKE_WORKS) {
                pn_assert(store->tag_count < PN_COUNT(store->tags));
                store->tags[store->tag_count++] = write->tag;
            }
            answer(write, failure == FAKE_WORKS ? 0 : PN_EIO);
        } else {
            on_write(&store->port, write);
        }
        write = next;
    }
}

struct fake_view {
    struct store_view port; /* first */
    struct fake_store *store;
    size_t at;
    bool placed;
    bool rotten;
    struct pn_buf key, value; /* what item gave away; dies with the next call */
};

static void spoil(struct fake_view *view)
{
    pn_buf_fini(&view->key);
    pn_buf_fini(&view->value);
}

static bool is_rotten(struct fake_view *view, struct pn_str key)
{
    view->rotten = view->rotten || (view->store->rotten.len > 0 &&
                                    pn_str_eq(pn_buf_str(&view->store->rotten), key));
    return view->rotten;
}

static bool on_view_get(struct store_view *port, struct pn_str key, struct pn_buf *out)
{
    struct fake_view *view = PN_CONTAINER(port, struct fake_view, port);
    struct fake_record *record = fake_store_find(view->store, key);
    bool found;

    pn_buf_clear(out);
    found =
        !is_rotten(view, key) && record && pn_buf_append(out, pn_buf_str(&record->value)) == 0;
    spoil(view);
    return found;
}

static void on_view_seek(struct store_view *port, struct pn_str key)
{
    struct fake_view *view = PN_CONTAINER(port, struct fake_view, port);

    view->at = place_of(view->store, key);
    view->placed = true;
    spoil(view);
}

static bool on_view_item(struct store_view *port, struct pn_str *out_key,
                         struct pn_str *out_value)
{
    struct fake_view *view = PN_CONTAINER(port, struct fake_view, port);
    struct fake_record *record;

    spoil(view);
    if (!view->placed || view->at >= view->store->count) {
        return false;
    }
    record = &view->store->records[view->at];
    if (is_rotten(view, pn_buf_str(&record->key))) {
        return false;
    }
    view->key = copy_of(pn_buf_str(&record->key));
    view->value = copy_of(pn_buf_str(&record->value));
    *out_key = pn_buf_str(&view->key);
    *out_value = pn_buf_str(&view->value);
    return true;
}

static void on_view_next(struct store_view *port)
{
    struct fake_view *view = PN_CONTAINER(port, struct fake_view, port);

    view->at++;
    spoil(view);
}

static const struct store_view_ops view_ops = {on_view_get, on_view_seek, on_view_item,
                                               on_view_next};

static void run_read_done(struct loop_task *task)
{
    struct store_read *read = PN_CONTAINER(task, struct store_read, task);

    read->on_done(read);
}

static void run_reads(struct fake_store *store)
{
    struct store_read *read = store->reads;

    store->reads = NULL;
    store->reads_end = &store->reads;
    while (read) {
        struct store_read *next = read->next;
        struct fake_view view = {.port = {.ops = &view_ops}, .store = store};

        pn_buf_init(&view.key, STORE_VALUE_MAX);
        pn_buf_init(&view.value, STORE_VALUE_MAX);
        if (store->state == STORE_OPEN) {
            read->run(read, &view.port);
        }
        spoil(&view);
        read->status = store->state != STORE_OPEN ? PN_EIO : view.rotten ? PN_ECORRUPT : 0;
        read->task.on_run = run_read_done;
        (void)!loop_post(read->loop, &read->task);
        read = next;
    }
}

bool fake_store_turn(struct fake_store *store)
{
    bool any = store->reads || (store->writes && store->state == STORE_OPEN);

    if (store->writes && store->state == STORE_OPEN) {
        run_batch(store, false);
    }
    run_reads(store);
    return any;
}

void fake_store_heal(struct fake_store *store)
{
    store->state = STORE_OPEN;
    run_batch(store, true);
    if (store->state == STORE_OPEN && store->events.on_state) {
        store->events.on_state(store->events.owner, STORE_OPEN, NULL);
    }
}

/* ---- files ------------------------------------------------------------------------------- */

static struct fake_files *files_of(struct files *port)
{
    return PN_CONTAINER(port, struct fake_files, port);
}

struct fake_file *fake_files_find(struct fake_files *files, const char *path)
{
    for (size_t i = 0; i < files->count; i++) {
        if (strcmp(files->files[i].path, path) == 0) {
            return &files->files[i];
        }
    }
    return NULL;
}

void fake_files_put(struct fake_files *files, const char *path, struct pn_str content,
                    uint32_t mode)
{
    struct fake_file *file = fake_files_find(files, path);

    if (!file) {
        pn_assert(files->count < PN_COUNT(files->files));
        file = &files->files[files->count++];
        (void)snprintf(file->path, sizeof file->path, "%s", path);
    } else {
        pn_buf_fini(&file->content);
    }
    file->content = copy_of(content);
    file->mode = mode;
}

/* The operation that is to fail fails. */
static int files_try(struct files *port, const char *operation, const char *path,
                     struct pn_err *err)
{
    const char *fails = files_of(port)->fails;

    return fails && strcmp(fails, operation) == 0
               ? pn_err_set(err, PN_EIO, "%s: the fake files fail", path)
               : 0;
}

static int files_read(struct files *port, const char *path, struct pn_buf *out,
                      struct pn_err *err)
{
    struct fake_file *file = fake_files_find(files_of(port), path);

    return file ? pn_buf_append(out, pn_buf_str(&file->content))
                : pn_err_set(err, PN_ENOENT, "%s: no such file", path);
}

static int files_write(struct files *port, const char *path, struct pn_str content,
                       uint32_t mode, struct pn_err *err)
{
    if (files_try(port, "write", path, err) < 0) {
        return PN_EIO;
    }
    fake_files_put(files_of(port), path, content, mode);
    return 0;
}

static int files_remove(struct files *port, const char *path, struct pn_err *err)
{
    struct fake_files *files = files_of(port);
    struct fake_file *file = fake_files_find(files, path);

    if (!file) {
        return pn_err_set(err, PN_ENOENT, "%s: no such file", path);
    }
    pn_buf_fini(&file->content);
    *file = files->files[--files->count];
    return 0;
}

static int files_shred(struct files *port, const char *path, struct pn_err *err)
{
    if (files_try(port, "shred", path, err) < 0) {
        return PN_EIO;
    }
    files_of(port)->shredded++;
    return files_remove(port, path, err);
}

static int files_list(struct files *port, const char *directory, files_entry_fn *on_entry,
                      void *owner, struct pn_err *err)
{
    struct fake_files *files = files_of(port);
    struct files_info info = {.exists = true};
    size_t len = strlen(directory);

    (void)err;
    for (size_t i = 0; i < files->count; i++) {
        const char *path = files->files[i].path;

        if (strncmp(path, directory, len) == 0 && path[len] == '/') {
            on_entry(owner, path + len + 1, &info);
        }
    }
    return 0;
}

static int files_info(struct files *port, const char *path, struct files_info *out,
                      struct pn_err *err)
{
    struct fake_file *file = fake_files_find(files_of(port), path);

    (void)err;
    *out = (struct files_info){.exists = file};
    if (file) {
        out->mode = file->mode;
        out->size_octets = file->content.len;
    }
    return 0;
}

static int files_make_directory(struct files *port, const char *path, uint32_t mode,
                                struct pn_err *err)
{
    (void)mode;
    return files_try(port, "make_directory", path, err) < 0
               ? PN_EIO
               : pn_err_set(err, PN_EEXIST, "%s is there", path);
}

static int files_space(struct files *port, const char *path, uint64_t *out_free_octets,
                       uint64_t *out_total_octets, struct pn_err *err)
{
    files_of(port)->space_calls++;
    if (files_try(port, "space", path, err) < 0) {
        return PN_EIO;
    }
    *out_free_octets = files_of(port)->free_octets;
    *out_total_octets = 1000000;
    return 0;
}

static const struct files_ops files_ops = {
    files_read, files_write, files_remove,         files_shred,
    files_list, files_info,  files_make_directory, files_space,
};

void fake_files_init(struct fake_files *files)
{
    *files = (struct fake_files){.port.ops = &files_ops, .free_octets = 500000};
}

void fake_files_fini(struct fake_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        pn_buf_fini(&files->files[i].content);
    }
}

/* ---- cryptography ------------------------------------------------------------------------ */

static uint64_t mix(uint64_t sum, struct pn_str s)
{
    sum = (sum ^ s.len) * 0x100000001b3u;
    for (size_t i = 0; i < s.len; i++) {
        sum = (sum ^ (uint8_t)s.ptr[i]) * 0x100000001b3u;
    }
    return sum ^ sum >> 29;
}

static void crypto_hash(const struct pn_str *parts, size_t count,
                        uint8_t out[CRYPTO_HASH_OCTETS])
{
    for (uint64_t lane = 0; lane < 4; lane++) {
        uint64_t sum = 0xcbf29ce484222325u + lane;

        for (size_t i = 0; i < count; i++) {
            sum = mix(sum, parts[i]);
        }
        memcpy(out + 8 * lane, &sum, 8);
    }
}

static struct pn_str octets_of(const uint8_t *octets, size_t len)
{
    return (struct pn_str){(const char *)octets, len};
}

static void crypto_random(void *out, size_t octets)
{
    static uint64_t state = 88172645463325252u;

    for (size_t i = 0; i < octets; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((uint8_t *)out)[i] = (uint8_t)state;
    }
}

static void crypto_derive(const uint8_t *key, struct pn_str salt, struct pn_str info,
                          uint8_t *out)
{
    crypto_hash((const struct pn_str[]){octets_of(key, CRYPTO_KEY_OCTETS), salt, info}, 3, out);
}

static void tag_of(const uint8_t *key, const uint8_t *nonce, struct pn_str additional,
                   struct pn_str sealed, uint8_t out[CRYPTO_HASH_OCTETS])
{
    crypto_hash((const struct pn_str[]){octets_of(key, CRYPTO_KEY_OCTETS),
                                        octets_of(nonce, CRYPTO_NONCE_OCTETS), additional,
                                        sealed},
                4, out);
}

static void cover(const uint8_t *key, const uint8_t *nonce, const char *from, size_t len,
                  char *to)
{
    for (size_t i = 0; i < len; i++) {
        to[i] = (char)(from[i] ^ key[i % CRYPTO_KEY_OCTETS] ^ nonce[i % CRYPTO_NONCE_OCTETS]);
    }
}

static void crypto_seal(const uint8_t *key, const uint8_t *nonce, struct pn_str additional,
                        struct pn_str plain, char *out)
{
    uint8_t tag[CRYPTO_HASH_OCTETS];

    cover(key, nonce, plain.ptr, plain.len, out);
    tag_of(key, nonce, additional, (struct pn_str){out, plain.len}, tag);
    memcpy(out + plain.len, tag, CRYPTO_TAG_OCTETS);
}

static bool crypto_open(const uint8_t *key, const uint8_t *nonce, struct pn_str additional,
                        struct pn_str sealed, char *out)
{
    struct pn_str text = pn_str_sub(sealed, 0, sealed.len - CRYPTO_TAG_OCTETS);
    uint8_t tag[CRYPTO_HASH_OCTETS];

    tag_of(key, nonce, additional, text, tag);
    if (memcmp(tag, sealed.ptr + text.len, CRYPTO_TAG_OCTETS) != 0) {
        return false;
    }
    cover(key, nonce, text.ptr, text.len, out);
    return true;
}

static const struct crypto_ops crypto_ops = {crypto_random, crypto_hash, crypto_derive,
                                             crypto_seal, crypto_open};

struct crypto *fake_crypto(void)
{
    static struct crypto crypto = {&crypto_ops};

    return &crypto;
}
