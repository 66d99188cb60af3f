"""A throw-away copy of the project in which Snakemake runs, and what it says that it would do."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.workflow.forks import ADDRESS, FORKED
from tools.same_results import PASSED_OVER, without_costs

ROOT = Path(__file__).parents[2]
COPIED = (
    "adclick",
    "config",
    "workflow",
    "Snakefile",
    "Makefile",
    "environment.yml",
    "tests/config",
)


@dataclass(frozen=True)
class Job:
    """A planned job: its rule, outputs, and why."""

    rule: str
    outputs: str
    reason: str


@dataclass(frozen=True)
class Project:
    """A copy of the project; `overlay` is laid over the micro configuration. With the address of a
    process that forks, its jobs are forks of it.
    """

    folder: Path
    forks: str | None = None

    def snakemake(
        self, *arguments: str, overlay: dict | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, overlay=overlay),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
        )

    def command(self, *arguments: str, overlay: dict | None = None) -> list[str]:
        files = ["config/demo.yaml", "tests/config/micro.yaml", "tests/config/data.yaml"]
        if overlay is not None:
            (self.folder / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
            files.append("overlay.yaml")
        return [sys.executable, "-m", "snakemake", *arguments, "--configfile", *files]

    def environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        if self.forks is not None:
            environment |= {ADDRESS: self.forks, "PYTHONPATH": f"{FORKED}{os.pathsep}{self.folder}"}
        return environment

    def run(self, *arguments: str, overlay: dict | None = None) -> None:
        done = self.snakemake(*arguments, "--cores", "2", overlay=overlay)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]

    def planned(self, *targets: str, overlay: dict | None = None) -> list[Job]:
        done = self.snakemake(*targets, "--dry-run", overlay=overlay)
        assert done.returncode == 0, done.stderr[-6000:]
        return parse_jobs(done.stdout + done.stderr)

    def needed(self, *targets: str, overlay: dict | None = None) -> dict[str, set[str]]:
        """For each target the rules that it needs, itself too."""
        done = self.snakemake(*targets, "--dag", "dot", "--forceall", overlay=overlay)
        assert done.returncode == 0, done.stderr[-6000:]
        return needed_rules(done.stdout, targets)

    def results(self, pattern: str) -> dict[str, bytes]:
        found = sorted((self.folder / "results").glob(pattern))
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in found
            if path.is_file()
        }

    def repeatable(self) -> dict[str, bytes]:
        """The bytes of every result of the run, but for the times and the memory that it took."""
        return {
            name: _without_costs(name, content)
            for name, content in self.results("*/**/*").items()
            if not _is_passed_over(Path(name))
        }


def _is_passed_over(name: Path) -> bool:
    """Whether a file says how it was made alone, or is kept for a training that asks again."""
    return bool(PASSED_OVER & set(name.parts)) or any(one.startswith(".") for one in name.parts)


def _without_costs(name: str, content: bytes) -> bytes:
    if not name.endswith("/record.json"):
        return content
    return json.dumps(without_costs(json.loads(content)), sort_keys=True).encode()


def parse_jobs(text: str) -> list[Job]:
    blocks = re.split(r"\n(?:local)?rule (\w+):\n", text)
    pairs = zip(blocks[1::2], blocks[2::2], strict=True)
    return [Job(rule, _field(body, "output"), _field(body, "reason")) for rule, body in pairs]


def needed_rules(graph: str, targets: Iterable[str]) -> dict[str, set[str]]:
    """The rules that each of some rules needs, itself too, by Snakemake's graph of the jobs."""
    rules = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)', graph, re.MULTILINE))
    edges = re.findall(r"^\s*(\d+) -> (\d+)", graph, re.MULTILINE)
    found: dict[str, set[str]] = {}
    for target in targets:
        jobs, before = {job for job, rule in rules.items() if rule == target}, set()
        while jobs != before:
            before, jobs = jobs, jobs | {one for one, other in edges if other in jobs}
        found[target] = {rules[job] for job in jobs}
    return found


def _field(body: str, name: str) -> str:
    found = re.search(rf"^    {name}: (.*)$", body, re.MULTILINE)
    return found.group(1) if found else ""


def copy_project(folder: Path) -> Project:
    folder.mkdir(parents=True)
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    (folder / "profiles").symlink_to("workflow/profiles")
    return Project(folder)
