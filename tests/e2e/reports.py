"""What every report to a sender must be, as Python's email package reads it (RFC 3461 to 3464,
RFC 6522, RFC 6533)."""

import email
import email.policy
import email.utils
import quopri
import re
from email.parser import BytesParser, Parser

REPORTING = "backup.example.net"
KINDS = {"failed": "5", "delayed": "4", "relayed": "2", "delivered": "2"}


def check_date(text):
    assert email.utils.parsedate_to_datetime(text).tzinfo is not None, text


def check_lines(octets):
    assert octets.endswith(b"\r\n")
    for line in octets.split(b"\r\n"):
        assert len(line) <= 998 and b"\r" not in line and b"\n" not in line, line[:80]


def check_header(message, to):
    for name in ("Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version"):
        assert len(message.get_all(name, [])) == 1, (name, message.keys())
    check_date(message["Date"])
    assert email.utils.parseaddr(message["From"])[1] == f"MAILER-DAEMON@{REPORTING}"
    assert message["To"] == to or not to.isascii()
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["MIME-Version"] == "1.0"
    assert re.fullmatch(r"<[0-9A-Z]{26}@" + re.escape(REPORTING) + ">", message["Message-ID"])
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"


def content(octets, message, number):
    """What a part carries, decoded: Python makes messages of what it does not know itself."""
    part = octets.split(b"\r\n--" + message.get_boundary().encode())[number + 1]
    header, body = part.split(b"\r\n\r\n", 1)
    return quopri.decodestring(body) if b"quoted-printable" in header else body


def check_status(part, kind, octets):
    """Returns (fields of the message, [fields of each recipient])."""
    if part.get_content_type() == "message/global-delivery-status":  # unknown to Python
        blocks = [Parser().parsestr(block, headersonly=True)
                  for block in octets.decode("utf-8").strip().split("\r\n\r\n")]
    else:
        assert part.get_content_type() == "message/delivery-status"
        blocks = part.get_payload()
    about, recipients = blocks[0], blocks[1:]
    assert about["Reporting-MTA"] == f"dns; {REPORTING}"
    check_date(about["Arrival-Date"])
    assert recipients
    for fields in recipients:
        assert len(fields.get_all("Final-Recipient")) == 1
        assert re.fullmatch(r"(rfc822|utf-8); .+", fields["Final-Recipient"])
        assert fields["Action"] == kind
        assert re.fullmatch(KINDS[kind] + r"\.\d{1,3}\.\d{1,3}", fields["Status"]), fields["Status"]
        for name in ("Last-Attempt-Date", "Will-Retry-Until"):
            if fields[name]:
                check_date(fields[name])
        assert (fields["Will-Retry-Until"] is not None) == (kind == "delayed")
        assert fields["Diagnostic-Code"] is None or fields["Diagnostic-Code"].startswith("smtp; ")
        assert fields["Remote-MTA"] is None or fields["Remote-MTA"].startswith("dns; ")
        if kind == "failed" and fields["Status"] != "5.4.7":
            assert fields["Diagnostic-Code"] and fields["Last-Attempt-Date"]
    return about, recipients


class Report:
    """A report that was checked. To an address that is not ASCII it is SMTPUTF8 itself."""

    def __init__(self, octets, to, kind):
        check_lines(octets)
        assert f"\r\nTo: {to}\r\n".encode() in octets
        assert octets.isascii() or not to.isascii() or b"8bit" in octets
        self.message = BytesParser(policy=email.policy.compat32).parsebytes(octets)
        check_header(self.message, to)
        parts = self.message.get_payload()
        assert len(parts) == 3
        assert not self.message.defects and not any(p.defects for p in parts)
        assert parts[0].get_content_type() == "text/plain"
        self.words = parts[0].get_payload(decode=True).decode("utf-8")
        assert "This is the mail server" in self.words
        self.about, self.recipients = check_status(parts[1], kind, content(octets, self.message, 1))
        for fields in self.recipients:
            address = fields["Final-Recipient"].split("; ", 1)[1]
            assert address in self.words or not address.isascii() or "\\x" in address
        self.returned = parts[2].get_content_type()
        if self.returned == "message/rfc822":
            self.original = parts[2].get_payload()[0]
            self.text = self.original.get_payload(decode=True)
        elif self.returned == "message/global":
            header, self.text = content(octets, self.message, 2).split(b"\r\n\r\n", 1)
            self.original = Parser().parsestr(header.decode("utf-8"), headersonly=True)
        else:
            assert self.returned in ("text/rfc822-headers", "message/global-headers")
            self.original = Parser().parsestr(
                content(octets, self.message, 2).decode("utf-8", "replace"), headersonly=True)
            self.text = None

    def finals(self):
        return [fields["Final-Recipient"] for fields in self.recipients]
