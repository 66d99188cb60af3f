"""How much disk the paper's run takes at most, counted from its plan (`snakemake -n`) without data:

    python -m tools.count_disk --config spare_disk=all

What follows the name goes to Snakemake. Jobs are taken one at a time, the greatest priority first,
as Snakemake does on one GPU, ties by lot; sizes are those of the table in docs/scale.md.
"""

import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

LOTS = 3
ALL, NORMAL, TEST, DEFECTS, EXPANDED = range(5)  # which of a category's pictures a result is of
# MB an image, and of which; a result that is not listed is small, or none of the paper's.
PICTURE_MB, RESIDUAL_MB, LENGTHS_MB = 0.8, 8.4, 0.025
IMAGES = {
    "make_manifest/images.h5": (PICTURE_MB, ALL),
    "extract_features/features.h5": (16.8, NORMAL),
    "simulate_defects/images.h5": (2 * PICTURE_MB, NORMAL),
    "expand_defects/images.h5": (PICTURE_MB, EXPANDED),
    "compute_residuals/real.h5": (RESIDUAL_MB, ALL),
    "compute_residuals/simulated.h5": (2 * RESIDUAL_MB, NORMAL),
    "compute_residuals/expanded.h5": (RESIDUAL_MB, EXPANDED),
    "predict_maps/maps.h5": (1.05, TEST),
    "fit_map_peer/maps.h5": (1.05, TEST),
    "simulate_clicks/maps.h5": (1.74, DEFECTS),
}
WEIGHTS_MB = {"adclick": 332, "adclick_seg": 215}
WORDS_MB = 393  # an ADClick's language branch, its frozen Swin included
CLICKED_ANEW = 5  # draws of a user that is not the protocol's
IN_PARTS = ("extract_features", "compute_")  # a killed job goes on from them: once more the result
TRAINING = 6  # times its weights: what a killed training goes on from, while it is replaced
# Normal pictures to train on, test pictures, and defective ones of both, as published.
PICTURES = {
    "carpet": (280, 117, 89),
    "grid": (264, 78, 57),
    "leather": (245, 124, 92),
    "tile": (230, 117, 84),
    "wood": (247, 79, 60),
    "bottle": (209, 83, 63),
    "cable": (224, 150, 92),
    "capsule": (219, 132, 109),
    "hazelnut": (391, 110, 70),
    "metal_nut": (220, 115, 93),
    "pill": (267, 167, 141),
    "screw": (320, 160, 119),
    "toothbrush": (60, 42, 30),
    "transistor": (213, 100, 40),
    "zipper": (240, 151, 119),
    "ksdd2": (2085, 1004, 356),
}
UNUSED = {"ksdd2": 246}  # defective ones to train on are not among its test pictures


@dataclass(frozen=True)
class Job:
    rule: str
    inputs: list[str]
    outputs: list[str]
    priority: int = 0

    def sizes_mb(self) -> dict[str, float]:
        """The sizes of its results by their paths, MB."""
        words_mb = WORDS_MB * any(path.endswith("/language.h5") for path in self.inputs)
        return {path: size_mb(path) + words_mb * is_adclick(path) for path in self.outputs}

    def meanwhile_mb(self, *, parts: bool) -> float:
        """What it takes beside its result before it has ended, MB."""
        if self.rule.startswith(IN_PARTS):
            return parts * sum(self.sizes_mb().values())
        return TRAINING * ("train_adclick" in self.rule) * sum(self.sizes_mb().values())


@dataclass
class Held:
    """What lies on the disk, MB, by stage."""

    by_stage: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0
    at_peak: dict[str, float] = field(default_factory=dict)
    when: str = ""

    def add(self, path: str, own_mb: float) -> None:
        self.by_stage[_stage(path)] = self.by_stage.get(_stage(path), 0.0) + own_mb

    def look(self, job: Job, *, parts: bool) -> None:
        """Before a job has ended."""
        held = {**self.by_stage, "meanwhile": job.meanwhile_mb(parts=parts)}
        if sum(held.values()) > self.peak_mb:
            self.peak_mb, self.at_peak, self.when = sum(held.values()), held, job.outputs[0]


