"""The primary is up: its verdicts reach the client live, and nothing is spooled."""

import collections
import re
import smtplib
import threading

import pytest

from conftest import domain
from harness import PostfixPrimary, Primary, Relay, wait_for
from proxy import FAULTS, STEPS, Proxy

OURS = "example.org"


def through(port, **options):
    # By name: a client at the target's own address is never passed through to it.
    settings = domain(port, recipients="{call-ahead}", when_up="pass-through", **options)
    settings["target"] = f'{{"localhost:{port}"}}'
    return settings


def until_up(relay):
    """Mail goes through as soon as the primary is known to be up, without a message of ours
    for it: a message that waited for its first contact would put it on parole."""
    wait_for(lambda: any(d["state"] == "up" for d in relay.status()["destinations"]), "the primary is up")


def send(relay, subject, to=("anna@example.org",), body=b"y"):
    client = relay.smtp()
    try:
        text = b"Subject: " + subject.encode() + b"\r\n\r\n" + body + b"\r\n"
        return client.sendmail("sender@example.net", list(to), text)
    finally:
        client.close()


def stored(relay):
    return relay.log().count("message.stored")


def test_verdicts_of_a_real_postfix_reach_the_client(tmp_path):
    primary = PostfixPrimary(tmp_path / "postfix", OURS, extra={
        "virtual_mailbox_maps": "inline:{ {anna@example.org=all/}, {bert@example.org=all/} }",
        "header_checks": "regexp:{ {/^Subject: forbidden/ REJECT not this one} }"})
    with primary, Relay(tmp_path / "relay", domains={OURS: through(primary.port)}) as relay:
        until_up(relay)
        before, spooled = primary.count(), stored(relay)
        send(relay, "one")
        wait_for(lambda: primary.count() == before + 1, "it is there")
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            send(relay, "two", to=["nobody@example.org"])
        assert refused.value.recipients["nobody@example.org"][0] == 550
        with pytest.raises(smtplib.SMTPDataError) as refused:
            send(relay, "forbidden")
        assert refused.value.smtp_code == 550 and b"not this one" in refused.value.smtp_error
        assert stored(relay) == spooled and relay.queued() == 0
        big = b"\r\n".join(b"z" * 70 for _ in range(20000))
        send(relay, "big", body=big)
        wait_for(lambda: primary.count() == before + 2, "a large one too")
        assert relay.queued() == 0


class Dying(Primary):
    """Takes the connection down at a chosen point of the next transaction."""

    point = None

    async def handle_MAIL(self, server, session, envelope, address, options):
        if self.point == "MAIL":
            server.transport.abort()
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 ok"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if self.point == "RCPT":
            server.transport.abort()
        if not address.startswith("anna"):
            return "550 5.1.1 no such user"
        return await super().handle_RCPT(server, session, envelope, address, rcpt_options)

    async def handle_DATA(self, server, session, envelope):
        if self.point == "before the end":
            server.transport.abort()
            return "250 never seen"
        reply = await super().handle_DATA(server, session, envelope)
        if self.point == "after the end":
            server.transport.abort()
        return reply


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "before the end", "after the end"])
def test_a_primary_that_dies_costs_nothing(tmp_path, point):
    primary = Dying().start()
    options = {"final_timeout": "10s"}
    with Relay(tmp_path, options=options, domains={OURS: through(primary.port)}) as relay:
        until_up(relay)
        send(relay, "the first")  # and so its recipient is known
        before = primary.count()
        primary.point = point
        send(relay, "precious")  # answered 250, by whom ever
        primary.point = None
        wait_for(lambda: sum(b"precious" in m[2] for m in primary.messages) >= 1, "it arrives")
        copies = sum(b"precious" in m[2] for m in primary.messages)
        wait_for(lambda: relay.queued() == 0, "nothing is left", 90)
        copies = sum(b"precious" in m[2] for m in primary.messages)
        assert copies == 1 or point in ("after the end", "before the end")
        assert before >= 0 and copies <= 2
    primary.stop()


@pytest.mark.parametrize("point", ["before the end", "after the end"])
def test_a_long_message_is_whole_when_its_primary_dies(tmp_path, point):
    primary = Dying().start()
    with Relay(tmp_path, options={"final_timeout": "10s"}, domains={OURS: through(primary.port)}) as relay:
        until_up(relay)
        send(relay, "the first")
        body = b"\r\n".join(b"%07d %s" % (n, b"z" * 60) for n in range(40000))
        primary.point = point
        send(relay, "precious", body=body)
        wait_for(lambda: relay.log().count("message.taken-over") == 1, "it is logged")
        primary.point = None

        def whole():
            found = [m[2] for m in primary.messages if b"precious" in m[2][:2000]]
            return len(found) > (point == "after the end") and found
        for octets in wait_for(whole, "it arrives", 90):
            assert octets.endswith(b"\r\n\r\n" + body + b"\r\n")
        wait_for(lambda: relay.queued() == 0, "nothing is left", 90)
    primary.stop()


