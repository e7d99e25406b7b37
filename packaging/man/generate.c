/*
 * generate.c - writes what is made of the option table: sample files and manual pages.
 *
 *   generate sample|domain-sample|man|domain-man
 */
#include "postern/conf/conf.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*write)(struct pn_buf *out);
} documents[] = {
    {"sample", conf_write_sample},
    {"domain-sample", conf_write_domain_sample},
    {"man", conf_write_man},
    {"domain-man", conf_write_domain_man},
};

int main(int argc, char **argv)
{
    struct pn_buf out;
    int status = 2;

    pn_buf_init(&out, (size_t)1024 * 1024);
    for (size_t i = 0; argc == 2 && i < sizeof documents / sizeof *documents; i++) {
        if (strcmp(argv[1], documents[i].name) == 0) {
            status = documents[i].write(&out) == 0 &&
                             fwrite(pn_buf_str(&out).ptr, 1, out.len, stdout) == out.len &&
                             fflush(stdout) == 0
                         ? 0
                         : 1;
        }
    }
    if (status == 2) {
        (void)fprintf(stderr, "usage: generate sample|domain-sample|man|domain-man\n");
    }
    pn_buf_fini(&out);
    return status;
}
