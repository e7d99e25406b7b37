"""Real mails and made extremes through the relay, to primaries that are down at first.

What arrives differs from what was sent by the trace header alone, or was refused at SMTP
time with the right code: once in DATA to a real Postfix that takes BDAT, once in BDAT to
a server that takes DATA and keeps the very octets.
"""

import collections
import random
import re
import shutil

import pytest

from conftest import domain
from harness import CORPUS, PostfixPrimary, Raw, Relay, digest, wait_for, wire, without_trace

OURS = "example.org"


class Sender:
    """Sends octets as they are, one session; says what the final answer was."""

    def __init__(self, port, bdat=None):
        self.client = Raw(port, timeout=60).__enter__()
        self.bdat = bdat  # the size of a chunk; None: DATA
        assert self.client.say("EHLO client.example.net").startswith("250")

    def send(self, text, recipient):
        assert self.client.say("MAIL FROM:<sender@example.net> BODY=8BITMIME").startswith("250")
        assert self.client.say(f"RCPT TO:<{recipient}@{OURS}>").startswith("250")
        return self.send_chunks(text) if self.bdat else self.send_data(text)

    def send_data(self, text):
        reply = self.client.say("DATA")
        assert reply.startswith("354"), reply
        self.client.send(re.sub(rb"\r\n\.", b"\r\n..", b"\r\n" + text)[2:] + b".\r\n")
        return self.client.reply()

    def send_chunks(self, text):
        for start in range(0, len(text), self.bdat):
            chunk = text[start:start + self.bdat]
            last = b" LAST" if start + self.bdat >= len(text) else b""
            self.client.send(b"BDAT %d%s\r\n" % (len(chunk), last) + chunk)
            reply = self.client.reply()
            if not reply.startswith("250"):
                break
        return reply


HEAD = b"From: a@example.net\r\nSubject: extreme\r\n"


def extremes():
    """Mails that no real one stands for."""
    generator = random.Random(7)
    yield HEAD + b"\r\n" + b"x" * 3_000_000 + b"\r\n"
    yield HEAD + b"".join(b"X-Field-%d: value %d\r\n" % (n, n) for n in range(5000)) + b"\r\nbody\r\n"
    yield HEAD + b"\r\nNUL \0 in \0\0 the body\r\n"
    yield HEAD + b"\r\n" + bytes(range(128, 256)) * 50 + b"\r\n"
    yield HEAD + b"\r\n" + b".\r\n..\r\n...\r\n.a\r\n" * 300
    yield HEAD + b"\r\n" + b"." * 5000 + b"\r\n"
    yield HEAD + b"\r\n"
    yield b"\r\nno header at all\r\n"
    yield b"".join(b"X%d: " % n + b"y" * 990 + b"\r\n " + b"z" * 900 + b"\r\n" for n in range(200)) + b"\r\nfolded\r\n"
    yield HEAD + b"\r\n" + b"\r\n" * 20000
    yield HEAD + b"\r\n" + bytes(generator.choices([c for c in range(256) if c not in b"\r\n"], k=500_000)) + b"\r\n"


def fifty_megabytes():
    generator = random.Random(8)
    lines = [bytes(generator.choices(range(33, 127), k=70)) for _ in range(7000)]
    return HEAD + b"\r\n" + (b"\r\n".join(lines) + b"\r\n") * 104


BAD = [
    b"From: a@example.net\r\nSubject: bare LF\r\n\r\none\ntwo\r\n",
    b"From: a@example.net\r\nSubject: bare CR\r\n\r\none\rtwo\r\n",
    b"From: a@example.net\nSubject: all LF\n\ntext\n\r\n",
    b"From: a\r@example.net\r\n\r\nbare CR in the header\r\n",
    b"From: a@example.net\r\n\r\n" + b"\0\n" * 100 + b"\r\n",
]


def corpus():
    if not CORPUS.is_dir():
        return []
    return [path.read_bytes() for path in sorted(CORPUS.rglob("*.eml"))]


def hops(text):
    return len(re.findall(rb"(?im)^received:", text.split(b"\r\n\r\n")[0]))


