/*
 * policy/defer.h - who is sent to the domain's own server, and who has come back often
 * enough (when_up = defer).
 *
 * A sender that prefers the backup on purpose does not come back; one whose way to the
 * primary is broken does. What is remembered is (sender, recipient, client network) as a
 * number, for at most POLICY_DEFER_MAX of them, the longest unseen first forgotten. One
 * object for the whole daemon; any thread. No I/O and no clock.
 */
#ifndef POSTERN_POLICY_DEFER_H
#define POSTERN_POLICY_DEFER_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/base/ip.h"
#include "postern/base/str.h"
#include "postern/base/time.h"

#define POLICY_DEFER_MAX     100000
#define POLICY_DEFER_KEEP_MS PN_DAYS(4) /* unseen for so long: it is new again */

struct policy_defer;

/* seed: so that nobody knows which of them look the same. */
struct policy_defer *policy_defer_new(uint64_t seed);
void policy_defer_free(struct policy_defer **defer);

/*
 * It has come. True: let in, now and when it comes again. A return counts when it is
 * wait_ms behind the one that counted last; the times-th of them is let in.
 */
bool policy_defer_come(struct policy_defer *defer, struct pn_mono now, struct pn_str sender,
                       struct pn_str recipient, const struct pn_ip *client, int64_t wait_ms,
                       int64_t times);

#endif
