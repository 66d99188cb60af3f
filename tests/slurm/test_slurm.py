"""The workflow on a real Slurm, by the profile that users take: through sbatch, and through what
goes wrong on a cluster.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from tests.slurm.cluster import Cluster, wait_for
from tests.workflow.awkward import AWKWARD, draw_awkward
from tests.workflow.forks import forking
from tests.workflow.project import ROOT, Project, copy_project

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]
TARGET = "results/micro/toy/cloth/evaluate_clicks/finetuned_lang/seed0/metrics.json"
PROFILE = ROOT / "profiles/slurm/config.yaml"
# Slurm's own default is to look first after 40 s, for jobs of hours.
WAIT_S = 900  # for a job to begin, where others keep the machine busy
QUICK = ("--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "5")


@dataclass(frozen=True)
class OnSlurm:
    """A project whose jobs go to Slurm, by the profile as it is."""

    project: Project
    cluster: Cluster

    def start(self, *targets: str) -> subprocess.Popen:
        environment = {**self.cluster.environment, **self.project.environment()}
        environment["PATH"] = self.cluster.environment["PATH"]
        command = self.project.command(*targets, "--workflow-profile", "profiles/slurm", *QUICK)
        with (self.project.folder / "driver.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.project.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def said(self) -> str:
        return (self.project.folder / "driver.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def forks() -> Iterator[str]:
    with forking() as address:
        yield address


def project_in(folder: Path, data: Path, forks: str) -> Project:
    project = copy_project(folder)
    settings = {"data_root": str(data), "datasets": {"toy": {"layout": "mvtec", "root": "toy set"}}}
    (project.folder / "tests/config/data.yaml").write_text(
        yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8"
    )
    return replace(project, forks=forks)


def test_the_run_survives_a_cancelled_job_and_a_crash_and_gives_the_local_runs_bytes(
    cluster: Cluster, forks: str, tmp_path: Path
) -> None:
    """With pictures whose names and folders have spaces, quotes, `$(…)` and other letters.
    Snakemake's own command lines for a cluster allow no quote in the folder that it is run in.
    """
    data = tmp_path / AWKWARD
    draw_awkward(data / "toy set")
    local = project_in(tmp_path / "local", data, forks)
    local.run(TARGET)
    folder = tmp_path / "ein Lauf 数据 $HOME $(touch pwned)"
    there = OnSlurm(project_in(folder, data, forks), cluster)
    driver = there.start(TARGET)
    try:
        cluster.ask("scancel", first_job_of(there, "extract_features"))
        crash_at(there, "pretrain_adclick", driver)
    finally:
        end(driver)
    cluster.start_node()
    assert there.project.snakemake("--unlock").returncode == 0
    again = there.start(TARGET)
    assert again.wait(WAIT_S) == 0, there.said()[-4000:]
    assert not list(tmp_path.rglob("pwned")) + list(Path.cwd().glob("pwned"))
    assert "Trying to restart job" in there.said()
    assert there.project.repeatable() == local.repeatable()


def first_job_of(there: OnSlurm, rule: str) -> str:
    """The id in Slurm of the first job of a rule that runs."""
    found: list[str] = []

    def runs() -> bool:
        listed = there.cluster.ask("squeue", "-h", "-t", "R", "-o", "%i %k").splitlines()
        found.extend(line.split()[0] for line in listed if f"rule_{rule}_" in line)
        return bool(found)

    wait_for(runs, f"a job of {rule}", there.project.folder, WAIT_S)
    return found[0]


def crash_at(there: OnSlurm, rule: str, driver: subprocess.Popen) -> None:
    """Node, jobs and Snakemake end at once while a job of a rule computes."""
    first_job_of(there, rule)
    logs = there.project.folder / f"results/micro/logs/{rule}"
    wait_for(lambda: any(logs.glob("*.log")), f"a log of {rule}", there.project.folder, WAIT_S)
    driver.send_signal(signal.SIGKILL)
    there.cluster.crash_node()


def end(driver: subprocess.Popen) -> None:
    if driver.poll() is None:
        os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()


WORKFLOW = """
rule all:
    input: "hungry.txt", "slow.txt", expand("gpu{number}.txt", number=range(4))

