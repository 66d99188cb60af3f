"""Kill runs at random moments, go on by the documented commands, and compare what comes out with
an undisturbed run: `make kills`.

    python -m tools.kills --kills 40
    python -m tools.kills --kills 5 --demo --undisturbed demo.json  # kept for the next time

A run is killed again and again until it ends, then another is begun, until there were as many kills
as asked for. Every third kill takes the driver alone, whose jobs live on beside the next run's.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.workflow.disturbed import kill_after, leftovers, said, start, unlock, wait_for_orphans
from tests.workflow.forks import forking
from tests.workflow.project import Project, copy_project
from tools.same_results import digests


def main() -> None:
    """Exit 1 when a killed run ends in other results than the undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--demo", action="store_true", help="the demo, not the micro run")
    parser.add_argument("--target", action="append", default=[], help="not the whole run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--undisturbed", type=Path, help="where its results' digests are kept")
    chosen = parser.parse_args()
    with _project(demo=chosen.demo) as project:
        wanted, took_s = _undisturbed(project, chosen.target, chosen.undisturbed)
        print(f"undisturbed: {took_s:.0f} s, {len(wanted)} results", flush=True)
        generator, kills, losses = random.Random(chosen.seed), 0, 0
        while kills < chosen.kills:
            shutil.rmtree(project.folder / "results", ignore_errors=True)
            shutil.rmtree(project.folder / ".snakemake", ignore_errors=True)
            kills += _killed_until_it_ends(
                project, chosen.target, chosen.kills - kills, took_s, generator
            )
            losses += _compared(wanted, _results(project), project.folder)
            print(f"{kills} kills, {losses} results lost or another", flush=True)
    sys.exit(1 if losses else 0)


@contextmanager
def _project(*, demo: bool) -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, forking() as forks:
        project = copy_project(Path(folder) / "project")
        (project.folder / "tests/config/data.yaml").write_text("{}\n", encoding="utf-8")
        if demo:
            (project.folder / "tests/config/micro.yaml").write_text("{}\n", encoding="utf-8")
        yield replace(project, forks=forks)


def _undisturbed(
    project: Project, targets: list[str], kept: Path | None
) -> tuple[dict[str, str], float]:
    """The digests of an undisturbed run's results and the seconds that it took: those kept from
    before, or of a run that is made now and kept.
    """
    if kept is not None and kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        return found["results"], found["seconds"]
    began = time.monotonic()
    run = start(project, *targets)
    if run.wait() != 0:
        sys.exit(f"the undisturbed run failed:\n{said(project)[-3000:]}")
    took_s, results = time.monotonic() - began, _results(project)
    if kept is not None:
        kept.write_text(json.dumps({"seconds": took_s, "results": results}), encoding="utf-8")
    return results, took_s


def _killed_until_it_ends(
    project: Project, targets: list[str], most: int, took_s: float, generator: random.Random
) -> int:
    """Kill one run at most so often; how often it was."""
    kills = 0
    while True:
        run = start(project, *targets)
        seconds = generator.uniform(0, took_s / 3) if kills < most else float("inf")
        if not kill_after(seconds, run, driver_alone=kills % 3 == 2):
            break
        kills += 1
        print(f"killed after {seconds:.1f} s", flush=True)
        unlock(project)
    if run.returncode != 0 and _disturbed_by_orphans(project):
        wait_for_orphans(run)
        run = start(project, *targets)
        run.wait()
    if run.returncode != 0:
        sys.exit(f"a run could not be ended:\n{said(project)[-4000:]}")
    return kills


def _disturbed_by_orphans(project: Project) -> bool:
    """Whether a run failed because jobs of a killed one still wrote the same files."""
    return "unable to lock file" in said(project) or "IncompleteFilesException" in said(project)


def _results(project: Project) -> dict[str, str]:
    (folder,) = (project.folder / "results").glob("*/")
    return digests(folder)


def _compared(wanted: dict[str, str], found: dict[str, str], folder: Path) -> int:
    """How many results are lost, another, or half-written; each is named."""
    wrong = [name for name in wanted if found.get(name) != wanted[name]]
    wrong += [name for name in found if name not in wanted]
    wrong += [str(path) for path in leftovers(folder / "results")]
    for name in wrong:
        print(f"LOST OR ANOTHER: {name}", flush=True)
    return len(wrong)


if __name__ == "__main__":
    main()
