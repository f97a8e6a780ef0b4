"""Machines that are reached by ssh: namespaces of this one, each with its own address, processes, home and /tmp."""

import contextlib
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.cluster.jobs import ROOT
from tests.integration.waiting import wait_until

PROGRAMS = ("ip", "unshare", "sshd", "ssh", "ssh-keygen", "rsync")
POSSIBLE = os.geteuid() == 0 and all(shutil.which(name) for name in PROGRAMS)
NETWORK = "10.213.77"
BRIDGE = "moda-bridge"
SSHD = """
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PidFile none
"""
START = """
mount --make-rprivate /
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/tmp /tmp
mount -t tmpfs none /dev/shm
exec {sshd} -D -e -f {folder}/sshd_config
"""


class Machine:
    """A machine whose user is root.

    Args:
        number: the last part of its address.
        common: the folder of all machines, with the keys; it is at the same place on each of them.
    """

    def __init__(self, number: int, common: Path) -> None:
        self.name, self.address = f"moda-{number}", f"{NETWORK}.{number}"
        self.folder, self.common = common / self.name, common
        self.home = self.folder / "home"
        self.key = common / "key"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as made:
            subprocess.run(["ip", "netns", "add", self.name], check=True)
            made.callback(subprocess.run, ["ip", "netns", "delete", self.name], check=True)
            self._connect()
            made.callback(subprocess.run, ["ip", "link", "delete", self.name], check=True)
            self._furnish()
            made.callback(self._end, self._start())
            self._made = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def answers(self) -> bool:
        try:
            return self.run("echo here") == "here\n"
        except subprocess.CalledProcessError:
            return False

    @property
    def ssh(self) -> list[str]:
        """The command with which any of the machines is reached."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        return ["ssh", "-i", str(self.key), *(word for option in options for word in ("-o", option))]

    def run(self, command: str) -> str:
        """What a command prints there."""
        words = [*self.ssh, f"root@{self.address}", command]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """All processes of the machine end with its first one."""
        process.kill()
        process.wait()

    def _connect(self) -> None:
        inside = ("netns", "exec", self.name, "ip")
        for words in (
            ("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name),
            ("link", "set", self.name, "master", BRIDGE, "up"),
            (*inside, "address", "add", f"{self.address}/24", "dev", "eth0"),
            (*inside, "link", "set", "eth0", "up"),
            (*inside, "link", "set", "lo", "up"),
            (*inside, "route", "add", "default", "via", f"{NETWORK}.1"),  # Ray asks for its address by it
        ):
            subprocess.run(["ip", *words], check=True)

    def _furnish(self) -> None:
        """A home, whose environment for Ray has the packages already, most of them this one's; and what sshd reads."""
        environment = self.home / "moda" / ".venv"
        self.home.mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        (self.folder / "sshd_config").write_text(SSHD.format(folder=self.common))
        users = Path("/etc/passwd").read_text().replace(":/root:", f":{self.home}:")
        (self.folder / "passwd").write_text(users)
        base = Path(sys.base_prefix) / "bin"
        profile = f"export PATH={base}:/usr/sbin:/usr/bin:/sbin:/bin PIP_DISABLE_PIP_VERSION_CHECK=1\n"  # no internet
        (self.home / ".profile").write_text(profile)
        subprocess.run([base / "python3", "-m", "venv", environment], check=True)
        (packages,) = environment.glob("lib/python*/site-packages")
        (packages / "packages.pth").write_text("\n".join(site.getsitepackages()))
        pip = (environment / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
        subprocess.run([*pip, "-r", ROOT / "cluster" / "requirements.txt"], check=True)
        ray = environment / "bin" / "ray"
        ray.write_text(f"#!{environment}/bin/python\nfrom ray.scripts.scripts import main\nmain()\n")
        ray.chmod(0o755)

    def _start(self) -> subprocess.Popen[bytes]:
        Path("/run/sshd").mkdir(exist_ok=True)
        script = START.format(folder=self.folder, sshd=shutil.which("sshd"))
        unshare = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        with (self.folder / "sshd.log").open("wb") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *unshare, "sh", "-e", "-c", script], stdout=log, stderr=log
            )


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """Some machines of one network, which answer to one key."""
    with contextlib.ExitStack() as made:
        folder = Path(tempfile.mkdtemp(prefix="moda-machines-", dir="/var/tmp"))  # each has another /tmp
        made.callback(shutil.rmtree, folder)
        for name in ("host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
        made.callback(subprocess.run, ["ip", "link", "delete", BRIDGE], check=True)
        subprocess.run(["ip", "address", "add", f"{NETWORK}.1/24", "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        found = [made.enter_context(Machine(number, folder)) for number in range(2, 2 + count)]
        for machine in found:
            wait_until(machine.answers, f"{machine.name} to answer")
        yield found
