"""The profile that users take, on a real Slurm: what it asks for, and more at each try."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.slurm.cluster import Cluster
from tests.workflow.project import ROOT

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]
PROFILE = ROOT / "profiles/slurm/config.yaml"
# Slurm's own default is to look first after 40 s, for jobs of hours.
QUICK = ("--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "5")

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
    inherited = set(re.findall(r"use rule simulate_clicks as (\w+)", rules))
    assert set(profile["set-resources"]) == computing | inherited
