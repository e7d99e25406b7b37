"""Who proves what to whom: certificate authorities, signed zones, and a resolver that validates.

Nothing here is of any worth outside of a test: keys are made on the spot, and the only trust
anchor is the test's own.
"""

import hashlib
import http.server
import pathlib
import re
import ssl
import subprocess
import threading

from harness import DEADLINE_S, free_port, wait_for

UNBOUND = "/usr/sbin/unbound"


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, timeout=DEADLINE_S, **options)
    assert done.returncode == 0, (words, done.stderr.decode(errors="replace"))
    return done.stdout


class Certificate:
    """A certificate with its key; `issuer` None: signed by itself."""

    count = 0

    def __init__(self, directory, name, sans=(), issuer=None, authority=False, expired=False):
        Certificate.count += 1
        base = pathlib.Path(directory) / f"{Certificate.count}-{name}"
        self.key, self.certificate, self.chain = (base.with_suffix(s) for s in (".key", ".crt", ".chain"))
        self.issuer = issuer
        request, extensions = base.with_suffix(".csr"), base.with_suffix(".ext")
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", self.key, "-out", request, "-subj", f"/CN={name}")
        lines = [f"basicConstraints=critical,CA:{'TRUE' if authority else 'FALSE'}"]
        lines += ["subjectAltName=" + ",".join(f"DNS:{san}" for san in sans)] if sans else []
        extensions.write_text("\n".join(lines) + "\n")
        signer = ["-CA", issuer.certificate, "-CAkey", issuer.key, "-CAcreateserial"] if issuer \
            else ["-signkey", self.key]
        run(*(["faketime", "10 days ago"] if expired else []), "openssl", "x509", "-req", "-in", request,
            "-out", self.certificate, "-days", "5", "-extfile", extensions, *signer)
        parts = [self.key, self.certificate] + ([issuer.certificate] if issuer else [])
        self.chain.write_bytes(b"".join(part.read_bytes() for part in parts))

    def digest(self, selector=0):
        if selector == 0:
            der = run("openssl", "x509", "-in", self.certificate, "-outform", "DER")
        else:
            key = run("openssl", "x509", "-in", self.certificate, "-pubkey", "-noout")
            der = run("openssl", "pkey", "-pubin", "-outform", "DER", input=key)
        return hashlib.sha256(der).hexdigest()

    def tlsa(self, usage, selector):
        return f"TLSA {usage} {selector} 1 {self.digest(selector)}"


class Zone:
    """A zone, signed if it is asked for. Records are "name rest", relative to the zone."""

    def __init__(self, directory, name, records, signed=True):
        self.name = name
        self.anchor = None
        self.path = pathlib.Path(directory) / f"{name}.zone"
        head = [f"$ORIGIN {name}.", "$TTL 300", f"@ IN SOA ns.{name}. hostmaster.{name}. 1 3600 600 86400 300",
                f"@ IN NS ns.{name}.", "ns IN A 127.0.0.1"]
        self.path.write_text("\n".join(head + records) + "\n")
        if signed:
            base = run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name, cwd=directory).decode().strip()
            self.anchor = pathlib.Path(directory) / f"{base}.ds"
            run("ldns-signzone", self.path, base, cwd=directory)
            self.path = self.path.with_suffix(".zone.signed")

    def spoil(self, name):
        """Changes what the signed TLSA record of that name says; its signature stays."""
        lines = self.path.read_text().splitlines()
        found = [i for i, line in enumerate(lines) if line.startswith(name) and re.search(r"\sTLSA\s", line)
                 and "RRSIG" not in line and "NSEC" not in line]
        assert found, name
        for i in found:
            head, _, last = lines[i].rstrip().rpartition(" ")
            lines[i] = f"{head} {'0' if last[0] != '0' else '1'}{last[1:]}"
        self.path.write_text("\n".join(lines) + "\n")


class Unbound:
    """A validating resolver on loopback, which knows these zones and trusts their keys alone."""

    def __init__(self, directory, zones, port=None):
        self.directory = pathlib.Path(directory)
        self.zones = zones
        self.port = port or free_port()
        self.process = None

    def write(self):
        lines = ["server:", "  interface: 127.0.0.1", f"  port: {self.port}", "  do-daemonize: no",
                 '  username: ""', '  chroot: ""', f'  directory: "{self.directory}"',
                 f'  pidfile: "{self.directory}/unbound.pid"', "  use-syslog: no", '  logfile: ""',
                 '  module-config: "validator iterator"', "  do-not-query-localhost: no", "  num-threads: 1",
                 "  root-hints: \"\""]
        lines += [f'  trust-anchor-file: "{zone.anchor}"' for zone in self.zones if zone.anchor]
        lines += ["remote-control:", "  control-enable: no"]
        for zone in self.zones:
            lines += ["auth-zone:", f'  name: "{zone.name}"', f'  zonefile: "{zone.path}"',
                      "  for-upstream: yes", "  for-downstream: no", "  fallback-enabled: no"]
        path = self.directory / "unbound.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    def __enter__(self):
        log = self.directory / "unbound.log"
        with open(log, "ab") as out:
            self.process = subprocess.Popen([UNBOUND, "-d", "-c", str(self.write())], stdout=out, stderr=out)

        def up():
            assert self.process.poll() is None, log.read_text()
            return "start of service" in log.read_text()

        wait_for(up, "unbound is up")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class PolicyServer:
    """The HTTPS server of an MTA-STS policy, https://mta-sts.DOMAIN/.well-known/mta-sts.txt."""

    def __init__(self, address, certificate):
        self.policies = {}  # host -> text; others get 404
        self.asked = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                host = self.headers.get("Host", "").partition(":")[0]
                server.asked.append((host, self.path))
                text = server.policies.get(host, "").encode()
                found = text and self.path == "/.well-known/mta-sts.txt"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(text) if found else 0))
                self.end_headers()
                self.wfile.write(text if found else b"")

            def log_message(self, *_):
                pass

        self.httpd = http.server.ThreadingHTTPServer((address, 443), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain)
        self.httpd.socket = context.wrap_socket(self.httpd.socket, server_side=True)

    def __enter__(self):
        self.thread = threading.Thread(target=self.httpd.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.httpd.shutdown()
        self.thread.join()
        self.httpd.server_close()
