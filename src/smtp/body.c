/*
 * smtp/body.c - unstuffing and stuffing the text of a message.
 *
 * Both directions share one idea: a run of octets without surprises is taken in one piece,
 * found with memchr; only what needs thought (a dot at the start of a line, a CR or LF that
 * is not half of a CR LF, the end of the data) goes through a small state machine, one
 * octet at a time. A clean text without leading dots passes as the very octets the caller
 * fed, without a copy.
 *
 * A run is searched in windows: else text made of CR or LF alone would be searched to its
 * end again for each octet.
 */
#include "postern/smtp/body.h"

#include "postern/base/assert.h"

#include <string.h>

#define WINDOW 512

enum {
    START,  /* at the start of a line: behind CR LF, or at the beginning */
    MENDED, /* at the start of a line that only we see: a dot is no special octet here */
    MIDDLE,
    CR,     /* a CR is withheld: LF must follow */
    DOT,    /* at the start of a line a dot is withheld */
    DOT_CR, /* and a CR behind it */
    ENDED,
};

static const struct pn_str crlf = {"\r\n", 2};

/*
 * The octets at the front of data, seen from *state, that are whole lines and parts of
 * lines without surprises. Stops before a dot that starts a line (when dots is set), before
 * a line feed without CR, and before a CR behind which no line feed is at hand.
 */
static size_t clean_run(struct pn_str data, bool dots, int *state)
{
    size_t at = 0;

    while (at < data.len && !(dots && *state == START && data.ptr[at] == '.')) {
        size_t window = data.len - at < WINDOW ? data.len - at : WINDOW;
        const char *cr = memchr(data.ptr + at, '\r', window);
        size_t end = cr ? (size_t)(cr - data.ptr) : at + window;
        const char *lf = memchr(data.ptr + at, '\n', end - at);
        bool pair = cr && !lf && end + 1 < data.len && data.ptr[end + 1] == '\n';

        end = lf ? (size_t)(lf - data.ptr) : end;
        if (end > at) {
            *state = MIDDLE;
        }
        at = end;
        if (pair) {
            *state = START;
            at += 2;
        } else if (lf || cr) {
            break;
        }
    }
    return at;
}

void smtp_decoder_init(struct smtp_decoder *decoder, bool dots, bool mend, uint64_t max_octets)
{
    *decoder = (struct smtp_decoder){
        .state = START, .dots = dots, .mend = mend, .max_octets = max_octets};
}

/* Counts what goes out, and cuts off what is not wanted any more. */
static bool emit(struct smtp_decoder *decoder, struct pn_str text, struct pn_str *out_text)
{
    uint64_t room = decoder->out_octets < decoder->max_octets
                        ? decoder->max_octets - decoder->out_octets
                        : 0;

    decoder->out_octets += text.len;
    if (text.len > room) {
        decoder->too_long = true;
        text.len = (size_t)room;
    }
    *out_text = text;
    return text.len > 0 && (decoder->mend || !decoder->bare_newline);
}

static bool mend(struct smtp_decoder *decoder, struct pn_str *out_text)
{
    decoder->text_octets++;
    decoder->bare_newline = true;
    decoder->state = MENDED;
    return emit(decoder, crlf, out_text);
}

/* One octet from START, MENDED or MIDDLE that clean_run stopped at. */
static bool open_step(struct smtp_decoder *decoder, char octet, struct pn_str *out_text)
{
    if (octet == '\n') {
        return mend(decoder, out_text);
    }
    decoder->state = octet == '\r' ? CR : DOT;
    return false;
}

/*
 * Moves over one octet that needs thought, or not at all: then it is looked at again in
 * the new state. Returns true when there is text.
 */
