/*
 * dns/resolver.c - the resolver port on c-ares.
 *
 * c-ares calls back while the query is still linked into its lists, and calling it from
 * there has freed memory twice before (FAULTS 6.1, 6.2). So its callback only reads the
 * message and notes the answer; a timer that is due at once carries it to the askers on
 * the next turn of the loop. The same way serves answers that need no question (cached
 * ones, "localhost", names that cannot be), so that nobody is ever answered inside
 * resolver_ask.
 *
 * A request is one question under way; all who ask the same meanwhile share it. It has a
 * deadline of its own, whatever c-ares does (FAULTS 6.3). c-ares cannot give up a single
 * query, so a request whose deadline has passed is abandoned: nobody finds it any more,
 * and it is freed when c-ares lets go of it, at the latest when the channel is destroyed.
 *
 * Names are asked as they are: no search list, no hosts file, no aliases from the
 * environment (FAULTS 6.8).
 */
#include "postern/dns/resolver.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include "cache_priv.h"
#include "dns_priv.h"

#include <uthash.h>
#include <utlist.h>

#include <ares.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>

#define DEADLINE_MS PN_SECONDS(15)
/* 2 + 4 + 8 s: three tries of one server fit into the deadline. */
#define TRY_MS     2000
#define TRIES      3
#define CLASS_IN   1
#define UDP_OCTETS 1232 /* what fits into one packet everywhere */

/*
 * ASKED: c-ares has it. ANSWERED: on its way to the askers. LATE: the askers are being told
 * that the deadline has passed. ABANDONED: they were. RELEASED: c-ares let go meanwhile.
 */
enum request_state { ASKED, ANSWERED, LATE, ABANDONED, RELEASED };

struct asker {
    struct asker *prev;
    struct asker *next;
    struct request *request;
    struct resolver_query *query;
};

struct request {
    UT_hash_handle hh; /* in dns_resolver.shared, under key */
    struct request *prev;
    struct request *next;
    struct dns_resolver *resolver;
    enum request_state state;
    enum resolver_type type;
    bool shared;
    bool fresh; /* the answer came from the network, and may be kept */
    struct asker *askers;
    struct dns_answer answer;
    struct pn_timer timer; /* ASKED: the deadline; ANSWERED: the next turn */
    char key[DNS_KEY_CHARS];
};

/* One of c-ares' sockets. */
struct watched {
    struct watched *prev;
    struct watched *next;
    struct dns_resolver *resolver;
    int fd;
    void *watch;
};

struct dns_resolver {
    struct resolver port;
    struct loop *loop;
    struct dns_watch_ops watches;
    void *watch_owner;
    ares_channel channel;
    struct pn_timer timer; /* c-ares' time-outs */
    int64_t deadline_ms;
    bool answering;
    bool trusted; /* the servers' word on DNSSEC is: they are on this machine */
    struct request *requests;
    struct request *shared;
    struct watched *watched;
    struct dns_cache cache;
};

static struct dns_resolver *resolver_of(struct resolver *port)
{
    return PN_CONTAINER(port, struct dns_resolver, port);
}

/* Sets the timer for c-ares' next time-out. After every call into c-ares. */
static void resolver_arm(struct dns_resolver *resolver)
{
    struct timeval buf;
    struct timeval *wait = ares_timeout(resolver->channel, NULL, &buf);

    if (wait) {
        loop_timer_after(resolver->loop, &resolver->timer,
                         (int64_t)wait->tv_sec * 1000 + wait->tv_usec / 1000 + 1);
    } else {
        loop_timer_stop(resolver->loop, &resolver->timer);
    }
}

static void timer_fire(struct pn_timer *timer)
{
    struct dns_resolver *resolver = PN_CONTAINER(timer, struct dns_resolver, timer);

    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    resolver_arm(resolver);
}

static void on_socket_event(void *arg, unsigned events)
{
    struct watched *watched = arg;
    struct dns_resolver *resolver = watched->resolver;
    int fd = watched->fd;

    /* This may close the socket, which frees watched. */
    ares_process_fd(resolver->channel, (events & DNS_READABLE) ? fd : ARES_SOCKET_BAD,
                    (events & DNS_WRITABLE) ? fd : ARES_SOCKET_BAD);
    resolver_arm(resolver);
}

