/*
 * net/loop.h - event loops on libuv.
 *
 * A loop is made and freed by any thread, and run by one. net_loop_stop may come from any
 * thread; net_loop_run then returns once the tasks that were posted before have run.
 */
#ifndef POSTERN_NET_LOOP_H
#define POSTERN_NET_LOOP_H

#include "postern/port/files.h"
#include "postern/port/loop.h"
#include "postern/port/stream.h"

struct net_loop;

struct net_loop *net_loop_new(void);
/* Drops every stream, listener, watch and signal that is left, runs their ends, frees. */
void net_loop_free(struct net_loop **loop);

void net_loop_run(struct net_loop *loop);
void net_loop_stop(struct net_loop *loop);

struct loop *net_loop_port(struct net_loop *loop);       /* borrowed */
struct network *net_loop_network(struct net_loop *loop); /* borrowed */

/* Signals arrive as loop events (FAULTS 8.15). At most one function for each number. */
typedef void net_signal_fn(void *owner, int number);
void net_loop_on_signal(struct net_loop *loop, int number, net_signal_fn *fn, void *owner);

/* A descriptor of a library that has to be driven from the loop (c-ares, libmicrohttpd). */
struct net_watch;
enum net_watch_events { NET_READABLE = 1, NET_WRITABLE = 2 };
typedef void net_watch_fn(void *owner, unsigned events);
struct net_watch *net_watch_new(struct net_loop *loop, int fd, unsigned events,
                                net_watch_fn *fn, void *owner);
void net_watch_set(struct net_watch *watch, unsigned events);
void net_watch_free(struct net_watch **watch); /* before the descriptor is closed */

/*
 * Watches a directory. fn is called on the loop with the name of an entry that was made,
 * changed, renamed or removed (NULL: names were lost, look at all of them), at the earliest
 * 100 ms after the last change of that name, so that a file being written is read once.
 */
struct net_directory_watch;
typedef void net_directory_fn(void *owner, const char *name);
struct net_directory_watch *net_directory_watch_new(struct net_loop *loop, const char *path,
                                                    net_directory_fn *fn, void *owner,
                                                    struct pn_err *err);
void net_directory_watch_free(struct net_directory_watch **watch);

struct files *net_files(void); /* the real file system; stateless, any thread */

/* The machine's own addresses, for loop guards. Returns how many were written. */
size_t net_own_addresses(struct pn_ip *out, size_t max);

#endif
