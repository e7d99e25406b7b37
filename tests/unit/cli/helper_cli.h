/*
 * One run of the tool against answers that were written beforehand.
 */
#ifndef POSTERN_TESTS_CLI_HELPER_H
#define POSTERN_TESTS_CLI_HELPER_H

#include "cli_priv.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

struct answer {
    unsigned status; /* 0: the call fails with code */
    const char *body;
    int code;
};

struct run {
    const struct answer *answers; /* the last one is given again and again */
    size_t answer_count;
    bool terminal;
    size_t width;
    bool colour;
    unsigned pauses; /* before the user leaves; 0: never */
    /* what came of it: */
    int status;
    char *out, *err;
    char requests[4096]; /* "METHOD path body\n" of each */
    size_t request_count;
};

/* words: the command line without the program, blank separated. */
void run_init(struct run *run);
void run_words(struct run *run, const char *words);
void run_fini(struct run *run);

#endif
