"""LMTP to a unix socket, as mailbox servers listen on: every recipient has a verdict of its own."""

from aiosmtpd.controller import UnixSocketController
from aiosmtpd.lmtp import LMTP

from conftest import domain
from harness import Primary, Relay, wait_for, without_trace


class Mailboxes(Primary):
    """An LMTP server on a socket; recipients in `refuse` are turned away."""

    def __init__(self, path):
        super().__init__(port=1)
        self.path = str(path)

    async def handle_DATA(self, server, session, envelope):
        said = await super().handle_DATA(server, session, envelope)
        return "\r\n".join([said] * len(envelope.rcpt_tos))

    def start(self):
        mailboxes = self

        class Server(UnixSocketController):
            def factory(self):
                return LMTP(mailboxes, hostname="mailboxes.example.org", data_size_limit=0)

        self.controller = Server(self, unix_socket=self.path)
        self.controller.start()
        return self


def test_mail_is_held_for_a_socket_and_handed_over(tmp_path):
    mailboxes = Mailboxes(tmp_path / "lmtp")
    mailboxes.refuse["nobody@example.org"] = "550 5.1.1 nobody here"
    settings = domain(0, target=f'{{"unix:{tmp_path}/lmtp"}}', service="lmtp")
    with Relay(tmp_path / "relay", domains={"example.org": settings}) as relay:
        text = b"Subject: one\r\n\r\n.a line with a dot\r\n"
        client = relay.smtp()
        client.sendmail("a@example.net", ["b@example.org", "nobody@example.org", "c@example.org"], text)
        client.quit()
        [destination] = relay.status()["destinations"]
        assert destination["name"].startswith(f"lmtp:unix:{tmp_path}/lmtp")
        wait_for(lambda: relay.status()["destinations"][0]["state"] == "down", "there is no socket yet")
        assert relay.queued() == 1
        mailboxes.start()
        try:
            wait_for(lambda: relay.queued() == 0, "it is delivered")
            [(sender, recipients, octets)] = mailboxes.messages
            assert (sender, sorted(recipients)) == ("a@example.net", ["b@example.org", "c@example.org"])
            assert without_trace(octets) == text
            parked = relay.json("parked", "list")["messages"]
            assert "5.1.1" in str(parked) and "nobody@example.org" in str(parked)
            assert relay.cli("probe", "example.org").returncode == 0
        finally:
            mailboxes.stop()