/* c-ares tells what it wants to know of a socket; nothing: it is about to close it. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns_resolver *resolver = arg;
    unsigned events = (readable ? DNS_READABLE : 0u) | (writable ? DNS_WRITABLE : 0u);
    struct watched *watched;

    DL_SEARCH_SCALAR(resolver->watched, watched, fd, fd);
    if (!watched && events) {
        watched = PN_NEW(struct watched);
        watched->resolver = resolver;
        watched->fd = fd;
        DL_APPEND(resolver->watched, watched);
        watched->watch = resolver->watches.watch(resolver->watch_owner, fd, events,
                                                 on_socket_event, watched);
    } else if (watched && events) {
        resolver->watches.change(watched->watch, events);
    } else if (watched) {
        resolver->watches.unwatch(watched->watch);
        DL_DELETE(resolver->watched, watched);
        free(watched);
    }
}

static void asker_free(struct asker *asker)
{
    DL_DELETE(asker->request->askers, asker);
    asker->query->pending = NULL;
    free(asker);
}

/* Nobody who asks from now on finds it. */
static void request_unshare(struct request *request)
{
    if (request->shared) {
        request->shared = false;
        HASH_DEL(request->resolver->shared, request);
    }
}

static void request_free(struct request *request)
{
    request_unshare(request);
    loop_timer_stop(request->resolver->loop, &request->timer);
    while (request->askers) {
        asker_free(request->askers);
    }
    DL_DELETE(request->resolver->requests, request);
    dns_answer_fini(&request->answer);
    free(request);
}

/* Hands the answer to all who asked. They may ask again, and cancel each other. */
static void request_tell(struct request *request)
{
    struct resolver_answer answer = {.status = request->answer.status,
                                     .why = request->answer.why,
                                     .alias = request->answer.alias,
                                     .count = request->answer.count,
                                     .records = request->answer.records};
    struct dns_resolver *resolver = request->resolver;

    answer.validated = request->answer.validated && resolver->trusted;
    memcpy(answer.canonical, request->answer.canonical, sizeof answer.canonical);
    resolver->answering = true;
    while (request->askers) {
        struct resolver_query *query = request->askers->query;

        asker_free(request->askers);
        query->on_answer(query, &answer);
    }
    resolver->answering = false;
}

/* c-ares still has it. An asker that asks again may make c-ares call back at any point. */
static void request_expire(struct request *request)
{
    request->state = LATE;
    dns_answer_fail(&request->answer, "the DNS did not answer in time");
    request_tell(request);
    if (request->state == RELEASED) {
        request_free(request);
    } else {
        request->state = ABANDONED;
    }
}

static void request_fire(struct pn_timer *timer)
{
    struct request *request = PN_CONTAINER(timer, struct request, timer);
    struct dns_resolver *resolver = request->resolver;

    request_unshare(request);
    if (request->state == ASKED) {
        request_expire(request);
        return;
    }
    if (request->fresh) {
        dns_cache_put(&resolver->cache, request->key, &request->answer, resolver->loop->now);
    }
    request_tell(request);
    request_free(request);
}

/* The answer is there; it goes out on the next turn. */
static void request_answered(struct request *request)
{
    request->state = ANSWERED;
    loop_timer_after(request->resolver->loop, &request->timer, 0);
}

static void answer_from_status(struct dns_answer *answer, int status)
{
    dns_answer_fini(answer);
    switch (status) {
    case ARES_ENODATA:
        answer->status = RESOLVER_NODATA;
        answer->why = "the name has no such record";
        break;
    case ARES_ENOTFOUND:
        answer->status = RESOLVER_NXDOMAIN;
        answer->why = "the name does not exist";
        break;
    case ARES_ESERVFAIL:
        answer->why = "the DNS server could not find out (SERVFAIL)";
        break;
    case ARES_EREFUSED:
        answer->why = "the DNS server refuses to answer (REFUSED)";
        break;
    case ARES_ETIMEOUT:
        answer->why = "the DNS server does not answer";
        break;
    case ARES_ECONNREFUSED:
        answer->why = "the DNS server cannot be reached";
        break;
    default:
        answer->why = ares_strerror(status);
        break;
    }
}

static void answer_from_message(struct request *request, struct pn_str message)
{
    enum { SERVFAIL = 2, NXDOMAIN = 3, REFUSED = 5 };
    unsigned rcode = dns_message_rcode(message);

    if (rcode == 0 && dns_message_is_truncated(message)) {
        dns_answer_fail(&request->answer, "the DNS answer is truncated");
    } else if (rcode == 0 && !dns_message_is_empty(message)) {
        dns_answer_fini(&request->answer);
        dns_answer_read(message, request->type, &request->answer);
        request->fresh = true;
    } else {
        answer_from_status(&request->answer, rcode == 0          ? ARES_ENODATA
                                             : rcode == NXDOMAIN ? ARES_ENOTFOUND
                                             : rcode == REFUSED  ? ARES_EREFUSED
                                                                 : ARES_ESERVFAIL);
    }
}

