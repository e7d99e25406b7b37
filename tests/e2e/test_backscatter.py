"""A campaign with forged senders: nobody who is innocent hears of it, and no valid mail is lost."""

import re
import subprocess

import pytest

from conftest import domain
from harness import PostfixPrimary, Primary, Relay, wait_for
from reports import Report

OURS = "example.org"
VICTIMS = "victim.example"
USERS = [f"valid{i}" for i in range(20)]
EMPTY = "inline:{ {nobody.at.all@example.org=all/} }"
TABLE = "inline:{ " + ", ".join(f"{{{user}@{OURS}=all/}}" for user in USERS) + " }"


@pytest.fixture
def victim():
    """Where all mail goes that is not for our domain: what reaches the world reaches it."""
    with Primary() as sink:
        yield sink


def world(sink):
    return f'smart_host "world" {{ target = {{"127.0.0.1:{sink.port}"}} }}\n'


class Campaign:
    def __init__(self, relay):
        self.relay = relay
        self.number = 0
        self.codes = {}   # subject -> the reply that decided about it
        self.valid = []   # subjects of mail to users that exist
        self.forged = []

    def send(self, forged):
        """So many forged ones, and among them one to each user that exists; 50 in a session."""
        mails = [("forged", f"made-up-{self.number + i}") for i in range(forged)]
        step = max(1, forged // len(USERS))
        for i, user in enumerate(USERS):
            mails.insert(i * (step + 1), ("valid", user))
        self.number += forged
        for start in range(0, len(mails), 50):
            client = self.relay.smtp()
            for i, (kind, user) in enumerate(mails[start:start + 50]):
                self.one(client, kind, user, f"{kind}-{len(self.codes)}")
            client.quit()

    def one(self, client, kind, user, subject):
        sender = f"innocent{len(self.codes)}@{VICTIMS}" if kind == "forged" else f"friend@{VICTIMS}"
        getattr(self, kind).append(subject)
        client.mail(sender)
        code, text = client.rcpt(f"{user}@{OURS}")
        if code == 250:
            code, text = client.data(f"Subject: {subject}\r\n\r\nbuy this\r\n".encode())
        else:
            client.rset()
        self.codes[subject] = code

    def with_code(self, kind, least, most):
        return [s for s in getattr(self, kind) if least <= self.codes[s] <= most]


def subjects(primary):
    return {s.decode() for text in primary.messages() for s in re.findall(rb"^Subject: (\S+)", text, re.M)}


def state(relay):
    return [d["state"] for d in relay.status()["destinations"]]


def set_table(primary, table):
    primary.extra["virtual_mailbox_maps"] = table
    primary.write()


def test_forged_senders_hear_nothing_and_no_valid_mail_is_lost(tmp_path, victim):
    primary = PostfixPrimary(tmp_path / "postfix", OURS, extra={
        "virtual_mailbox_maps": TABLE, "smtpd_error_sleep_time": "0", "smtpd_hard_error_limit": "10000",
        "smtpd_client_connection_rate_limit": "0"})
    settings = domain(primary.port, recipients="{call-ahead}", when_up="pass-through",
                      unknown_when_down="accept")  # the choice that asks for trouble
    settings["target"] = f'{{"localhost:{primary.port}"}}'
    options = {"errors_max": "1000", "call_ahead_rate": "100000"}
    waiting = Relay(tmp_path / "relay", options=options, domains={OURS: settings})
    waiting.extra = world(victim)
    with primary, waiting as relay:
        campaign = Campaign(relay)
        wait_for(lambda: "up" in state(relay), "the primary is up")

        # Up: the primary itself refuses what it does not know, in the client's session.
        campaign.send(334)
        assert len(campaign.with_code("forged", 550, 559)) == 334
        assert len(campaign.with_code("valid", 250, 250)) == len(USERS)

        # Down: it is all taken, as the domain wants it.
        primary.stop()
        campaign.send(333)
        assert len(campaign.with_code("valid", 250, 250)) == 2 * len(USERS)
        assert relay.queued() >= len(USERS)

        # Back, with an empty user table: what it refuses is kept, and it is stopped soon.
        set_table(primary, EMPTY)
        primary.start()
        wait_for(lambda: "stopped" in state(relay), "its drain is stopped")
        campaign.send(333)
        assert len(campaign.with_code("valid", 250, 250)) == 3 * len(USERS)
        assert not set(campaign.valid[len(USERS):]) & subjects(primary)

        # Mended. The operator believes its refusals now, and sends once more what was parked.
        set_table(primary, TABLE)
        subprocess.run(["postfix", "-c", str(primary.directory / "etc"), "reload"], check=True, capture_output=True)
        wait_for(primary.answers, "Postfix is up again")
        relay.cli("destination", "refuse", "--all")
        wait_for(lambda: relay.queued() == 0, "all is tried", 120)

        def all_arrived():
            # An smtpd of Postfix that idled through the reload may have the old table once more.
            if relay.queued() == 0:
                relay.cli("parked", "release", "--recipient", "valid", check=False)
            return relay.queued() == 0 and set(campaign.valid) <= subjects(primary)

        wait_for(all_arrived, "every valid mail has arrived", 120, 0.5)

        taken = campaign.with_code("forged", 250, 250)
        assert sum(row["recipient_count"] for row in relay.messages(parked="true", limit=1000)) == len(taken)
        assert len(campaign.codes) == 1000 + 3 * len(USERS)
        assert len(taken) >= 333  # or nothing was tried
        assert victim.count() == 0
        assert "report.sent" not in relay.log()
        assert "postern_reports_total 0" in relay.cli("metrics").stdout


def test_the_victims_could_be_reached(tmp_path, victim):
    """The control: where the domain wants reports for everybody, they go out into the world."""
    primary = Primary().start()
    settings = domain(primary.port, recipients="{call-ahead}", when_up="accept", bounce="always")
    waiting = Relay(tmp_path, domains={OURS: settings})
    waiting.extra = world(victim)
    with waiting as relay:
        wait_for(lambda: "up" in state(relay), "the primary is up")
        client = relay.smtp()
        client.mail(f"innocent@{VICTIMS}")
        assert client.rcpt(f"anna@{OURS}")[0] == 250
        primary.refuse[f"anna@{OURS}"] = "550 5.1.1 gone"
        assert client.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
        wait_for(lambda: victim.count() == 1, "the report is there")
        Report(victim.messages[0][2], f"innocent@{VICTIMS}", "failed")
    primary.stop()
