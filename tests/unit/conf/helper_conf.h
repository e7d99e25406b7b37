/*
 * helper_conf.h - parse a text, and compare what was said about it.
 */
#ifndef HELPER_CONF_H
#define HELPER_CONF_H

#include "postern/conf/conf.h"

/* A configuration file and the mistakes it has, each on a line: "f:1: text\n". */
struct helper_row {
    const char *name;
    const char *text;
    const char *said; /* "": none */
};

/* Parses text as postern.conf (domain NULL) or as that domain's file, and checks `said`. */
void helper_check(const struct helper_row *row, const char *domain);

/* These fail the test when there is any mistake or warning. */
struct conf *helper_conf(struct pn_str text);
struct conf_domain *helper_domain(const char *name, struct pn_str text);

/* Every mistake on a line of its own; the caller frees. */
char *helper_said(const struct conf_mistakes *mistakes);

/* A file below the project's directory; the caller frees ptr. */
struct pn_str helper_file(const char *path);

#endif