static void on_ares(void *arg, int status, int timeouts, unsigned char *data, int length)
{
    struct request *request = arg;
    struct pn_str message = {(const char *)data, data && length > 0 ? (size_t)length : 0};

    (void)timeouts;
    if (request->state == ABANDONED) {
        request_free(request);
        return;
    }
    if (request->state == LATE) {
        request->state = RELEASED;
        return;
    }
    if (status == ARES_SUCCESS) {
        answer_from_message(request, message);
    } else {
        answer_from_status(&request->answer, status);
    }
    request_answered(request);
}

/*
 * The library's own questions cannot have the DO bit (RFC 3225), without which a validating
 * resolver keeps its verdict to itself. So the question is made here, with an id that nobody
 * can guess. The AD bit would do as well (RFC 6840 5.7), but there are servers that copy it
 * from the question into the answer. The bit stands in the OPT record at the question's end:
 * the first of the two octets before its length.
 */
static int send_question(struct request *request, const char *name)
{
    enum { OPT_OCTETS = 11, FLAGS_FROM_END = 4, DO = 0x80 };
    unsigned char *question = NULL;
    unsigned short id = 0;
    int length = 0;
    int status;

    pn_assert(getrandom(&id, sizeof id, 0) == sizeof id);
    status = ares_create_query(name, CLASS_IN, dns_type_number(request->type), id, 1, &question,
                               &length, UDP_OCTETS);
    if (status == ARES_SUCCESS) {
        pn_assert(length > OPT_OCTETS);
        if (request->resolver->trusted) {
            question[length - FLAGS_FROM_END] |= DO;
        }
        ares_send(request->resolver->channel, question, length, on_ares, request);
        ares_free_string(question);
    }
    return status;
}

static struct request *request_new(struct dns_resolver *resolver, enum resolver_type type)
{
    struct request *request = PN_NEW(struct request);

    request->resolver = resolver;
    request->type = type;
    request->timer.on_fire = request_fire;
    request->answer.status = RESOLVER_TEMPFAIL;
    request->answer.why = "";
    DL_APPEND(resolver->requests, request);
    return request;
}

static void request_add(struct request *request, struct resolver_query *query)
{
    struct asker *asker = PN_NEW(struct asker);

    asker->request = request;
    asker->query = query;
    query->pending = asker;
    DL_APPEND(request->askers, asker);
}

/* RFC 6761 6.3: this name never goes to the DNS. */
static bool answer_localhost(const char *name, enum resolver_type type,
                             struct dns_answer *answer)
{
    static const uint8_t one[16] = {[15] = 1};

    if (strcmp(name, "localhost") != 0 || (type != RESOLVER_A && type != RESOLVER_AAAA)) {
        return false;
    }
    answer->status = RESOLVER_FOUND;
    answer->why = "found";
    answer->count = 1;
    answer->records = PN_NEW(struct resolver_record);
    answer->records[0].ip = type == RESOLVER_A ? pn_ip_v4(0x7f000001) : pn_ip_v6(one);
    memcpy(answer->canonical, "localhost", sizeof "localhost");
    return true;
}

/* The name that is really asked for. */
static bool question_name(const char *asked, enum resolver_type type,
                          char out[RESOLVER_NAME_CHARS], const char **out_why)
{
    struct pn_ip ip;

    if (type != RESOLVER_PTR) {
        *out_why = "this is not a name that the DNS can have";
        return dns_name_normalise(pn_str_z(asked), out);
    }
    *out_why = "this is not an address";
    if (!pn_ip_parse(pn_str_z(asked), &ip)) {
        return false;
    }
    dns_name_reverse(&ip, out);
    return true;
}

static void request_ask(struct request *request, const char *name, const char *key)
{
    struct dns_resolver *resolver = request->resolver;
    int status;

    memcpy(request->key, key, strlen(key) + 1);
    request->shared = true;
    HASH_ADD_STR(resolver->shared, key, request);
    request->state = ASKED;
    loop_timer_after(resolver->loop, &request->timer, resolver->deadline_ms);
    /* May call back at once, which sets the timer anew. */
    status = send_question(request, name);
    if (status != ARES_SUCCESS) {
        answer_from_status(&request->answer, status);
        request_answered(request);
    }
    resolver_arm(resolver);
}

