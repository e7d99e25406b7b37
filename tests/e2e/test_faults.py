"""Trouble that is not of our making: clocks that jump, a name server that is away, a primary that
freezes, a disk that is slow, memory that runs out. After each: nothing is lost, the log says what it
was, and where the cause goes away so does the trouble, without a restart.
"""

import pathlib
import re
import shutil
import time

import pytest

from conftest import domain
from harness import SANITIZED, Primary, Relay, wait_for
from peers import DNSMASQ, Dns, PrimaryProcess
from test_crash import Load, account

FAKETIME = next(iter(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


def send(relay, subject):
    client = relay.smtp()
    client.sendmail("a@example.net", ["b@example.org"], f"Subject: {subject}\r\n\r\ntext\r\n".encode())
    client.quit()


class Clock:
    """What the relay takes for the time of day; its monotonic clock is the real one."""

    def __init__(self, directory):
        self.path = pathlib.Path(directory) / "clock"
        self.set(0)

    def set(self, days):
        new = self.path.with_suffix(".new")
        new.write_text(f"{days:+d}d\n")
        new.rename(self.path)

    def wrap(self):
        return ["env", f"LD_PRELOAD={FAKETIME}", f"FAKETIME_TIMESTAMP_FILE={self.path}",
                "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"]


@pytest.mark.skipif(not FAKETIME or SANITIZED, reason="libfaketime is not installed, or a sanitizer wants to be first")
def test_clock_steps_neither_expire_nor_delay_mail(tmp_path):
    clock = Clock(tmp_path)
    primary = Primary()
    relay = Relay(tmp_path, domains={"example.org": domain(primary.port, hold='"1d"')}, wrap=clock.wrap())
    with relay:
        send(relay, "before")
        for days in (400, -400, 3, 0):
            clock.set(days)
            send(relay, f"at{days}")
            probes = relay.status()["destinations"][0]["probes"]
            wait_for(lambda: relay.status()["destinations"][0]["probes"] > probes, "it is still asked after")
        assert relay.queued() == 5
        # A start with a clock that is years ahead: everything seems old, and is tried before
        # anything is given up.
        clock.set(400)
        relay.kill()
        relay.start()
        primary.start()
        wait_for(lambda: primary.count() == 5, "all five arrive")
        wait_for(lambda: relay.queued() == 0, "the queue is empty")
        primary.stop()
    days = {line[:10] for line in relay.log().splitlines()}
    assert len(days) >= 4, f"the clock did not step: {days}"
    assert "expired" not in relay.log()


@pytest.mark.skipif(not FAKETIME or SANITIZED, reason="libfaketime is not installed, or a sanitizer wants to be first")
def test_mail_knows_when_it_was_tried(tmp_path):
    """A clock that was set back, a crash, and all that may be lost with it is lost."""
    clock = Clock(tmp_path)
    with Primary() as primary:
        relay = Relay(tmp_path, wrap=clock.wrap(),
                      domains={"example.org": domain(primary.port, retry_min='"10s"', retry_max='"10s"')})
        with relay:
            primary.refuse = {"b@example.org": "450 4.2.0 later"}
            send(relay, "told later")
            wait_for(lambda: relay.messages()[0]["attempts"] == 1, "it is tried")
            relay.kill()
            shutil.rmtree(relay.spool / "state")
            clock.set(-30)
            primary.refuse = {}
            relay.start()
            wait_for(lambda: primary.count() == 1, "it is tried again when it is due")


@pytest.mark.skipif(not pathlib.Path(DNSMASQ).exists(), reason="dnsmasq is not installed")
def test_a_name_server_that_is_away_only_delays(tmp_path):
    with Dns({"mail.example.org": "127.0.0.1"}) as dns, Primary() as primary:
        relay = Relay(tmp_path, options={"dns_servers": f'{{"127.0.0.1:{dns.port}"}}'},
                      domains={"example.org": domain(primary.port, target=f'{{"mail.example.org:{primary.port}"}}')})
        with relay:
            send(relay, "one")
            wait_for(lambda: relay.status()["destinations"][0]["state"] == "down", "the target cannot be found")
            assert "mail.example.org" in relay.status()["destinations"][0]["reason"]
            send(relay, "two")
            assert relay.queued() == 2 and primary.count() == 0
            dns.start()
            wait_for(lambda: primary.count() == 2, "both arrive")
            # Away again: what is known is used no longer than its time to live, and mail waits.
            dns.stop()
            send(relay, "three")
            dns.start()
            wait_for(lambda: primary.count() == 3, "the third arrives")
            wait_for(lambda: relay.queued() == 0, "the queue is empty")


def test_a_primary_that_freezes_in_mid_dialogue(tmp_path):
    with PrimaryProcess(tmp_path) as primary:
        relay = Relay(tmp_path, options={"reply_timeout": '"5s"', "final_timeout": '"10s"', "connect_timeout": '"2s"'},
                      domains={"example.org": domain(primary.port, sessions="2")})
        with relay, Load(relay, clients=3) as load:
            wait_for(lambda: len(primary.subjects()) >= 20, "mail flows")
            primary.freeze()
            wait_for(lambda: relay.status()["destinations"][0]["state"] == "down", "it is seen to be away")
            load.takes(20)  # and mail is taken all the while
            primary.thaw()
            load.end()
            wait_for(lambda: relay.queued() == 0, "everything is delivered", 120)
        subjects = primary.subjects()
    assert load.taken <= set(subjects)
    # Twice can only be what was under way in the two sessions when it froze.
    print(f"{len(load.taken)} taken, {len(subjects) - len(set(subjects))} came twice")


@pytest.mark.skipif(not shutil.which("strace") or SANITIZED, reason="strace is not installed, or a leak check cannot trace")
def test_a_slow_disk_slows_and_nothing_else(tmp_path):
    primary = Primary()
    # Each fdatasync takes a quarter of a second more.
    relay = Relay(tmp_path, domains={"example.org": domain(primary.port)},
                  wrap=["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
                        "-e", "inject=fdatasync:delay_enter=250000"])
    with relay:
        with Load(relay, clients=40) as load:
            load.takes(200)
            primary.start()
            load.takes(100)
            load.end()
            syncs = relay.status()["spool"]["syncs"]
            wait_for(lambda: relay.queued() == 0, "everything is delivered", 120)
        primary.stop()
        account(load, primary)
        # Those who wait together are served together.
        assert syncs < len(load.taken)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer takes terabytes of address space")
def test_out_of_memory_loses_nothing(tmp_path):
    primary = Primary()
    relay = Relay(tmp_path, options={"memory": '"1G"', "workers": "1"}, domains={"example.org": domain(primary.port)})
    relay.start()
    status = pathlib.Path(f"/proc/{relay.process.pid}/status").read_text()
    size = int(re.search(r"VmSize:\s+(\d+) kB", status).group(1)) << 10
    relay.stop()
    # What it needs at rest and little more: sooner or later an allocation fails, and that ends
    # the process. The service manager starts it again, and so does this test.
    relay.wrap = ["prlimit", f"--as={size + (8 << 20)}"]
    relay.start()
    deaths = 0
    with Load(relay, clients=60, seed=7) as load:
        while len(load.taken) < 150 or deaths < 3:
            if relay.process.poll() is not None:
                deaths += 1
                relay.start(wait=False)
            time.sleep(0.02)
        load.end()
    relay.kill()
    relay.wrap = []
    with relay, primary:
        wait_for(lambda: relay.queued() == 0, "everything is delivered", 120)
        primary.stop()
        account(load, primary)
    print(f"{len(load.taken)} taken, {deaths} deaths for want of memory")