# Needs more memory than the first try is given.
rule hungry:
    output: "hungry.txt"
    shell: "python hungry.py {output} {resources.mem_mb}"

# Needs more than the minute of the first try.
rule slow:
    output: "slow.txt"
    shell: "test -e tried || {{ touch tried; sleep 200; }}; echo {resources.runtime} > {output}"

rule gpu:
    output: "gpu{number}.txt"
    shell:
        "start=$(date +%s.%N); sleep 6;"
        " echo $CUDA_VISIBLE_DEVICES $start $(date +%s.%N) > {output}"
"""
HUNGRY = """
import sys, time
held = bytearray(300 * 2**20)
held[::4096] = b"x" * len(held[::4096])
time.sleep(6)
open(sys.argv[1], "w").write(sys.argv[2])
"""


def test_jobs_get_more_when_they_ran_out_of_memory_or_time_and_no_two_share_a_gpu(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "hungry.py").write_text(HUNGRY)
    (tmp_path / "small").mkdir()
    (tmp_path / "small/config.yaml").write_text(yaml.safe_dump(smaller()))
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "small", *QUICK]
    done = subprocess.run(
        command, cwd=tmp_path, env=cluster.environment, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert int((tmp_path / "hungry.txt").read_text()) >= 600  # killed with 300 MB
    assert int((tmp_path / "slow.txt").read_text()) >= 2  # killed after 1 minute
    assert "TIMEOUT" in said
    assert said.count("Trying to restart job") >= 2
    uses = [(tmp_path / f"gpu{number}.txt").read_text().split() for number in range(4)]
    assert {device for device, _, _ in uses} == {"0", "1"}
    spans = sorted((device, float(start), float(stop)) for device, start, stop in uses)
    for (device, _, stop), (other, start, _) in zip(spans, spans[1:], strict=False):
        assert device != other or start >= stop


def smaller() -> dict:
    """The profile with amounts for a test, each in the form in which the profile has it."""
    text = PROFILE.read_text(encoding="utf-8")
    profile = yaml.safe_load(re.sub(r"(mem_mb: attempt \* )\d+", r"\g<1>300", text))
    computing = profile["set-resources"]["extract_features"]
    minutes = re.sub(r"\d+", "1", profile["default-resources"]["runtime"])
    profile["set-resources"] = {"gpu": computing | {"mem_mb": 600}, "slow": {"runtime": minutes}}
    return profile


def test_the_papers_run_is_planned_without_its_data(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    before = os.times()
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", "-n"]
    environment = {**os.environ, "PYTHONPATH": str(project.folder)}
    done = subprocess.run(
        command, cwd=project.folder, env=environment, capture_output=True, text=True
    )
    after = os.times()
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^total +\d{4}$", done.stdout, re.MULTILINE)
    # Of a processor, since others may want it too.
    assert after.children_user - before.children_user < 30


def test_every_job_asks_for_more_at_each_try() -> None:
    profile = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    asked = [profile["default-resources"], *profile["set-resources"].values()]
    assert profile["retries"] > 0
    for resources in asked:
        for name in ("runtime", "mem_mb"):
            assert re.fullmatch(r"attempt \* \d+", resources[name])


def test_a_computing_job_gets_a_gpu_and_no_other_does() -> None:
    profile = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    rules = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    blocks = re.split(r"^rule (\w+):$", rules, flags=re.MULTILINE)
    computing = {
        name for name, body in zip(blocks[1::2], blocks[2::2], strict=True) if "gpu=GPUS" in body
    }
    inherited = set(re.findall(r"use rule (?:simulate_clicks|compute_residuals) as (\w+)", rules))
    assert set(profile["set-resources"]) == computing | inherited