static bool step(struct smtp_decoder *decoder, struct pn_str *data, struct pn_str *out_text)
{
    char octet = data->ptr[0];
    bool text = false;
    bool taken = true;

    switch (decoder->state) {
    case CR:
        if (octet == '\n') {
            decoder->text_octets += crlf.len;
            decoder->state = START;
            text = emit(decoder, crlf, out_text);
        } else {
            taken = false;
            text = mend(decoder, out_text);
        }
        break;
    case DOT:
        taken = octet == '\r';
        decoder->state = taken ? DOT_CR : MIDDLE;
        break;
    case DOT_CR:
        if (octet == '\n') {
            decoder->state = ENDED;
        } else {
            taken = false;
            text = mend(decoder, out_text);
        }
        break;
    default:
        text = open_step(decoder, octet, out_text);
        break;
    }
    *data = pn_str_sub(*data, taken, data->len);
    return text;
}

enum smtp_body_result smtp_decoder_next(struct smtp_decoder *decoder, struct pn_str *data,
                                        struct pn_str *out_text)
{
    while (decoder->state != ENDED) {
        size_t run = 0;

        if (data->len == 0) {
            return SMTP_BODY_MORE;
        }
        if (decoder->state <= MIDDLE) {
            run = clean_run(*data, decoder->dots, &decoder->state);
        }
        if (run > 0) {
            struct pn_str text = pn_str_sub(*data, 0, run);

            *data = pn_str_sub(*data, run, data->len);
            decoder->text_octets += run;
            if (emit(decoder, text, out_text)) {
                return SMTP_BODY_TEXT;
            }
        } else if (step(decoder, data, out_text)) {
            return SMTP_BODY_TEXT;
        }
    }
    return SMTP_BODY_END;
}

bool smtp_decoder_finish(struct smtp_decoder *decoder, struct pn_str *out_text)
{
    bool text = false;

    if (decoder->state == CR) {
        text = mend(decoder, out_text);
    } else if (decoder->state == MIDDLE) {
        text = emit(decoder, crlf, out_text);
    }
    decoder->state = ENDED;
    return text;
}

bool smtp_decoder_ended(const struct smtp_decoder *decoder)
{
    return decoder->state == ENDED;
}

void smtp_stuffer_init(struct smtp_stuffer *stuffer)
{
    stuffer->state = START;
}

static bool append_whole(struct pn_buf *out, struct pn_str text)
{
    return pn_buf_append(out, text) == 0;
}

/*
 * Writes what a withheld CR, a lone line feed or a dot at the start of a line becomes.
 * Returns false when out is full; then nothing has changed.
 */
static bool stuff_step(struct smtp_stuffer *stuffer, char octet, struct pn_buf *out,
                       size_t *taken)
{
    *taken = 0;
    if (stuffer->state == CR) {
        if (!append_whole(out, crlf)) {
            return false;
        }
        *taken = octet == '\n';
        stuffer->state = START;
    } else if (octet == '\r') {
        *taken = 1;
        stuffer->state = CR;
    } else if (octet == '\n') {
        if (!append_whole(out, crlf)) {
            return false;
        }
        *taken = 1;
        stuffer->state = START;
    } else {
        if (!append_whole(out, PN_STR(".."))) {
            return false;
        }
        *taken = 1;
        stuffer->state = MIDDLE;
    }
    return true;
}

size_t smtp_stuffer_feed(struct smtp_stuffer *stuffer, struct pn_str text, struct pn_buf *out)
{
    size_t at = 0;

    while (at < text.len) {
        struct pn_str rest = pn_str_sub(text, at, pn_buf_room(out));
        int before = stuffer->state;
        size_t taken = before == CR ? 0 : clean_run(rest, true, &stuffer->state);

        if (taken > 0) {
            pn_assert(pn_buf_append(out, pn_str_sub(rest, 0, taken)) == 0);
        } else if (!stuff_step(stuffer, text.ptr[at], out, &taken)) {
            break;
        }
        at += taken;
    }
    return at;
}

int smtp_stuffer_finish(struct smtp_stuffer *stuffer, struct pn_buf *out)
{
    struct pn_str end = stuffer->state == START ? PN_STR(".\r\n") : PN_STR("\r\n.\r\n");
    int result = pn_buf_append(out, end);

    if (result == 0) {
        stuffer->state = ENDED;
    }
    return result;
}
