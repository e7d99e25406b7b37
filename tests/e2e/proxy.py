"""A proxy in front of a real server that does one wrong thing, once, at one step of SMTP.

It reads the client's commands and the server's replies line by line, so that it knows at which
step a transaction is. A fault is armed for transactions whose MAIL names a chosen sender (the
greeting and EHLO: for the next connection):

    before     the connection is cut when the command has come, before the server gets it
    text       the connection is cut in the middle of the text (step END only)
    unsaid     the server gets the command and answers, and the connection is cut then
    half       half of the reply goes through first
    late       the reply is kept until the client has gone away
"""

import socket
import threading

from harness import free_port

STEPS = ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END"]
FAULTS = {step: ["unsaid", "half", "late"] for step in STEPS}
for _step in STEPS[1:]:
    FAULTS[_step] = ["before", *FAULTS[_step]]
FAULTS["END"].append("text")


class Cut(Exception):
    pass


class Proxy:
    def __init__(self, server_port):
        self.server_port = server_port
        self.port = free_port()
        self.fault = None  # (step, kind, sender)
        self.happened = None
        self.lock = threading.Lock()
        self.open = set()

    def start(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def stop(self):
        self.listener.close()
        self.cut_all()

    def cut_all(self):
        with self.lock:
            connections = list(self.open)
        for connection in connections:
            connection.cut()

    def arm(self, step, kind, sender):
        """From now on; for the greeting and EHLO the client has to connect anew."""
        with self.lock:
            self.fault = (step, kind, sender)
        if step in ("GREETING", "EHLO"):
            self.cut_all()

    def take(self, step, kind, sender):
        """Is it time? Each fault happens once."""
        with self.lock:
            if self.fault is None or self.fault[:2] != (step, kind):
                return False
            if step not in ("GREETING", "EHLO") and sender != self.fault[2]:
                return False
            self.happened, self.fault = self.fault, None
            return True

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server_port), timeout=300)
            except OSError:
                return
            connection = Connection(self, client, server)
            with self.lock:
                self.open.add(connection)
            threading.Thread(target=connection.run, daemon=True).start()


class Connection:
    def __init__(self, proxy, client, server):
        self.proxy, self.client, self.server = proxy, client, server
        for s in (client, server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sender = None
        self.commands = client.makefile("rb")
        self.replies = server.makefile("rb")

    def cut(self):
        for s in (self.client, self.server):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def reply(self):
        lines = []
        while True:
            line = self.replies.readline()
            if not line:
                raise Cut
            lines.append(line)
            if line[3:4] != b"-":
                return b"".join(lines)

    def wait_for_the_client_to_leave(self):
        while self.client.recv(65536):
            pass
        raise Cut

    def answer(self, step):
        """The server's reply goes to the client, unless the fault is here."""
        reply = self.reply()
        if self.proxy.take(step, "unsaid", self.sender):
            raise Cut
        if self.proxy.take(step, "half", self.sender):
            self.client.sendall(reply[:len(reply) // 2])
            raise Cut
        if self.proxy.take(step, "late", self.sender):
            self.wait_for_the_client_to_leave()
        self.client.sendall(reply)
        return reply

    def pass_on(self, step, octets):
        if self.proxy.take(step, "before", self.sender):
            raise Cut
        self.server.sendall(octets)

    def text(self):
        lines = []
        while not lines or lines[-1] != b".\r\n":
            line = self.commands.readline()
            if not line:
                raise Cut
            lines.append(line)
        whole = b"".join(lines)
        if self.proxy.take("END", "text", self.sender):
            self.server.sendall(whole[:len(whole) // 2])
            raise Cut
        self.pass_on("END", whole)
        self.answer("END")

    def chunk(self, command):
        size = int(command.split()[1])
        octets = self.commands.read(size)
        if self.proxy.take("END", "text", self.sender):
            self.server.sendall(command + octets[:size // 2])
            raise Cut
        self.pass_on("END", command + octets)
        self.answer("END")

    def run(self):
        try:
            self.talk()
        except (Cut, OSError, ValueError):
            pass
        finally:
            self.cut()
            for s in (self.client, self.server):
                s.close()
            with self.proxy.lock:
                self.proxy.open.discard(self)

    def talk(self):
        self.answer("GREETING")
        while True:
            command = self.commands.readline()
            if not command:
                raise Cut
            verb = command.split()[0].upper().decode()
            if verb == "MAIL":
                self.sender = command.split(b"<", 1)[1].split(b">", 1)[0].decode()
            if verb == "BDAT":
                self.chunk(command)
                continue
            self.pass_on(verb, command)
            reply = self.answer(verb)
            if verb == "DATA" and reply.startswith(b"354"):
                self.text()
            if verb == "QUIT":
                raise Cut
