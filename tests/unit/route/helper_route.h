/*
 * helper_route.h - configurations for plans and choices, and a DNS written as text.
 */
#ifndef HELPER_ROUTE_H
#define HELPER_ROUTE_H

#include "postern/conf/conf.h"
#include "postern/route/plan.h"

/* postern.conf with our name mx2.example.net, a listener on port 25, and more of it. */
struct conf *helper_conf(const char *more);
struct conf_domain *helper_domain(const char *name, const char *text, const struct conf *conf);

/*
 * Answers the plan's questions from `dns`, and takes every host for one that is of no use.
 * dns has "name TYPE[!] data" items with "; " between them; "!": validated. Data is "fail",
 * "nx", or "10 mx1.example.net, 20 mx2.example.net", "192.0.2.1, 192.0.2.2",
 * ">canonical 192.0.2.1", "3 1 1 32" (32 octets), and for STS "enforce *.example.net".
 * Out comes a line for each step; the caller frees.
 */
char *helper_run(const struct route_plan_input *input, const char *dns);

#endif
