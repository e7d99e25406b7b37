"""What the operator sees and does: the CLI, the API behind it, encryption, clean errors."""

import json
import re
import subprocess

import pytest

from conftest import domain
from harness import BIN, Primary, Relay, free_port, wait_for, without_trace


def send(relay, subject="x", sender="sender@example.net", to="user@example.org"):
    client = relay.smtp()
    client.sendmail(sender, [to], f"Subject: {subject}\r\n\r\nbody of {subject}\r\n".encode())
    client.quit()


def test_exit_statuses(tmp_path):
    def run(*words):
        return subprocess.run([str(BIN / "postern"), "-s", str(tmp_path / "nobody.sock"), *words],
                              capture_output=True, text=True, timeout=30)

    assert run("status").returncode == 3
    assert "nobody.sock" in run("status").stderr
    assert run("no-such-command").returncode == 2
    assert run("queue", "show").returncode == 2
    assert run("--help").returncode == 0
    done = run("config", "explain", "hold")
    assert done.returncode == 0 and "14d" in done.stdout
    assert run("config", "explain", "hld").returncode == 1


def test_status_has_what_scripts_hold_on_to(relay):
    send(relay)
    status = relay.json("status")
    assert status["queue"]["messages"] == 1 and status["queue"]["octets"] > 0
    row = next(d for d in status["domains"] if d["name"] == "example.org")
    assert {"name", "state", "since", "messages", "oldest"} <= set(row)
    wait_for(lambda: relay.json("status")["destinations"][0]["state"] == "down", "it is down")
    text = relay.cli("status").stdout
    assert "example.org" in text and "down" in text
    assert "refused" in relay.json("status")["destinations"][0]["reason"]


def test_queue_verbs(relay, primary):
    for n in range(3):
        send(relay, f"m{n}", sender=f"s{n}@example.net", to=f"u{n}@example.org")
    rows = relay.json("queue", "list")["messages"]
    assert len(rows) == 3
    ids = {r["sender"]: r["id"] for r in rows}
    relay.cli("queue", "hold", ids["s0@example.net"])
    relay.cli("queue", "delete", ids["s1@example.net"])
    shown = relay.json("queue", "show", ids["s2@example.net"])
    assert "u2@example.org" in json.dumps(shown)
    assert [r["sender"] for r in relay.json("queue", "list", "--sender", "s2@")["messages"]] == ["s2@example.net"]
    primary.start()
    wait_for(lambda: primary.count() == 1, "the one that is neither held nor deleted")
    assert primary.messages[0][0] == "s2@example.net"
    relay.cli("queue", "release", ids["s0@example.net"])
    wait_for(lambda: primary.count() == 2, "released")
    wait_for(lambda: relay.queued() == 0, "empty")
    events = wait_for(lambda: [e["event"] for e in relay.json("trace", ids["s0@example.net"])["events"]
                               if e["event"] == "delivery.done"], "its trace")
    assert events
    assert "delivery.done" in relay.cli("trace", ids["s0@example.net"]).stdout


def test_log_lines_have_the_queue_id_and_escape_what_is_hostile(relay):
    client = relay.smtp()
    client.docmd("MAIL", "FROM:<a@example.net>")
    client.docmd("RCPT", 'TO:<"x\\ y"@example.org>')
    client.docmd("RCPT", "TO:<user@elsewhere.example>")
    client.docmd("EHLO", "evil\x1b[31m")
    client.quit()
    send(relay)
    wait_for(lambda: "message.stored" in relay.log(), "stored")
    assert re.search(r"message\.stored .*qid=[0-9A-HJKMNP-TV-Z]{26}", relay.log())
    assert "\x1b" not in relay.log()


def test_metrics(relay):
    send(relay)
    text = relay.cli("metrics").stdout
    assert re.search(r"(?m)^postern_messages_stored_total 1$", text)
    assert re.search(r"(?m)^postern_queue_messages 1$", text)
    assert "# TYPE postern_messages_stored_total counter" in text


def test_domain_check_says_what_to_do(relay):
    done = relay.cli("domain", "check", "example.org", check=False)
    assert "127.0.0.1" in done.stdout and done.returncode in (0, 1)
    assert "refused" in done.stdout