static void resolver_take(struct resolver *port, struct resolver_query *query,
                          const char *asked, enum resolver_type type)
{
    struct dns_resolver *resolver = resolver_of(port);
    const struct dns_answer *known;
    char name[RESOLVER_NAME_CHARS];
    char key[DNS_KEY_CHARS];
    struct request *request;
    const char *why;

    pn_assert(query->on_answer && !query->pending);
    if (!question_name(asked, type, name, &why)) {
        request = request_new(resolver, type);
        dns_answer_fail(&request->answer, why);
        request_add(request, query);
        request_answered(request);
        return;
    }
    dns_key_make(type, name, key);
    HASH_FIND_STR(resolver->shared, key, request);
    if (request) {
        request_add(request, query);
        return;
    }
    request = request_new(resolver, type);
    request_add(request, query);
    known = dns_cache_find(&resolver->cache, key, resolver->loop->now);
    if (known) {
        dns_answer_copy(known, &request->answer);
        request_answered(request);
    } else if (answer_localhost(name, type, &request->answer)) {
        request_answered(request);
    } else {
        request_ask(request, name, key);
    }
}

static void resolver_drop(struct resolver *port, struct resolver_query *query)
{
    (void)port;
    asker_free(query->pending); /* the request goes on: its answer is worth keeping */
}

static void library_init(void)
{
    pn_assert(ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS);
}

static int channel_open(struct dns_resolver *resolver, const char *servers, struct pn_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char lookups[] = "b";
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
        .ednspsz = UDP_OCTETS,
        .timeout = TRY_MS,
        .tries = TRIES,
        .lookups = lookups,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = resolver,
    };
    int status;

    pn_assert(pthread_once(&once, library_init) == 0);
    status =
        ares_init_options(&resolver->channel, &options,
                          ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                              ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ);
    if (status != ARES_SUCCESS) {
        return pn_err_set(err, PN_EIO, "cannot start the DNS resolver: %s",
                          ares_strerror(status));
    }
    status = servers ? ares_set_servers_ports_csv(resolver->channel, servers) : ARES_SUCCESS;
    if (status != ARES_SUCCESS) {
        ares_destroy(resolver->channel);
        return pn_err_set(err, PN_EINVAL, "\"%s\" is not a list of DNS servers: %s", servers,
                          ares_strerror(status));
    }
    return 0;
}

/* The AD bit of a server that is reached through a network can be set by anyone on the way. */
static bool servers_are_local(ares_channel channel)
{
    struct ares_addr_port_node *servers = NULL;
    bool local = ares_get_servers_ports(channel, &servers) == ARES_SUCCESS && servers;

    for (const struct ares_addr_port_node *server = servers; server; server = server->next) {
        const struct in6_addr *v6 = (const struct in6_addr *)&server->addr.addr6;

        local = local && (server->family == AF_INET
                              ? ntohl(server->addr.addr4.s_addr) >> 24 == IN_LOOPBACKNET
                              : IN6_IS_ADDR_LOOPBACK(v6));
    }
    ares_free_data(servers);
    return local;
}

struct resolver *dns_resolver_new(struct loop *loop, const struct dns_watch_ops *watches,
                                  void *watch_owner, const char *servers, struct pn_err *err)
{
    static const struct resolver_ops ops = {.ask = resolver_take, .cancel = resolver_drop};
    struct dns_resolver *resolver = PN_NEW(struct dns_resolver);

    resolver->port.ops = &ops;
    resolver->loop = loop;
    resolver->watches = *watches;
    resolver->watch_owner = watch_owner;
    resolver->timer.on_fire = timer_fire;
    resolver->deadline_ms = DEADLINE_MS;
    if (channel_open(resolver, servers, err) < 0) {
        free(resolver);
        return NULL;
    }
    resolver->trusted = servers_are_local(resolver->channel);
    return &resolver->port;
}

void dns_resolver_free(struct resolver **port)
{
    struct dns_resolver *resolver;

    if (!*port) {
        return;
    }
    resolver = resolver_of(*port);
    *port = NULL;
    pn_assert(!resolver->answering); /* not inside an answer, which is still being used */
    ares_destroy(resolver->channel); /* calls back for all that is under way */
    while (resolver->requests) {
        request_free(resolver->requests);
    }
    loop_timer_stop(resolver->loop, &resolver->timer);
    pn_assert(!resolver->watched);
    dns_cache_fini(&resolver->cache);
    free(resolver);
}

void dns_resolver_set_deadline(struct resolver *port, int64_t deadline_ms)
{
    resolver_of(port)->deadline_ms = deadline_ms;
}