def test_a_primary_that_is_down_means_hold(tmp_path):
    primary = Dying().start()
    with Relay(tmp_path, domains={OURS: through(primary.port)}) as relay:
        until_up(relay)
        send(relay, "the first")
        primary.stop()
        for number in range(5):
            send(relay, f"held {number}")
        assert relay.queued() == 5
        primary.start()
        wait_for(lambda: sum(b"held" in m[2] for m in primary.messages) == 5, "delivered")
    primary.stop()


def test_defer_sends_clients_to_the_primary_and_lets_the_persistent_in(tmp_path):
    primary = Primary().start()
    settings = through(primary.port)
    settings.update(recipients="{any}", when_up="defer", defer_wait='"10s"', defer_times="1")
    with Relay(tmp_path, domains={OURS: settings}) as relay:
        def code():
            client = relay.smtp()
            client.mail("s@example.net")
            found = client.rcpt(f"anna@{OURS}")[0]
            client.quit()
            return found
        until_up(relay)
        assert code() == 451
        wait_for(lambda: code() == 250, "let in after it came back", 40, 1)
    primary.stop()


CASES = [(step, kind) for step in STEPS for kind in FAULTS[step]]
TAKEN = {("END", "unsaid"), ("END", "half"), ("END", "late")}  # the primary has it, and we do not know


def deliver_through(relay, number, proxy, results):
    """One mail through a primary that fails at one step; what the client was told."""
    step, kind = CASES[number]
    sender, subject = f"sender{number}@example.net", f"step-{number}-{step}-{kind}"
    try:
        client = relay.smtp(timeout=120)
        proxy.arm(step, kind, sender)
        codes = [client.mail(sender)[0], client.rcpt(f"anna@s{number}.example")[0]]
        if codes[-1] == 250:
            text = f"Subject: {subject}\r\n\r\n" + ("x" * 70 + "\r\n") * 40
            codes.append(client.data(text.encode())[0])
        codes.append(client.noop()[0])  # an answer too many would be found here
        codes.append(client.quit()[0])
        results[number] = codes
    except Exception as error:  # the thread's result, judged by the test
        results[number] = repr(error)


def test_no_step_and_no_delay_costs_a_message(tmp_path):
    """The primary is killed at every step of the protocol, and each of its replies comes too
    late: every mail is acknowledged once and arrives; twice only if it was in doubt."""
    names = [f"s{number}.example" for number in range(len(CASES))]
    primary = PostfixPrimary(tmp_path / "postfix", " ".join(names), extra={
        "smtpd_client_connection_rate_limit": "0", "smtpd_timeout": "300s"})
    options = {"reply_timeout": '"5s"', "final_timeout": '"10s"'}
    with primary:
        proxies = [Proxy(primary.port).start() for _ in CASES]
        domains = {}
        for name, proxy in zip(names, proxies):
            domains[name] = domain(proxy.port, recipients="{any}", when_up="pass-through", call_ahead_wait='"3s"')
            domains[name]["target"] = f'{{"localhost:{proxy.port}"}}'
        with Relay(tmp_path / "relay", options=options, domains=domains) as relay:
            wait_for(lambda: [d["state"] for d in relay.status()["destinations"]] == ["up"] * len(CASES),
                     "all are up")
            results = {}
            threads = [threading.Thread(target=deliver_through, args=(relay, number, proxy, results))
                       for number, proxy in enumerate(proxies)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for number, case in enumerate(CASES):
                assert results[number] == [250, 250, 250, 250, 221], (case, results[number])
                assert proxies[number].happened, case
            wait_for(lambda: relay.queued() == 0, "nothing is left", 120)
            log = relay.log()
            found = collections.Counter(
                int(n) for text in primary.messages() for n in re.findall(rb"^Subject: step-(\d+)-", text, re.M))
            for number, case in enumerate(CASES):
                acknowledged = re.findall(rf"message\.(?:stored|passed) .* to=anna@s{number}\.example ", log)
                assert len(acknowledged) == 1, (case, acknowledged)
                assert 1 <= found[number] <= (2 if case in TAKEN else 1), (case, found[number])
            assert "parked" not in {row["state"] for row in relay.messages(parked="true")}
        for proxy in proxies:
            proxy.stop()
