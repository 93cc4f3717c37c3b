"""A real SLURM of two nodes on this machine, started and ended by whoever needs one.

All of it lies in one folder and listens on ports of its own; daemons are ended by their process
ids. Debian's packages are enough: slurmctld slurmd slurm-client munge, and for accounting slurmdbd
slurm-wlm-mysql-plugin mariadb-server. By hand: `python -m tests.slurm.cluster sinfo`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.slurm.configuration import CONF, DBD_CONF, GRANT, WITH_ACCOUNTING, WITHOUT_ACCOUNTING

NODES = ("n1", "n2")
GPUS = 2
CPUS = 8
HOSTS = Path("/etc/hosts")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
NEEDED_FOR_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
STARTED_WITHIN_S = 60.0


def missing(*, accounting: bool = False) -> list[str]:
    """Name the programs of SLURM that this machine lacks."""
    needed = NEEDED + (NEEDED_FOR_ACCOUNTING if accounting else ())
    return [name for name in needed if shutil.which(name, path=SEARCH) is None]


@dataclass(kw_only=True)
class Cluster:
    """A cluster that runs.

    Attributes:
        folder: of all its files.
        host: this machine, as SLURM calls it.
        accounting: whether slurmdbd keeps jobs that the controller has forgotten.
    """

    folder: Path
    host: str
    accounting: bool
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """For a process that is to use it."""
        return {**os.environ, "PATH": SEARCH, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str) -> str:
        """Run one of SLURM's commands and return what it prints.

        Raises:
            CalledProcessError: it failed.
        """
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def jobs(self) -> dict[str, str]:
        """Return the state of each job that the controller knows, by id."""
        lines = self.run("squeue", "--noheader", "--states=all", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def nodes_of(self, job: str) -> list[str]:
        """Return the nodes that run a job."""
        listed = self.run("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
        return self.run("scontrol", "show", "hostnames", listed).split() if listed else []

    def stop_controller(self) -> None:
        """End the controller; jobs run on."""
        self._end("slurmctld")

    def start_controller(self) -> None:
        """Start the controller, with the state that it left."""
        self._start("slurmctld", "slurmctld", "-D")
        self._until_answered()

    def lose(self, node: str) -> None:
        """End a node's daemon and all that it runs, as a power cut would."""
        job_steps = _descendants(self._daemons[node].pid)
        self._end(node, signal.SIGKILL)
        for step in [*job_steps, *_of_spool(self.folder / node)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(step, signal.SIGKILL)
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def restore(self, node: str) -> None:
        """Start a node's daemon again."""
        self._start(node, "slurmd", "-D", "-N", node)
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    def clear(self) -> None:
        """End all jobs, and wait until none is left."""
        self.run("scancel", "--user=root", "--full")
        _until(lambda: not self.run("squeue", "--noheader").strip(), "jobs do not end")
        # A step that outlives its lost node's daemon makes SLURM drain the node a minute later.
        for node, state in self._states().items():
            if "drain" in state or "down" in state:
                self.run("scontrol", "update", f"nodename={node}", "state=resume")
        self._until_idle()

    def start(self, *, min_job_age_s: int) -> None:
        """Write the configuration and start every daemon."""
        for name in ("munge", "state", "log", *NODES):
            (self.folder / name).mkdir(mode=0o755)
        self._start_munge()
        accounting = self._start_accounting() if self.accounting else WITHOUT_ACCOUNTING
        self._configure(accounting, min_job_age_s)
        self._start("slurmctld", "slurmctld", "-D", "-i")
        for node in NODES:
            self._start(node, "slurmd", "-D", "-N", node)
        self._until_answered()
        self._until_idle()

    def end(self) -> None:
        """End every job and every daemon."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.clear()
        for name in reversed(list(self._daemons)):
            self._end(name)

    def _configure(self, accounting: str, min_job_age_s: int) -> None:
        ports = _free_ports(1 + len(NODES))
        nodes = [
            f"NodeName={node} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} "
            f"RealMemory=16000 Gres=gpu:{GPUS}"
            for node, port in zip(NODES, ports[1:], strict=True)
        ]
        text = CONF.format(
            folder=self.folder,
            host=self.host,
            port=ports[0],
            min_job_age_s=min_job_age_s,
            first_job=1 + int(time.time()) % 60_000_000,
            accounting=accounting,
            nodes="\n".join(nodes),
        )
        (self.folder / "slurm.conf").write_text(text)
        devices = [self.folder / f"gpu{number}" for number in range(GPUS)]
        for device in devices:  # Only character devices make SLURM set CUDA_VISIBLE_DEVICES.
            os.mknod(device, 0o20666, os.makedev(1, 3))
        files = f"{self.folder}/gpu[0-{GPUS - 1}]"
        lines = [f"NodeName={node} Name=gpu File={files}\n" for node in NODES]
        (self.folder / "gres.conf").write_text("".join(lines))

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        key = munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self._start(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={munge}/socket", f"--pid-file={munge}/pid", f"--log-file={munge}/log",
            f"--seed-file={munge}/seed",
        )  # fmt: skip
        _until((munge / "socket").exists, "munged does not start")

    def _start_accounting(self) -> str:
        sql_port, dbd_port = _free_ports(2)
        data, listening = self.folder / "sql", self.folder / "sql.socket"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root",
             "--auth-root-authentication-method=normal"],
            env={**os.environ, "PATH": SEARCH}, check=True, capture_output=True,
        )  # fmt: skip
        self._start(
            "mariadbd", "mariadbd", "--no-defaults", f"--datadir={data}", "--user=root",
            f"--socket={listening}", f"--port={sql_port}", "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
            "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        _until(listening.exists, "mariadbd does not start")
        subprocess.run(["mariadb", "--no-defaults", f"--socket={listening}", "-e", GRANT],
                       check=True, capture_output=True)  # fmt: skip
        conf = self.folder / "slurmdbd.conf"
        conf.write_text(DBD_CONF.format(folder=self.folder, dbd_port=dbd_port, sql_port=sql_port))
        conf.chmod(0o600)
        self._start("slurmdbd", "slurmdbd", "-D")
        _until(lambda: _listens(dbd_port), "slurmdbd does not start")
        return WITH_ACCOUNTING.format(folder=self.folder, dbd_port=dbd_port)

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def _end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        daemon = self._daemons.pop(name)
        daemon.send_signal(how)
        try:
            daemon.wait(timeout=15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _states(self) -> dict[str, str]:
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    def _until_idle(self) -> None:
        up = dict.fromkeys(NODES, "idle")
        _until(lambda: self._states() == up, "nodes do not come up")

    def _until_answered(self) -> None:
        def answers() -> bool:
            command = ["scontrol", "ping"]
            told = subprocess.run(command, env=self.environment, capture_output=True, check=False)
            return b"UP" in told.stdout

        _until(answers, "slurmctld does not answer")


@contextmanager
def cluster(*, accounting: bool = False, min_job_age_s: int = 3600) -> Iterator[Cluster]:
    """Run a cluster of two nodes with two GPUs each while the block lasts.

    Partitions: `main` (preempted jobs are requeued), `spare` (they are cancelled), `urgent`
    (preempts both), `short` (one minute).

    Args:
        accounting: with slurmdbd and a database.
        min_job_age_s: for so long the controller remembers a job that ended.
    """
    _name_nodes()
    # Short, for sockets' names are; and not below a test's own folder, which others may not enter.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    running = Cluster(folder=folder, host=socket.gethostname().split(".")[0], accounting=accounting)
    try:
        running.start(min_job_age_s=min_job_age_s)
        yield running
    finally:
        running.end()
        shutil.rmtree(folder, ignore_errors=True)


def _name_nodes() -> None:
    """See to it that the nodes' names are this machine's: ranks meet by them.

    Raises:
        PermissionError: they are not, and only root may change that.
    """
    unknown = []
    for name in NODES:
        try:
            socket.gethostbyname(name)
        except OSError:
            unknown.append(name)
    if unknown:
        with HOSTS.open("a") as file:
            file.write(f"127.0.0.1 {' '.join(unknown)}\n")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in taken]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _until(condition: Callable[[], bool], complaint: str) -> None:
    end = time.monotonic() + STARTED_WITHIN_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(complaint)
        time.sleep(0.1)


def _descendants(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(stat.parent.name)
                found += [child, *_descendants(child)]
    return found


def _of_spool(spool: Path) -> list[int]:
    """Return slurmstepd's of a node, which belong to nobody, and what they run."""
    found = []
    for maps in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(str(spool) in str(file.readlink()) for file in maps.iterdir()):
                pid = int(maps.parent.name)
                found += [pid, *_descendants(pid)]
    return found


def main(command: Sequence[str]) -> int:
    """Run a command inside a cluster of its own; `--accounting` first gives it slurmdbd."""
    accounting = command[:1] == ["--accounting"]
    with cluster(accounting=accounting) as running:
        return subprocess.run(
            command[accounting:] or ["bash"], env=running.environment, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
