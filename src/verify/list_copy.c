/*
 * verify/list_copy.c - a fetched list on disk, with what its source said about it.
 *
 * The copy is the list as it came and one comment line behind it: at the end, so that a list
 * of any length is written without being copied first. Copies are named by a hash of the
 * address, since an address may have what no file name can; the line repeats it in full.
 */
#include "list_priv.h"

#include "postern/base/assert.h"

#include <string.h>

#define MARK     "# postern-list 1\t"
#define MARK_MAX ((size_t)4096)

void verify_copy_path(const struct crypto *crypto, const char *directory, const char *url,
                      struct pn_buf *out)
{
    struct pn_str text = pn_str_z(url);
    uint8_t hash[CRYPTO_HASH_OCTETS];
    int status;

    crypto->ops->hash(&text, 1, hash);
    status = pn_buf_printf(out, "%s/", directory);
    for (size_t i = 0; i < sizeof hash && status == 0; i++) {
        status = pn_buf_printf(out, "%02x", hash[i]);
    }
    if (status == 0) {
        status = pn_buf_append(out, (struct pn_str){".list", sizeof ".list"}); /* and its NUL */
    }
    pn_assert(status == 0);
}

void verify_copy_write(const struct verify_copy *copy, const char *url, struct pn_buf *text)
{
    text->max += MARK_MAX;
    /* The values are printable ASCII of bounded length (port/http.h), the address 2048. */
    pn_assert(pn_buf_printf(text, "\n" MARK "%lld\t%s\t%s\t%s\n", (long long)copy->fetched.ms,
                            copy->etag, copy->modified, url) == 0);
}

static bool copy_value(struct pn_str value, char *out, size_t room)
{
    if (value.len >= room || pn_str_has_control(value) || !pn_str_is_ascii(value)) {
        return false;
    }
    memcpy(out, value.ptr, value.len);
    out[value.len] = '\0';
    return true;
}

bool verify_copy_read(struct pn_str text, const char *url, struct verify_copy *out)
{
    struct verify_copy copy = {0};
    struct pn_str line;
    uint64_t fetched = 0;

    if (text.len == 0 || text.ptr[text.len - 1] != '\n') {
        return false;
    }
    text.len--;
    line = text;
    if (pn_str_rfind(text, '\n') < text.len) {
        line = pn_str_sub(text, pn_str_rfind(text, '\n') + 1, SIZE_MAX);
    }
    if (!pn_str_starts(line, PN_STR(MARK))) {
        return false;
    }
    line = pn_str_sub(line, sizeof MARK - 1, SIZE_MAX);
    if (!pn_str_to_u64(pn_str_cut(&line, '\t'), INT64_MAX, &fetched) ||
        !copy_value(pn_str_cut(&line, '\t'), copy.etag, sizeof copy.etag) ||
        !copy_value(pn_str_cut(&line, '\t'), copy.modified, sizeof copy.modified) ||
        !pn_str_eq(line, pn_str_z(url))) {
        return false;
    }
    copy.fetched.ms = (int64_t)fetched;
    *out = copy;
    return true;
}