def send_all(sender, texts):
    """Returns what was taken. Each mail is refused for its many hops alone."""
    sent = []
    for number, text in enumerate(texts):
        reply = sender.send(text, f"user{number}")
        if hops(text) > 50:
            assert reply.startswith("554 5.4.6"), reply
        else:
            assert reply.startswith("250"), (number, reply, text[:200])
            sent.append(text)
    return sent


def send_bad(sender):
    """What has a CR or LF alone is refused, and the session goes on. Returns how many."""
    bare = [raw if raw.endswith(b"\r\n") else raw + b"\r\n" for raw in corpus()
            if re.search(rb"\r(?!\n)|(?<!\r)\n", raw)]
    for text in BAD + bare:
        reply = sender.send(text, "user")
        assert reply.startswith("550 5.6.11"), (reply, text[:200])
    return len(BAD + bare)




@pytest.mark.skipif(not shutil.which("postfix"), reason="Postfix is not installed")
def test_everything_arrives_at_postfix_as_it_was_sent(tmp_path):
    primary = PostfixPrimary(tmp_path / "postfix", OURS)
    relay = Relay(tmp_path / "relay", options={"message_size": '"60M"'}, domains={OURS: domain(primary.port)})
    with relay:
        sender = Sender(relay.port)
        sent = send_all(sender, [wire(raw) for raw in corpus()] + list(extremes()) + [fifty_megabytes()])
        refused = send_bad(sender)
        too_big = sender.send(HEAD + b"\r\n" + b"z" * (61 << 20) + b"\r\n", "user")
        assert too_big.startswith("552 5.3.4"), too_big
        assert relay.queued() == len(sent)
        with primary:
            wait_for(lambda: primary.count() >= len(sent), "all arrive", 120)
            arrived = [body_of(octets) for octets in primary.messages()]
            wait_for(lambda: relay.queued() == 0, "the queue is empty")
            expected = collections.Counter(digest(text.replace(b"\r\n", b"\n")) for text in sent)
            odd = expected - collections.Counter(map(digest, arrived))
            odd_sent = [text for text in sent if digest(text.replace(b"\r\n", b"\n")) in odd]
            direct = stored_when_sent_directly(primary, odd_sent)
    assert len(arrived) == len(sent)
    plain = [digest(text.replace(b"\r\n", b"\n")) for text in sent if text not in odd_sent]
    assert collections.Counter(map(digest, arrived)) == collections.Counter(plain + direct)
    print(f"{len(sent)} arrived as sent ({len(direct)} of them as Postfix itself rewrites them), {refused} refused")


def stored_when_sent_directly(primary, texts):
    """Postfix mends what is no header (a "From " line, a space before a colon). What it
    makes of a mail is what it makes of it when the client itself sends it, with such a
    trace field before it."""
    before = primary.count()
    sender = Sender(primary.port)
    for text in texts:
        trace = b"Received: from x (x [192.0.2.1]) by backup.example.net (Postern) with ESMTP;\r\n\tdate\r\n"
        assert sender.send(trace + text, "direct").startswith("250")
    wait_for(lambda: primary.count() >= before + len(texts), "those sent directly are stored")
    stored = [octets for octets in primary.messages() if b"X-Original-To: direct@" in octets[:200]]
    return [digest(body_of(octets)) for octets in stored]


def body_of(octets):
    """Takes off what Postfix's delivery and the relay put in front."""
    while True:
        match = re.match(rb"(Return-Path|X-Original-To|Delivered-To|Received): [^\n]*(\n[ \t][^\n]*)*\n", octets)
        assert match, octets[:300]
        octets = octets[match.end():]
        if b"by backup.example.net (Postern)" in match.group(0):
            return octets


def test_everything_arrives_octet_for_octet(relay, primary):
    sender = Sender(relay.port, bdat=7001)
    sent = send_all(sender, [wire(raw) for raw in corpus()] + list(extremes()))
    primary.start()
    wait_for(lambda: primary.count() >= len(sent), "all arrive", 120)
    wait_for(lambda: relay.queued() == 0, "the queue is empty")
    arrived = collections.Counter(digest(without_trace(octets)) for _, _, octets in primary.messages)
    assert arrived == collections.Counter(map(digest, sent))
