"""After every fault the documented command ends with the undisturbed run's bytes: kills, a full or
read-only disk, damaged results, a second run in the folder, data that changed.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adclick.data.images import read_image, write_png
from tests.small_disk import small_disk
from tests.workflow.awkward import draw_awkward
from tests.workflow.disturbed import (
    LOCKED,
    kill_after,
    leftovers,
    said,
    start,
    unlock,
    wait_for_orphans,
)
from tests.workflow.forks import forking
from tests.workflow.project import Project, copy_project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
PLACE = "results/micro/toy/cloth"
TARGET = f"{PLACE}/evaluate_maps/training_free/seed0/metrics.json"
MAPS = "predict_maps/training_free/seed0/maps.h5"
MADE = f"{PLACE}/compute_residuals/location_aware/real.h5"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    copied = copy_project(tmp_path_factory.mktemp("faults") / "project")
    draw_awkward(copied.folder / "data/toy set")
    settings = "data_root: data\ndatasets: {toy: {layout: mvtec, root: toy set}}\n"
    (copied.folder / "tests/config/data.yaml").write_text(settings)
    with forking() as forks:
        project = replace(copied, forks=forks)
        project.run(TARGET)
        yield project


@pytest.fixture
def finished(undisturbed: Project, tmp_path: Path) -> Project:
    """A copy of the finished run."""
    shutil.copytree(undisturbed.folder, tmp_path / "project", symlinks=True)
    return replace(undisturbed, folder=tmp_path / "project")


@pytest.fixture
def begun(finished: Project) -> Project:
    """A copy of the project in which nothing has run."""
    forget(finished)
    return finished


def forget(project: Project) -> None:
    shutil.rmtree(project.folder / "results")
    shutil.rmtree(project.folder / ".snakemake")


def assert_whole(project: Project, undisturbed: Project) -> None:
    assert project.repeatable() == undisturbed.repeatable()
    assert leftovers(project.folder / "results") == []


def test_a_run_that_is_killed_four_times_goes_on(begun: Project, undisturbed: Project) -> None:
    generator, kills = random.Random(1), 0
    while kills < 4:
        kills += kill_after(generator.uniform(2, 12), start(begun, TARGET))
        unlock(begun)
    begun.run(TARGET)
    assert_whole(begun, undisturbed)


def test_a_killed_drivers_jobs_end_in_peace(begun: Project, undisturbed: Project) -> None:
    run = start(begun, TARGET)
    log = begun.folder / "results/micro/logs/extract_features/toy-cloth.log"
    wait_until(log.exists, run)
    assert kill_after(0, run, driver_alone=True)
    wait_for_orphans(run)
    unlock(begun)
    begun.run(TARGET)
    assert_whole(begun, undisturbed)


def test_a_second_run_in_the_folder_is_refused_and_the_first_ends(
    begun: Project, undisturbed: Project
) -> None:
    first = start(begun, TARGET)
    wait_until((begun.folder / "results").exists, first)
    second = begun.snakemake(TARGET, "--cores", "1")
    assert second.returncode != 0
    assert LOCKED in second.stdout + second.stderr
    assert first.wait() == 0, said(begun)[-3000:]
    assert_whole(begun, undisturbed)


def wait_until(holds: Callable[[], bool], run: subprocess.Popen) -> None:
    while not holds():
        assert run.poll() is None, "the run ended before it was disturbed"
        time.sleep(0.02)


def test_a_full_disk_is_told_and_nothing_half_written_stays(
    begun: Project, undisturbed: Project
) -> None:
    with small_disk(begun.folder / "results", "400k") as remount:
        failed = begun.snakemake(TARGET, "--cores", "2")
        told = failed.stdout + failed.stderr + logs(begun)
        assert failed.returncode != 0
        assert "cannot be written (No space left on device)" in told
        assert "Traceback" not in logs(begun)
        assert not [path for path in leftovers(begun.folder / "results") if path.is_file()]
        remount("size=64m")
        begun.run(TARGET)
        assert_whole(begun, undisturbed)


def logs(project: Project) -> str:
    found = (project.folder / "results").rglob("*.log")
    return "".join(path.read_text(errors="replace") for path in found)


def test_results_that_cannot_be_written_are_told_and_stay_as_they_are(
    begun: Project, undisturbed: Project
) -> None:
    with small_disk(begun.folder / "results", "64m") as remount:
        begun.run(MADE)
        before = begun.repeatable()
        remount("ro")
        failed = begun.snakemake(TARGET, "--cores", "2")
        assert failed.returncode != 0
        assert "Read-only file system" in failed.stdout + failed.stderr
        assert begun.repeatable() == before
        assert begun.snakemake(TARGET, "--dry-run").returncode == 0
        remount("rw")
        begun.run(TARGET)
        assert_whole(begun, undisturbed)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Flip a bit in the middle, or in every entry of what maps are made of."""
    content = bytearray(path.read_bytes())
    places = [len(content) // 2]
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r") as file:
            lengths = file["lengths"].id
            chunks = [lengths.get_chunk_info(index) for index in range(lengths.get_num_chunks())]
            places = [chunk.byte_offset + 5 for chunk in chunks]
    for place in places:
        content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("name", [MADE, f"{PLACE}/make_manifest/manifest.csv"])
def test_a_damaged_result_is_named_and_made_again_by_one_command(
    finished: Project, undisturbed: Project, damage: Callable[[Path], None], name: str
) -> None:
    damage(finished.folder / name)
    for made in (finished.folder / PLACE).glob("*_maps/training_free/seed0/*"):
        made.unlink()
    failed = finished.snakemake(TARGET, "--cores", "2")
    assert failed.returncode != 0
    assert f"error: {name}: " in failed.stdout + failed.stderr + logs(finished)
    finished.run(TARGET, "--forcerun", name)
    assert_whole(finished, undisturbed)


def test_a_picture_that_changed_between_runs_is_read_anew(
    finished: Project, undisturbed: Project
) -> None:
    picture = finished.folder / "data/toy set/cloth/test/good/000.png"
    before = picture.read_bytes()
    write_png(picture, read_image(picture)[::-1].copy())
    finished.run(TARGET)
    assert finished.repeatable() != undisturbed.repeatable()
    picture.write_bytes(before)
    os.utime(picture)
    finished.run(TARGET)
    different = {
        name
        for name, content in finished.repeatable().items()
        if content != undisturbed.repeatable()[name]
    }
    assert different == {f"{PLACE}/make_manifest/record.json"}  # the digest of the file's date


@pytest.mark.parametrize(("spared", "also"), [(True, set()), ("all", {MADE})])
def test_with_little_disk_what_can_be_made_again_goes_and_scores_are_the_same(
    begun: Project, undisturbed: Project, spared: bool | str, also: set[str]
) -> None:
    spare = {"spare_disk": spared}
    begun.run(TARGET, overlay=spare)
    gone = {f"{PLACE}/extract_features/features.h5", f"{PLACE}/{MAPS}", *also}
    found, before = begun.repeatable(), undisturbed.repeatable()
    assert found == {name: text for name, text in before.items() if name not in gone}
    assert gone < before.keys()
    assert begun.planned(TARGET, overlay=spare) == []
    drawn = begun.planned(MADE.replace("real", "simulated"), "--forceall", overlay=spare)
    assert {"compute_drawn_residuals", "extract_features"} < {job.rule for job in drawn}
