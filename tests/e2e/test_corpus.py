"""Real mails and made extremes through the relay to a real Postfix, which is down at first.

What arrives differs from what was sent by the trace header alone, or was refused at SMTP
time with the right code.
"""

import random
import re
import shutil

import pytest

from conftest import domain
from harness import CORPUS, PostfixPrimary, Raw, Relay, digest, wait_for, wire

OURS = "example.org"


def stuffed(text):
    return re.sub(rb"(?m)^\.", b"..", text)


class Sender:
    """Sends octets as they are, one session; says what the final answer was."""

    def __init__(self, relay):
        self.relay = relay
        self.client = None

    def send(self, text, number):
        if not self.client:
            self.client = Raw(self.relay.port, timeout=60).__enter__()
            self.client.say("EHLO client.example.net")
        assert self.client.say("MAIL FROM:<sender@example.net> BODY=8BITMIME").startswith("250")
        assert self.client.say(f"RCPT TO:<user{number}@{OURS}>").startswith("250")
        assert self.client.say("DATA").startswith("354")
        self.client.send(re.sub(rb"\r\n\.", b"\r\n..", b"\r\n" + text)[2:] + b".\r\n")
        reply = self.client.reply()
        if reply.startswith("421") or not reply:
            self.client = None
        return reply


def extremes():
    """Mails that no real one stands for."""
    generator = random.Random(7)
    head = b"From: a@example.net\r\nSubject: extreme\r\n"
    yield head + b"\r\n" + b"\r\n".join(bytes(generator.choices(range(33, 127), k=70)) for _ in range(700000)) + b"\r\n"
    yield head + b"\r\n" + b"x" * 3_000_000 + b"\r\n"
    yield head + b"".join(b"X-Field-%d: value %d\r\n" % (n, n) for n in range(5000)) + b"\r\nbody\r\n"
    yield head + b"\r\nNUL \0 in \0\0 the body\r\n"
    yield head + b"\r\n" + bytes(range(128, 256)) * 50 + b"\r\n"
    yield head + b"\r\n" + b".\r\n..\r\n...\r\n.a\r\n" * 300
    yield head + b"\r\n"
    yield b"\r\nno header at all\r\n"
    yield b"".join(b"X%d: " % n + b"y" * 990 + b"\r\n " + b"z" * 900 + b"\r\n" for n in range(200)) + b"\r\nfolded\r\n"
    yield head + b"\r\n" + b"\r\n" * 20000


BAD = [
    b"From: a@example.net\r\nSubject: bare LF\r\n\r\none\ntwo\r\n",
    b"From: a@example.net\r\nSubject: bare CR\r\n\r\none\rtwo\r\n",
    b"From: a@example.net\nSubject: all LF\n\ntext\n\r\n",
    b"From: a\r@example.net\r\n\r\nbare CR in the header\r\n",
    b"From: a@example.net\r\n\r\n" + b"\0\n" * 100 + b"\r\n",
]


def corpus_files():
    if not CORPUS.is_dir():
        return []
    return sorted(p for p in CORPUS.rglob("*") if p.suffix == ".eml")


@pytest.mark.skipif(not shutil.which("postfix"), reason="Postfix is not installed")
def test_everything_arrives_as_it_was_sent(tmp_path):
    primary = PostfixPrimary(tmp_path / "postfix", OURS)
    relay = Relay(tmp_path / "relay", options={"message_size": '"60M"'}, domains={OURS: domain(primary.port)})
    sent, refused = [], 0
    with relay:
        sender = Sender(relay)
        mails = [wire(path.read_bytes()) for path in corpus_files()] + list(extremes())
        for number, text in enumerate(mails):
            reply = sender.send(text, number)
            hops = len(re.findall(rb"(?im)^received:", text.split(b"\r\n\r\n")[0]))
            if hops > 50:
                assert reply.startswith("554 5.4.6"), reply
                continue
            assert reply.startswith("250"), (number, reply, text[:200])
            sent.append(text)
        for text in BAD:
            reply = sender.send(text, 0)
            assert reply.startswith("550 5.6.11"), (reply, text[:100])
            refused += 1
        for path in corpus_files():
            raw = path.read_bytes()
            if re.search(rb"\r(?!\n)|(?<!\r)\n", raw):
                reply = sender.send(raw if raw.endswith(b"\r\n") else raw + b"\r\n", 0)
                assert reply.startswith("550 5.6.11"), (path, reply)
                refused += 1
        too_big = sender.send(b"Subject: big\r\n\r\n" + b"y" * 70 + b"\r\n" + b"z" * (61 << 20) + b"\r\n", 0)
        assert too_big.startswith("552 5.3.4"), too_big
        assert relay.queued() == len(sent)
        with primary:
            wait_for(lambda: primary.count() >= len(sent), "all arrive", 120)
            arrived = primary.messages()
        wait_for(lambda: relay.queued() == 0, "the queue is empty")
    assert len(arrived) == len(sent)
    expected = {}
    for text in sent:
        key = digest(text.replace(b"\r\n", b"\n"))
        expected[key] = expected.get(key, 0) + 1
    for octets in arrived:
        key = digest(body_of(octets))
        assert expected.get(key, 0) > 0, octets[:600]
        expected[key] -= 1
    print(f"{len(sent)} arrived as sent, {refused} refused")


def body_of(octets):
    """Takes off what Postfix's delivery and the relay put in front."""
    while True:
        match = re.match(rb"(Return-Path|X-Original-To|Delivered-To|Received): [^\n]*(\n[ \t][^\n]*)*\n", octets)
        assert match, octets[:300]
        octets = octets[match.end():]
        if b"backup.example.net (Postern)" in match.group(0) and b"by backup" in match.group(0):
            return octets