def main() -> None:
    command = [sys.executable, "-m", "snakemake", "--dry-run", *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    jobs, passing = parsed(done.stdout + done.stderr)
    runs = [counted(jobs, passing, seed) for seed in range(LOTS)]
    held = max(runs, key=lambda one: one.peak_mb)
    for stage, size in sorted(held.at_peak.items(), key=lambda one: -one[1]):
        if size >= 1000:
            print(f"{stage:24} {size / 1000:5.0f} GB")
    print(f"{'at most':24} {held.peak_mb / 1000:5.0f} GB, when {held.when} is made")
    print(f"{'in the end':24} {sum(held.by_stage.values()) / 1000:5.0f} GB")


def parsed(text: str) -> tuple[list[Job], set[str]]:
    """The jobs of a plan, and the results that go when nothing more reads them."""
    passing = set(re.findall(r"^Would remove temporary output (.*)$", text, re.MULTILINE))
    blocks = re.split(r"\n(?:local)?rule (\w+):\n", text)
    jobs = [
        Job(
            rule,
            _listed(body, "input"),
            _listed(body, "output"),
            int("".join(_listed(body, "priority")) or 0),
        )
        for rule, body in zip(blocks[1::2], blocks[2::2], strict=True)
    ]
    return jobs, passing


def counted(jobs: list[Job], passing: Iterable[str], seed: int = 0) -> Held:
    """What the disk holds while jobs are done one after the other. Where residuals of real pictures
    are passing too (`spare_disk: all`), no parts are kept.
    """
    generator, passing = random.Random(seed), set(passing)
    makers = {path: number for number, job in enumerate(jobs) for path in job.outputs}
    sizes_mb = {path: size for job in jobs for path, size in job.sizes_mb().items()}
    parts = not any(path.endswith("/real.h5") for path in passing)
    readers = Counter(path for job in jobs for path in set(job.inputs))
    lots = [generator.random() for _ in jobs]
    order = TopologicalSorter[int]()
    for number, job in enumerate(jobs):
        order.add(number, *(makers[path] for path in job.inputs if path in makers))
    order.prepare()
    held, ready = Held(), set[int]()
    while order.is_active():
        ready.update(order.get_ready())
        number = max(ready, key=lambda one: (jobs[one].priority, lots[one]))
        ready.remove(number)
        for path in jobs[number].outputs:
            held.add(path, sizes_mb[path])
        held.look(jobs[number], parts=parts)
        for path in set(jobs[number].inputs):
            readers[path] -= 1
            if path in passing and not readers[path]:
                held.add(path, -sizes_mb[path])
        order.done(number)
    return held


def size_mb(path: str) -> float:
    """The size of a result by its path, MB, without words."""
    parts = path.split("/")
    stage, category = _stage(path), parts[3] if len(parts) > 3 else ""
    if "train_" in stage and path.endswith(".safetensors"):
        return WEIGHTS_MB[stage.split("train_")[1]]
    name = "expanded.h5" if parts[-1].startswith("expanded_") else parts[-1]
    if category not in PICTURES or f"{stage}/{name}" not in IMAGES:
        return 0.0
    image_mb, which = IMAGES[f"{stage}/{name}"]
    if stage == "compute_residuals" and parts[5] != "location_aware":
        image_mb *= LENGTHS_MB / RESIDUAL_MB
    if stage == "simulate_clicks" and not parts[6].startswith("seed"):
        image_mb *= CLICKED_ANEW
    return image_mb * _images(category)[which]


def is_adclick(path: str) -> bool:
    """Whether a result are the weights of an ADClick, whose size depends on words."""
    return _stage(path).endswith("train_adclick") and path.endswith(".safetensors")


def _images(category: str) -> Mapping[int, int]:
    normal, test, defects = PICTURES[category]
    every = normal + test + UNUSED.get(category, 0)
    return {ALL: every, NORMAL: normal, TEST: test, DEFECTS: defects, EXPANDED: 200}


def _stage(path: str) -> str:
    parts = path.split("/")
    return parts[4] if len(parts) > 5 else ""


def _listed(body: str, name: str) -> list[str]:
    found = re.search(rf"^    {name}: (.*)$", body, re.MULTILINE)
    return found.group(1).split(", ") if found else []


if __name__ == "__main__":
    main()
