"""A Debian package in a root of its own, for a peer that may not be installed beside Postfix.

The package and whatever it needs beyond this system are downloaded and unpacked, never
installed: their scripts do not run, nothing is enabled, no file of the system changes. The
root holds what the program looks for under fixed names (/etc/passwd with its users, /var,
/run); /usr, /dev and /proc are the system's own, bound in a mount namespace that ends with
the program. It needs root and a network (or the packages in the cache of apt).
"""

import os
import pathlib
import shlex
import subprocess

BOUND = ("/usr", "/dev", "/proc")


class Unavailable(Exception):
    """This peer cannot run here; the text says why."""


class Jail:
    def __init__(self, root, package, users):
        if os.geteuid() != 0:
            raise Unavailable("needs root (a root directory and users of its own)")
        self.root = pathlib.Path(root)
        self.unpack(package)
        self.furnish(users)

    def unpack(self, package):
        archives = self.root / "archives"
        (archives / "partial").mkdir(parents=True)
        # Nothing is installed, so apt's lock, which others may have, is not needed.
        done = subprocess.run(
            ["apt-get", "-o", "Debug::NoLocking=true", "install", "-q", "-y", "--download-only", "--reinstall", "--no-install-recommends",
             "-o", f"Dir::Cache::archives={archives}", "-o", "APT::Sandbox::User=root", package],
            capture_output=True, text=True)
        found = sorted(archives.glob("*.deb"))
        if done.returncode != 0 or not found:
            raise Unavailable(f"{package} cannot be downloaded: {(done.stderr.splitlines() or ['?'])[-1]}")
        for archive in found:
            subprocess.run(["dpkg-deb", "-x", archive, self.root / "peer"], check=True)

    def furnish(self, users):
        for path in ("etc", "var/spool", "var/log", "var/mail", "run", "tmp", *(b[1:] for b in BOUND)):
            (self.root / path).mkdir(parents=True, exist_ok=True)
        for path in ("bin", "sbin", "lib", "lib32", "lib64"):
            if pathlib.Path("/", path).is_symlink():
                (self.root / path).symlink_to(os.readlink(f"/{path}"))
        (self.root / "var/run").symlink_to("/run")
        (self.root / "tmp").chmod(0o1777)
        for name in ("passwd", "group", "hosts", "nsswitch.conf", "services", "protocols", "ld.so.conf"):
            source = pathlib.Path("/etc", name)
            (self.root / "etc" / name).write_text(source.read_text() if source.exists() else "")
        with open(self.root / "etc/passwd", "a") as passwd, open(self.root / "etc/group", "a") as group:
            for number, user in enumerate(users, 64800):
                passwd.write(f"{user}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n")
                group.write(f"{user}:x:{number}:\n")
        (self.root / "etc/mailname").write_text("bench.example.net\n")
        with open(self.root / "etc/ld.so.conf", "a") as conf:
            conf.write("/peer/usr/lib/x86_64-linux-gnu\n/peer/usr/lib\n/peer/lib/x86_64-linux-gnu\n")
        subprocess.run(["/bin/sh", "-c", self.command("/sbin/ldconfig")], check=True)

    def command(self, *words):
        """A shell's line that runs the words inside."""
        binds = "".join(f"mount --rbind {b} {shlex.quote(str(self.root) + b)} && " for b in BOUND)
        inside = f"{binds}exec chroot {shlex.quote(str(self.root))} {shlex.join(words)}"
        return f"exec unshare --mount --propagation private sh -c {shlex.quote(inside)}"
