/*
 * daemon/domain_files_priv.h - the files of domains.d, and the table made of them.
 *
 * Each file is remembered by what the file system says of it (inode, size, time), so that
 * looking at all of them again reads only those that changed: a reload with 100,000 files
 * and one change costs a listing and one parse. A file with a mistake keeps its last good
 * definition in force, and the mistake is kept for status.
 */
#ifndef POSTERN_DAEMON_DOMAIN_FILES_PRIV_H
#define POSTERN_DAEMON_DOMAIN_FILES_PRIV_H

#include "postern/conf/conf.h"
#include "postern/domains/domains.h"
#include "postern/port/files.h"

struct daemon_domain_files;

struct daemon_domain_files *daemon_domain_files_new(struct files *files, const char *directory);
void daemon_domain_files_free(struct daemon_domain_files **domain_files);

/* What definitions are checked against. A change of it makes every file be read again. */
void daemon_domain_files_set(struct daemon_domain_files *domain_files, const struct conf *conf,
                             const struct pn_endpoint *own, size_t own_count);

/* The same settings in a new snapshot: nothing has to be read again. */
void daemon_domain_files_follow(struct daemon_domain_files *domain_files,
                                const struct conf *conf);

/* Looks at all files. False: the directory cannot be read (a mistake says why). */
bool daemon_domain_files_scan(struct daemon_domain_files *domain_files,
                              struct conf_mistakes *mistakes);
/* Looks at one entry of the directory, whatever it is. */
void daemon_domain_files_look(struct daemon_domain_files *domain_files, const char *entry,
                              struct conf_mistakes *mistakes);

/* The table that is in force now; borrowed, replaced by the next scan or look. */
struct domains *daemon_domain_files_table(struct daemon_domain_files *domain_files);

/* The index-th file with a mistake: its domain, the mistake, is an older version in force. */
bool daemon_domain_files_broken(const struct daemon_domain_files *domain_files, size_t index,
                                const char **out_name, const char **out_mistake,
                                bool *out_in_force);

/* Writes and removes DIRECTORY/NAME.conf. A text with a mistake is not written. */
bool daemon_domain_files_write(struct daemon_domain_files *domain_files, struct pn_str name,
                               struct pn_str text, struct conf_mistakes *mistakes);
int daemon_domain_files_remove(struct daemon_domain_files *domain_files, struct pn_str name,
                               struct pn_err *err);

#endif