def test_bodies_are_encrypted_where_a_key_file_says_so(tmp_path, primary):
    key = tmp_path / "spool.key"
    subprocess.run([str(BIN / "postern"), "spool", "genkey", str(key)], check=True)
    assert key.stat().st_mode & 0o777 == 0o600
    relay = Relay(tmp_path, options={"key_file": f'"{key}"'}, domains={"example.org": domain(primary.port)})
    with relay:
        send(relay, "plainly-visible-marker")
        assert relay.queued() == 1
    found = [p for p in (tmp_path / "spool").rglob("*") if p.is_file() and b"plainly-visible-marker" in p.read_bytes()]
    assert not found
    with relay:
        primary.start()
        wait_for(lambda: primary.count() == 1, "decrypted and delivered")
        assert without_trace(primary.messages[0][2]) == b"Subject: plainly-visible-marker\r\n\r\nbody of plainly-visible-marker\r\n"


def test_check_names_file_line_and_the_nearest_name(tmp_path):
    relay = Relay(tmp_path, options={"mesage_size": '"10M"'})
    conf = relay.write_conf()
    done = subprocess.run([str(BIN / "posternd"), "--check", "-c", str(conf)], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(rf"{re.escape(str(conf))}:\d+: .*mesage_size.*message_size", done.stderr)
    relay = Relay(tmp_path / "two", domains={"example.org": {"target": '{"backup.example.net"}', "recipients": "{any}", "when_up": "accept"}})
    done = subprocess.run([str(BIN / "posternd"), "--check", "-c", str(relay.write_conf())], capture_output=True, text=True)
    assert done.returncode == 1 and "example.org.conf:" in done.stderr


def test_a_second_daemon_on_the_same_spool_is_refused(relay, tmp_path):
    other = Relay(tmp_path / "other")
    conf = other.write_conf()
    conf.write_text(conf.read_text().replace(str(tmp_path / "other") + "/spool", str(tmp_path) + "/spool"))
    done = subprocess.run([str(BIN / "posternd"), "-c", str(conf)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "spool" in done.stderr
    assert relay.answers()


def test_a_message_that_comes_back_is_held_with_an_alarm(relay, primary):
    client = relay.smtp()
    text = (b"Received: from x (x [192.0.2.1])\r\n\tby backup.example.net (Postern) with ESMTP id 1;\r\n"
            b"\tSat, 21 Nov 2026 10:00:00 +0000\r\nSubject: loop\r\n\r\nx\r\n")
    client.sendmail("a@example.net", ["user@example.org"], text)
    client.quit()
    primary.start()
    rows = wait_for(lambda: relay.messages(held="true"), "it is held")
    assert "came back to us" in rows[0]["last_reply"]
    wait_for(lambda: "message.loop" in relay.log(), "the alarm")
    assert primary.count() == 0


def test_reload_and_stop_by_the_tool(relay, tmp_path):
    relay.options["log_level"] = "debug"
    relay.write_conf()
    relay.cli("reload")
    relay.options["hostnam"] = '"x"'
    relay.write_conf()
    done = relay.cli("reload", check=False)
    assert done.returncode == 1 and "hostnam" in done.stderr + done.stdout
    del relay.options["hostnam"]
    assert relay.answers()
    relay.cli("stop")
    assert relay.process.wait(timeout=60) == 0


def test_certificates_are_read_again_when_they_change(tmp_path, primary):
    def make(name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                        "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(tmp_path / "key.pem"),
                        "-out", str(tmp_path / "chain.pem")], check=True, capture_output=True)

    def served():
        done = subprocess.run(["openssl", "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{relay.port}"],
                              input=b"QUIT\r\n", capture_output=True, timeout=30)
        return done.stdout.decode("latin-1")

    make("first.example.net")
    relay = Relay(tmp_path, domains={"example.org": domain(primary.port)})
    relay.extra = f'certificate "own" {{ chain = "{tmp_path}/chain.pem"\n key = "{tmp_path}/key.pem" }}\n'
    with relay:
        assert "first.example.net" in served()
        make("second.example.net")
        wait_for(lambda: "second.example.net" in served(), "the new certificate is served", every_s=0.5)
