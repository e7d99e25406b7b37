"""The main job: mail for a dead primary is kept, and handed over when it is back."""

import concurrent.futures
import random
import threading

from conftest import domain
from harness import Primary, Raw, Relay, free_port, wait_for, without_trace


def send(relay, number, body=b"text", recipients=("user@example.org",)):
    message = b"Subject: %d\r\nMessage-Id: <%d@example.net>\r\n\r\n%s\r\n" % (number, number, body)
    client = relay.smtp()
    client.sendmail("sender@example.net", list(recipients), message)
    client.quit()
    return message


def test_mail_for_a_dead_primary_is_kept_and_arrives(relay, primary):
    sent = [send(relay, n) for n in range(10)]
    assert relay.queued() == 10
    primary.start()
    wait_for(lambda: primary.count() == 10, "all ten arrive")
    assert sorted(without_trace(m[2]) for m in primary.messages) == sorted(sent)
    wait_for(lambda: relay.queued() == 0, "the queue is empty")


def send_many(relay, count, sessions=4):
    """Small messages, many in each session, without waiting for the replies in between."""
    def session(first):
        with Raw(relay.port, timeout=60) as client:
            client.say("EHLO client.example.net")
            for number in range(first, count, sessions):
                client.send(b"MAIL FROM:<sender@example.net>\r\nRCPT TO:<user%d@example.org>\r\nDATA\r\n" % number)
                text = b"Subject: %d\r\n\r\n%s\r\n" % (number, b"x" * 200)
                assert [client.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
                client.send(text + b".\r\n")
                assert client.reply().startswith("250")

    with concurrent.futures.ThreadPoolExecutor(sessions) as pool:
        list(pool.map(session, range(sessions)))


def test_ten_thousand_held_and_the_first_within_six_seconds_of_the_ports_opening(tmp_path, primary):
    # All as it comes out of the box.
    with Relay(tmp_path, options={"probe_min": None}, domains={"example.org": domain(primary.port)}) as relay:
        send_many(relay, 10_000)
        assert relay.queued() == 10_000
        [destination] = relay.status()["destinations"]
        assert destination["state"] == "down" and destination["next_probe_s"] <= 6
        wait_for(lambda: relay.status()["destinations"][0]["probes"] >= 2, "it was asked again, and is down")
        primary.start()
        wait_for(lambda: primary.count() >= 1, "the first arrives")
        assert primary.arrivals[0] - primary.opened < 6
        # No message waits for a time of its own: the shortest retry time is five minutes.
        wait_for(lambda: primary.count() >= 10_000, "all arrive", 120)
        wait_for(lambda: relay.queued() == 0, "the queue is empty")
        assert len({recipients[0] for _, recipients, _ in primary.messages}) == primary.count() == 10_000


def test_kill_9_loses_nothing(relay, primary):
    sent = [send(relay, n) for n in range(20)]
    relay.kill()
    relay.start()
    assert relay.queued() == 20
    primary.start()
    wait_for(lambda: primary.count() >= 20, "all twenty arrive")
    assert sorted(set(without_trace(m[2]) for m in primary.messages)) == sorted(sent)


def test_each_recipient_has_its_own_fate(relay, primary):
    primary.refuse = {"bad@example.org": "550 5.1.1 no such user", "later@example.org": "451 4.2.0 not now"}
    send(relay, 1, recipients=["good@example.org", "bad@example.org", "later@example.org"])
    primary.start()
    wait_for(lambda: primary.count() == 1, "the good one gets it")
    assert primary.messages[0][1] == ["good@example.org"]
    wait_for(lambda: relay.status()["queue"]["parked"] == 1, "the refused one is parked")
    rows = relay.messages(parked="true")
    assert "no such user" in rows[0]["last_reply"]
    waiting = relay.messages()
    assert [r["recipients"] for r in waiting] == [["later@example.org"]]
    primary.refuse = {}
    relay.cli("flush", "example.org")
    wait_for(lambda: primary.count() == 2, "a flush does not wait for the retry time")
    assert primary.messages[1][1] == ["later@example.org"]


def test_the_disk_gets_back_what_was_delivered(tmp_path, primary):
    """Bodies lie in files; a mail that stays for long must not keep what lay beside it."""
    def taken():
        return sum(path.stat().st_blocks * 512 for path in (relay.spool / "spool").glob("*.values"))

    with Relay(tmp_path, options={"write_buffer": '"4M"'}, domains={"example.org": domain(primary.port)}) as relay:
        sent = [send(relay, n, random.Random(n).randbytes(200_000).hex().encode(),
                     ["late@example.org" if n % 10 == 5 else "user@example.org"]) for n in range(60)]
        assert taken() > 60 * 400_000
        primary.refuse = {"late@example.org": "451 4.2.0 not now"}
        primary.start()
        wait_for(lambda: primary.count() == 54 and relay.queued() == 6, "all but six arrive")
        # Six are left, with whole blocks around them; and the file that is written.
        wait_for(lambda: taken() < 6 * 410_000 + (5 << 20), "the disk has its space back")
        relay.stop()
        relay.start()
        wait_for(lambda: taken() < 6 * 410_000 + (1 << 20), "nothing is written to the last file any more")
        primary.refuse = {}
        relay.cli("flush", "example.org")
        wait_for(lambda: primary.count() == 60, "the six arrive")
        assert sorted(without_trace(m[2]) for m in primary.messages) == sorted(sent)
        wait_for(lambda: taken() == 0, "no file is left")


def test_flush_wait_ends_when_the_queue_is_empty(relay, primary):
    for n in range(30):
        send(relay, n)
    primary.start()
    done = relay.cli("flush", "example.org", "--wait")
    assert primary.count() == 30 and relay.queued() == 0
    assert done.returncode == 0


def test_domains_added_and_removed_while_running(tmp_path):
    with Primary() as primary, Relay(tmp_path) as relay:
        client = relay.smtp()
        client.mail("a@example.net")
        assert client.rcpt("b@added.example")[0] == 550
        client.rset()
        relay.cli("domain", "add", "added.example", "--target", f"127.0.0.1:{primary.port}",
                  "--recipients", "any", "--when-up", "accept")
        client.sendmail("a@example.net", ["b@added.example"], b"Subject: x\r\n\r\ny\r\n")
        wait_for(lambda: primary.count() == 1, "delivered")
        relay.cli("domain", "remove", "added.example")
        client.mail("a@example.net")
        wait_for(lambda: client.rcpt("b@added.example")[0] == 550, "removed")
        client.quit()


def test_a_changed_file_takes_effect_by_itself_and_a_broken_one_keeps_the_last_good(tmp_path, primary):
    port = free_port()
    with Relay(tmp_path, domains={"example.org": domain(port)}) as relay:
        relay.write_domain("example.org", {"target": "{", "recipients": "{any}"})
        broken = wait_for(lambda: relay.status()["broken"], "the broken file is shown")
        assert broken[0]["name"] == "example.org" and broken[0]["in_force"] is True
        send(relay, 1)
        relay.write_domain("example.org", domain(primary.start().port))
        wait_for(lambda: not relay.status()["broken"], "mended")
        wait_for(lambda: primary.count() == 1, "and delivered to the new target")


def test_stop_under_load_loses_nothing(tmp_path, primary):
    relay = Relay(tmp_path, domains={"example.org": domain(primary.port)}).start()
    taken, lock, ends = [], threading.Lock(), threading.Event()

    def client(base):
        number = base
        while not ends.is_set():
            number += 1
            try:
                message = send(relay, number)
            except Exception:  # 421, or the connection is gone: not taken
                continue
            with lock:
                taken.append(message)

    threads = [threading.Thread(target=client, args=(1000 * n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(taken) > 50, "some were taken")
    assert relay.stop() == 0
    ends.set()
    for thread in threads:
        thread.join()
    with relay:
        primary.start()
        wait_for(lambda: len({m[2] for m in primary.messages}) >= len(taken), "all that were taken arrive")
        arrived = {without_trace(m[2]) for m in primary.messages}
        assert set(taken) <= arrived
