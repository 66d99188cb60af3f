"""A real Slurm on this machine for as long as a test needs it: its own munge, controller and node,
on free ports, in a folder of its own. What it starts, and nothing else, is ended.
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "setpriv")
NODE = "node"
CPUS = 4  # jobs mostly wait for each other's imports, so more than a small machine has
GPUS = ("/dev/null", "/dev/zero")  # devices that every machine has, handed out as GPUs
CONFIGURATION = """
ClusterName=adclick
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ReturnToService=2
MinJobAge=600
KillWait=3
JobRequeue=0
InactiveLimit=0
SlurmdTimeout=300
GresTypes=gpu
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} \
Gres=gpu:fake:{gpus} State=UNKNOWN
PartitionName=cpu Nodes={node} Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
PartitionName=gpu Nodes={node} MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""


@dataclass
class Cluster:
    """A running Slurm; `environment` is what commands need to reach it."""

    folder: Path
    environment: dict[str, str]
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def running(self) -> list[str]:
        """The ids of the jobs that run, in the order of their submission."""
        return sorted(self.ask("squeue", "--noheader", "-t", "R", "-o", "%i").split(), key=int)

    def crash_node(self) -> None:
        """End the node's daemon and all processes of its jobs at once, as a power cut does."""
        processes = [one for job in self.running() for one in self._processes(job)]
        self.daemons["slurmd"].kill()
        for process in processes:
            _end(process)
        self.daemons.pop("slurmd").wait()

    def _processes(self, job: str) -> list[int]:
        listed = self.ask("scontrol", "listpids", job, NODE).splitlines()[1:]
        return [int(line.split()[0]) for line in listed if line.split()[0] != "-1"]

    def start_node(self) -> None:
        """Start the node's daemon and wait until it takes jobs."""
        log, configuration = self.folder / "slurmd.log", self.folder / "slurm.conf"
        self._start("slurmd", "-D", "-f", str(configuration), "-N", NODE, "-L", str(log))
        wait_for(lambda: self._node_state() in ("idle", "mix"), "the node", self.folder)

    def _node_state(self) -> str:
        command = ["sinfo", "-h", "-N", "-p", "cpu", "-o", "%t"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout.strip()

    def start(self) -> None:
        """Start all of it."""
        place = self.folder
        munge = [f"--{name}-file={place}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "--foreground", "--force", f"--socket={place}/munge.socket", *munge)
        wait_for((place / "munge.socket").exists, "munged", place)
        log, configuration = place / "slurmctld.log", place / "slurm.conf"
        self._start("slurmctld", "-D", "-f", str(configuration), "-L", str(log))
        wait_for(self._answers, "slurmctld", place)
        self.start_node()

    def _answers(self) -> bool:
        command = ["scontrol", "ping"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return "is UP" in done.stdout

    def _start(self, program: str, *arguments: str) -> None:
        """Start a daemon that ends when this process does, however it ends."""
        path = shutil.which(program, path=self.environment["PATH"])
        command = ["setpriv", "--pdeathsig", "TERM", str(path), *arguments]
        with (self.folder / f"{program}.out").open("ab") as out:
            self.daemons[program] = subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def stop(self) -> None:
        """End its jobs, then its daemons."""
        if "slurmd" in self.daemons:
            listed = self.ask("squeue", "--noheader", "-o", "%i").split()
            if listed:
                self.ask("scancel", "--signal=KILL", "--full", *listed)
                self.ask("scancel", *listed)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def missing() -> list[str]:
    """The programs that are not installed."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@contextmanager
def slurm(folder: Path) -> Iterator[Cluster]:
    """A cluster of one node with two GPUs, in an empty folder."""
    folder.chmod(0o755)
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(1024))
    _configure(folder)
    cluster = Cluster(folder, _environment(folder))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _configure(folder: Path) -> None:
    controller_port, node_port = _free_ports(2)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 512
    text = CONFIGURATION.format(
        host=socket.gethostname().split(".")[0],
        user=getpass.getuser(),
        folder=folder,
        controller_port=controller_port,
        node_port=node_port,
        node=NODE,
        cpus=CPUS,
        memory=memory,
        gpus=len(GPUS),
    )
    (folder / "slurm.conf").write_text(text)
    devices = [f"NodeName={NODE} Name=gpu Type=fake File={device}\n" for device in GPUS]
    (folder / "gres.conf").write_text("".join(devices))


def _environment(folder: Path) -> dict[str, str]:
    """Slurm's commands are told of its configuration by a variable, which Snakemake takes away from
    the `srun` of its jobs: a script of that name gives it back. They find this Python first.
    """
    kept = {name: one for name, one in os.environ.items() if not name.startswith("SLURM_")}
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{kept['PATH']}:/usr/sbin:/sbin"
    script = folder / "bin/srun"
    real = shutil.which("srun")
    script.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {real} "$@"\n')
    script.chmod(0o755)
    return {**kept, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def wait_for(holds: Callable[[], bool], what: str, folder: Path, limit_s: float = 60) -> None:
    """Wait until something holds; an error with the ends of the logs when it never does."""
    end = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > end:
            logs = sorted(folder.glob("*.log")) + sorted(folder.glob("*.out"))
            told = [f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in logs]
            raise AssertionError(f"{what} never came up\n" + "\n".join(told))
        time.sleep(0.1)


def _end(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
