/*
 * policies.c - MTA-STS policies: one record for each domain.
 *
 * Key: 's' domain. Policies are few and change seldom, so there is no memory here (who asks
 * has one) and no backlog: each write is a request of its own.
 */
#include "postern/state/policies.h"

#include "answers_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define VERSION     1
#define DOMAIN_MAX  253
#define HEAD_OCTETS (1 + 8 + 8 + 1) /* version, fetched, max_age, length of the id */

struct key {
    char octets[1 + DOMAIN_MAX];
    size_t len;
};

static bool make_key(struct pn_str domain, struct key *out)
{
    if (domain.len == 0 || domain.len > DOMAIN_MAX) {
        return false;
    }
    out->octets[0] = 's';
    memcpy(out->octets + 1, domain.ptr, domain.len);
    out->len = 1 + domain.len;
    return true;
}

static struct pn_str key_str(const struct key *key)
{
    return (struct pn_str){key->octets, key->len};
}

/* ---- reading ---- */

struct policy_read {
    struct store_read read;
    struct key key;
    struct pn_buf value;
    bool found;
    state_policy_fn *fn;
    void *owner;
};

static bool decode(struct pn_str value, struct state_policy *out)
{
    size_t id_len;

    if (value.len < HEAD_OCTETS || value.ptr[0] != VERSION) {
        return false;
    }
    id_len = (uint8_t)value.ptr[HEAD_OCTETS - 1];
    if (id_len >= STATE_POLICY_ID_CHARS || id_len > value.len - HEAD_OCTETS) {
        return false;
    }
    *out = (struct state_policy){0};
    out->fetched.ms = (int64_t)pn_number_get(value.ptr + 1, 8);
    out->max_age_ms = (int64_t)pn_number_get(value.ptr + 9, 8);
    memcpy(out->id, value.ptr + HEAD_OCTETS, id_len);
    out->text = pn_str_sub(value, HEAD_OCTETS + id_len, SIZE_MAX);
    return out->max_age_ms >= 0;
}

static void run_read(struct store_read *read, struct store_view *view)
{
    struct policy_read *request = PN_CONTAINER(read, struct policy_read, read);

    request->found = store_view_get(view, key_str(&request->key), &request->value);
}

static void on_read(struct store_read *read)
{
    struct policy_read *request = PN_CONTAINER(read, struct policy_read, read);
    struct state_policy policy;
    bool good =
        read->status == 0 && request->found && decode(pn_buf_str(&request->value), &policy);

    request->fn(request->owner, good ? &policy : NULL);
    pn_buf_fini(&request->value);
    free(request);
}

void state_policy_get(struct state *state, struct loop *loop, struct pn_str domain,
                      state_policy_fn *fn, void *owner)
{
    struct policy_read *request = PN_NEW(struct policy_read);

    request->fn = fn;
    request->owner = owner;
    pn_buf_init(&request->value, STATE_POLICY_MAX + 256);
    request->read = (struct store_read){.run = run_read, .on_done = on_read, .loop = loop};
    (void)make_key(domain, &request->key); /* a name that is too long has no record */
    store_ask(state_store_of(state), &request->read);
}

/* ---- writing ---- */

struct policy_write {
    struct store_write write;
    struct key key;
    struct pn_buf value; /* empty: delete */
};

static void apply_write(struct store_write *write, struct store_batch *batch)
{
    struct policy_write *request = PN_CONTAINER(write, struct policy_write, write);

    if (request->value.len > 0) {
        store_batch_put(batch, key_str(&request->key), pn_buf_str(&request->value));
    } else {
        store_batch_del(batch, key_str(&request->key));
    }
}

static void free_write(struct policy_write *request)
{
    pn_buf_fini(&request->value);
    free(request);
}

/* On the writer's thread. A policy that was not written can be fetched again. */
static void on_written(struct store_write *write)
{
    free_write(PN_CONTAINER(write, struct policy_write, write));
}

static int encode(const struct state_policy *policy, struct pn_buf *out)
{
    char head[HEAD_OCTETS];
    size_t id_len = strlen(policy->id);
    int status;

    head[0] = VERSION;
    pn_number_put(head + 1, (uint64_t)policy->fetched.ms, 8);
    pn_number_put(head + 9, (uint64_t)policy->max_age_ms, 8);
    head[HEAD_OCTETS - 1] = (char)(uint8_t)id_len;
    status = pn_buf_append(out, (struct pn_str){head, sizeof head});
    status = status ? status : pn_buf_append_z(out, policy->id);
    return status ? status : pn_buf_append(out, policy->text);
}

void state_policy_put(struct state *state, struct pn_str domain,
                      const struct state_policy *policy)
{
    struct policy_write *request = PN_NEW(struct policy_write);

    pn_buf_init(&request->value, STATE_POLICY_MAX + 256);
    if (!make_key(domain, &request->key) || (policy && encode(policy, &request->value) != 0) ||
        store_get_state(state_store_of(state)) != STORE_OPEN) {
        free_write(request);
        return;
    }
    request->write =
        (struct store_write){.apply = apply_write, .on_done = on_written, .lazy = true};
    store_submit(state_store_of(state), &request->write);
}
