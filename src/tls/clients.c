/*
 * tls/clients.c - clients' contexts by what they are made of.
 *
 * There are as many as the configuration has different options, so nothing needs to be
 * thrown out; forgetting them all at a reload is what makes renewed files count. A context is
 * made under the lock: whoever wants the same one meanwhile would have to read the files
 * too. A failure is not kept, because the operator repairs files without telling us.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/tls/context.h"

#include <pthread.h>
#include <string.h>

struct made {
    struct made *next;
    bool least_1_3;
    char *files[3];
    struct tls_context *context;
};

struct clients {
    struct tls_clients port;
    pthread_mutex_t lock;
    struct made *made;
};

static struct clients *clients_of(struct tls_clients *port)
{
    return PN_CONTAINER(port, struct clients, port);
}

static const char *text_of(const char *file)
{
    return file ? file : "";
}

static bool is_made_of(const struct made *made, const struct tls_client_options *options)
{
    return made->least_1_3 == options->least_1_3 &&
           strcmp(made->files[0], text_of(options->ca_file)) == 0 &&
           strcmp(made->files[1], text_of(options->certificate_file)) == 0 &&
           strcmp(made->files[2], text_of(options->key_file)) == 0;
}

static struct made *make(const struct tls_client_options *options, struct pn_err *err)
{
    struct tls_context *context = tls_client_new(options, err);
    struct made *made;

    if (!context) {
        return NULL;
    }
    made = PN_NEW(struct made);
    made->context = context;
    made->least_1_3 = options->least_1_3;
    made->files[0] = pn_strdup(text_of(options->ca_file));
    made->files[1] = pn_strdup(text_of(options->certificate_file));
    made->files[2] = pn_strdup(text_of(options->key_file));
    return made;
}

static struct tls_context *clients_get(struct tls_clients *port,
                                       const struct tls_client_options *options,
                                       struct pn_err *err)
{
    struct clients *clients = clients_of(port);
    struct tls_context *context;
    struct made *made;

    pthread_mutex_lock(&clients->lock);
    made = clients->made;
    while (made && !is_made_of(made, options)) {
        made = made->next;
    }
    if (!made) {
        made = make(options, err);
        if (made) {
            made->next = clients->made;
            clients->made = made;
        }
    }
    context = tls_context_ref(made ? made->context : NULL); /* others may forget it at once */
    pthread_mutex_unlock(&clients->lock);
    return context;
}

struct tls_clients *tls_clients_new(void)
{
    static const struct tls_clients_ops ops = {.get = clients_get};
    struct clients *clients = PN_NEW(struct clients);

    clients->port.ops = &ops;
    pn_assert(pthread_mutex_init(&clients->lock, NULL) == 0);
    return &clients->port;
}

void tls_clients_forget(struct tls_clients *port)
{
    struct clients *clients = clients_of(port);
    struct made *made;

    pthread_mutex_lock(&clients->lock);
    made = clients->made;
    clients->made = NULL;
    pthread_mutex_unlock(&clients->lock);
    while (made) {
        struct made *next = made->next;

        tls_context_unref(&made->context);
        for (size_t i = 0; i < PN_COUNT(made->files); i++) {
            free(made->files[i]);
        }
        free(made);
        made = next;
    }
}

void tls_clients_free(struct tls_clients **port)
{
    if (*port) {
        struct clients *clients = clients_of(*port);

        tls_clients_forget(*port);
        pthread_mutex_destroy(&clients->lock);
        free(clients);
        *port = NULL;
    }
}
