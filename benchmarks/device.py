"""What the paper's sizes take on a GPU: steps of every training, features, matching, and the tests
marked `gpu`. One JSON file, written anew after every part: `python -m benchmarks.device --output
device.json`. Parts that fail say so there and leave the others alone; parts for which no time is
left are not begun.

Weights and pictures are made up (no cost depends on them); artifacts are written to a temporary
folder and read as trainings read them.
"""

import argparse
import contextlib
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adclick.networks.norms import WholeNorm
from adclick.networks.trunk import SwinBlock
from adclick.residuals.backbone import Backbone, load_backbone
from adclick.residuals.comparison import Bank, compare
from adclick.residuals.matching.search import match_in_bank
from adclick.residuals.patches import extract
from adclick.run.config import Config, load_config
from adclick.run.device import LOCK_FOLDER_VARIABLE, compute_device
from adclick.run.stored import StoredRows
from adclick.training.batches import Clock, send
from adclick.training.clicking import start_clicks
from adclick.training.loop import forward_with_clicks, train
from adclick.training.losses import normalized_focal_loss
from adclick.training.pools import CategoryFiles, open_pools
from adclick.training.samples import Batch
from benchmarks.made_up import make_category
from benchmarks.training import SEED, Case, adclick_case, drawer, seg_case

ROOT = Path(__file__).parents[1]
GPU_TESTS = (
    "tests/residuals/matching/test_search.py",
    "tests/residuals/test_comparison.py",
    "tests/training/test_precision.py",
)
WARM = 4  # steps before those that count
Results = dict[str, Any]
Part = Callable[["Bench"], Results]


class Bench:
    """What all parts share: the configuration, the device, made-up files, the time that is left."""

    def __init__(self, options: argparse.Namespace, folder: Path, device: torch.device) -> None:
        """Parts write below `folder`."""
        self.options, self.folder, self.device = options, folder, device
        self.config = read_config(options.config)
        self.ends = time.monotonic() + 60 * options.minutes
        self.counted: dict[str, tuple[float, float]] = {}
        self.drawn: dict[str, Batch] = {}
        self.models: dict[str, nn.Module] = {}
        self._files: CategoryFiles | None = None

    def model(self, case: Case) -> nn.Module:
        """A case's network on the device; drawn once, since that takes seconds."""
        if case.name not in self.models:
            self.models[case.name] = case.build()
        return self.models[case.name].to(self.device)

    @property
    def left_s(self) -> float:
        """Seconds until no part may begin."""
        return self.ends - time.monotonic()

    @property
    def files(self) -> CategoryFiles:
        """A category's artifacts, made when they are first asked for."""
        if self._files is None:
            pictures = self.options.pictures
            self._files = make_category(self.folder / "category", self.config, pictures=pictures)
        return self._files

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, call: Callable[[], object], *, times: int, warm: int = 1) -> float:
        """Seconds a call, after some that do not count."""
        for _ in range(warm):
            call()
        self.wait()
        begun = time.perf_counter()
        for _ in range(times):
            call()
        self.wait()
        return (time.perf_counter() - begun) / times


def read_config(overlay: Path | None) -> Config:
    """The paper's configuration, with an overlay where one is given."""
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    if overlay is not None:
        values = _merged(values, yaml.safe_load(overlay.read_text(encoding="utf-8")))
    return load_config(values)


def _merged(values: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


# --- the machine ----------------------------------------------------------------------------------


def machine(bench: Bench) -> Results:
    """Names, versions, and what a plain matrix product and a plain copy reach."""
    libraries = ("torch", "timm", "numpy", "numba", "h5py")
    if bench.options.device != bench.device.type:
        raise RuntimeError("no GPU is there for torch")
    facts: Results = {name: version(name) for name in libraries} | {"cpus": os.cpu_count()}
    facts["device"] = "cpu"
    if bench.device.type == "cuda":
        facts["device"] = torch.cuda.get_device_name(bench.device)
        facts["memory_gb"] = torch.cuda.get_device_properties(bench.device).total_memory / 1e9
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        facts[f"matrix_product_{name}_tflop_a_second"] = _product(bench, dtype)
    if bench.device.type == "cuda":
        with _tf32():
            facts["matrix_product_tf32_tflop_a_second"] = _product(bench, torch.float32)
    values = torch.empty(2**26 if bench.device.type == "cuda" else 2**22, device=bench.device)
    seconds = bench.timed(values.clone, times=10)
    facts["copy_gb_a_second_read_and_written"] = 2 * values.nbytes / seconds / 1e9
    return facts


def _product(bench: Bench, dtype: torch.dtype) -> float:
    size = 8192 if bench.device.type == "cuda" else 512
    first = torch.randn(size, size, device=bench.device, dtype=dtype)
    seconds = bench.timed(lambda: first @ first, times=10, warm=3)
    return 2 * size**3 / seconds / 1e12


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    products: Any = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "tf32"
    try:
        yield
    finally:
        products.fp32_precision = before


# --- reading --------------------------------------------------------------------------------------


def reading(bench: Bench) -> Results:
    """Rows of residuals a second: through HDF5, and as trainings read them, by 1 to 8 threads."""
    pool = open_pools(bench.files, ["normal"])["normal"]
    rows: StoredRows = pool.residuals
    wanted = [row for _ in range(2) for row in range(len(rows))]
    found: Results = {"mb_a_row": rows[0].nbytes / 1e6}
    begun = time.perf_counter()
    for row in wanted[: len(rows)]:
        rows.array[row]
    found["rows_a_second_through_hdf5"] = len(rows) / (time.perf_counter() - begun)
    for threads in (1, 2, 4, 8):
        with ThreadPoolExecutor(threads) as readers:
            begun = time.perf_counter()
            list(readers.map(rows.__getitem__, wanted))
            found[f"rows_a_second_by_{threads}_threads"] = len(wanted) / (
                time.perf_counter() - begun
            )
    case = adclick_case(bench.config, "finetuned_lang")
    draw, cells = drawer(case, bench.files), bench.config.network.click_cells

    def prepare(step: int) -> object:
        batch = draw(step)
        return send(
            batch,
            start_clicks(batch, case.plan, cells=cells, seed=SEED, step=step),
            torch.device("cpu"),
        )

    for threads in (1, 4, 8):
        with ThreadPoolExecutor(threads) as readers:
            begun = time.perf_counter()
            list(readers.map(prepare, range(16)))
            found[f"batches_a_second_by_{threads}_threads"] = 16 / (time.perf_counter() - begun)
    return found


# --- trainings ------------------------------------------------------------------------------------

TRAININGS = {
    "adclick_lang": lambda config: adclick_case(config, "finetuned_lang"),
    "adclick": lambda config: adclick_case(config, "finetuned"),
    "seg_lang": lambda config: seg_case(config, "weak_pil"),
    "seg": lambda config: seg_case(config, "weak_pi"),
    "seg_unsupervised": lambda config: seg_case(config, "unsupervised"),
}


def training(name: str, **ways: Any) -> Part:
    """A part that measures the steps of a training; see `_steps` for the ways."""
    return lambda bench: _steps(bench, TRAININGS[name](bench.config), **ways)


def _steps(
    bench: Bench,
    case: Case,
    *,
    precision: str = "bfloat16",
    fused: bool | None = None,
    spread: bool | None = None,
    plain: bool = False,
    tf32: bool = False,
    compiled: bool = False,
    repeatable: bool = True,
    share: float = 1.0,
) -> Results:
    """Seconds a step, the share spent waiting, TFLOP a second, memory.

    `fused` False is attention written out, `spread` False torch's own norms of maps, `plain`
    reading through HDF5 by one thread, which also turns, `repeatable` False adding in any order;
    `share` is that of the steps.
    """
    case = replace(case, plan=replace(case.plan, precision=precision))  # type: ignore[arg-type]
    steps = WARM + max(2, round(share * bench.options.steps))
    model = bench.model(case)
    _reset_peak(bench)
    SwinBlock.fused, WholeNorm.spread = fused, spread
    torch.use_deterministic_algorithms(repeatable, warn_only=True)
    clock = Clock()
    began = time.perf_counter()
    try:
        if compiled:
            _compile(model)
        with _tf32() if tf32 else contextlib.nullcontext():
            _, losses = train(
                model,
                drawer(case, bench.files, plain=plain),
                replace(case.plan, steps=steps),
                seed=SEED,
                device=bench.device,
                readers=1 if plain else None,
                clock=clock,
            )
    finally:
        SwinBlock.fused = WholeNorm.spread = None
        torch.use_deterministic_algorithms(True, warn_only=True)
    whole_s = time.perf_counter() - began
    each = np.add(clock.waiting_s, clock.stepping_s)[WARM:]
    fixed, a_round = _flops(bench, case, model)
    rounds = [_rounds(bench, case, step) for step in range(WARM, steps)]
    done = sum(fixed + a_round * count for count in rounds)
    counted = Clock(clock.waiting_s[WARM:], clock.stepping_s[WARM:])
    return {
        "what": case.name,
        "precision": precision,
        "pictures_a_step": sum(case.counts.values()),
        "parameters": sum(value.numel() for value in model.parameters()),
        "parameters_trained": sum(v.numel() for v in model.parameters() if v.requires_grad),
        "steps_measured": len(each),
        "seconds_a_step": float(each.mean()),
        "seconds_a_step_median": float(np.median(each)),
        "waiting_share": counted.waiting_share,
        "click_rounds_a_step": float(np.mean(rounds)),
        "tflop_a_step_counted": done / len(each) / 1e12,
        "tflop_a_round_counted": a_round / 1e12,
        "tflop_a_second": done / float(each.sum()) / 1e12,
        "peak_memory_gb": _peak_gb(bench),
        "seconds_of_first_steps": np.add(clock.waiting_s, clock.stepping_s)[:WARM].tolist(),
        "seconds_with_start": whole_s,
        "hours_for_4000_steps": float(each.mean()) * 4000 / 3600,
        "last_loss": losses[-1],
        "finite": bool(np.isfinite(losses).all()),
    }


def _rounds(bench: Bench, case: Case, step: int) -> int:
    return _prepared(bench, case, step, torch.device("cpu"), small=True).clicks.rounds


def _prepared(
    bench: Bench, case: Case, step: int, device: torch.device, *, small: bool = False
) -> Any:
    """A step's batch; `small` always the first one's pictures, which cost no reading."""
    key = f"{case.name} {0 if small else step}"
    if key not in bench.drawn:
        bench.drawn[key] = drawer(case, bench.files)(0 if small else step)
    batch = bench.drawn[key]
    cells = bench.config.network.click_cells if case.name.startswith("ADClick ") else None
    return send(batch, start_clicks(batch, case.plan, cells=cells, seed=SEED, step=step), device)


def _flops(bench: Bench, case: Case, model: nn.Module) -> tuple[float, float]:
    """Operations of a step without corrective clicks, forward and backward, and of each round."""
    if case.name not in bench.counted:
        counts = [_counted(bench, case, model, rounds) for rounds in (0, 1)]
        bench.counted[case.name] = (counts[0], counts[1] - counts[0])
    return bench.counted[case.name]


def _counted(bench: Bench, case: Case, model: nn.Module, rounds: int) -> float:
    ready = _prepared(bench, case, 0, bench.device, small=True)
    ready = replace(ready, clicks=replace(ready.clicks, rounds=rounds))
    model.train()
    SwinBlock.fused = False  # every product is counted
    try:
        with FlopCounterMode(display=False) as counter:
            logits, labels = forward_with_clicks(model, ready, case.plan)
            normalized_focal_loss(logits, labels).backward()
    finally:
        SwinBlock.fused = None
        model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())


def _compile(model: nn.Module) -> None:
    """The trunk's blocks compiled, one program for all that are alike."""
    torch._dynamo.config.recompile_limit = 64
    trunk: Any = model.trunk
    for block in trunk.blocks:
        block.compile(dynamic=False)


def profile(bench: Bench) -> Results:
    """Where the device spends a step of ADClick with language: the 30 dearest kernels."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    case = TRAININGS["adclick_lang"](bench.config)
    model = bench.model(case).train()
    ready = [_prepared(bench, case, step, bench.device) for step in range(4)]
    given = [replace(one, clicks=replace(one.clicks, rounds=1)) for one in ready]
    on_gpu = bench.device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    for one in given[:2]:
        _forward_backward(model, one, case)
    bench.wait()
    with profiled(activities=kinds) as seen:
        for one in given[2:]:
            _forward_backward(model, one, case)
        bench.wait()
    order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    table = seen.key_averages().table(sort_by=order, row_limit=30, max_name_column_width=60)
    return {"what": "two steps, forward and backward, one round each", "table": table.splitlines()}


def _forward_backward(model: nn.Module, ready: Any, case: Case) -> None:
    logits, labels = forward_with_clicks(model, ready, case.plan)
    normalized_focal_loss(logits, labels).backward()
    model.zero_grad(set_to_none=True)


def agreement(bench: Bench) -> Results:
    """How bfloat16 differs from float32 on one batch: logits, loss, gradient."""
    found: Results = {}
    for name in ("adclick_lang", "seg_lang"):
        case = TRAININGS[name](bench.config)
        model = bench.model(case).eval()
        answers = {}
        for precision in ("float32", "bfloat16"):
            plan = replace(case.plan, precision=precision, click_rounds=0)  # type: ignore[arg-type]
            own = replace(case, plan=plan)
            ready = _prepared(bench, own, 0, bench.device)
            logits, labels = forward_with_clicks(model, ready, plan)
            loss = normalized_focal_loss(logits, labels)
            loss.backward()
            gradient = [
                value.grad.flatten() for value in model.parameters() if value.grad is not None
            ]
            answers[precision] = (logits.detach(), loss.detach(), torch.cat(gradient))
            model.zero_grad(set_to_none=True)
        full, half = answers["float32"], answers["bfloat16"]
        found[name] = {
            "logits_relative_difference": _relative(half[0], full[0]),
            "probability_largest_difference": float(
                (half[0].sigmoid() - full[0].sigmoid()).abs().max()
            ),
            "loss": [float(full[1]), float(half[1])],
            "gradient_relative_difference": _relative(half[2], full[2]),
            "gradient_cosine": float(
                torch.nn.functional.cosine_similarity(half[2], full[2], dim=0)
            ),
        }
    return found


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# --- features and matching ------------------------------------------------------------------------


def features(bench: Bench) -> Results:
    """Patch features of pictures, images a second, and how far halves are from float32."""
    backbone = _backbone(bench.config).to(bench.device)
    settings, size = bench.config.features, bench.config.size_px
    random = np.random.default_rng(0)
    given = random.integers(0, 256, (settings.batch_size, size, size, 3), dtype=np.uint8)
    found: Results = {"what": f"{settings.backbone}, {size} px, seeded weights"}
    full = None
    for halved in (False, True):
        backbone.halved = halved
        name = "float16" if halved else "float32"
        images, maps = torch.from_numpy(given).to(bench.device), []
        alone = bench.timed(lambda: backbone(images), times=5, warm=2)  # noqa: B023

        def read(maps: list[np.ndarray] = maps) -> None:
            maps[:] = _extract(backbone, given, bench.config)

        whole = bench.timed(read, times=3)
        found[f"images_a_second_{name}_backbone_alone"] = len(given) / alone
        found[f"images_a_second_{name}_with_pooling_and_copy_to_host"] = len(given) / whole
        if full is None:
            full = maps[0]
        else:
            found["patches_relative_difference"] = float(
                np.linalg.norm(maps[0] - full) / np.linalg.norm(full)
            )
    return found


def _extract(backbone: Backbone, given: np.ndarray, config: Config) -> list[np.ndarray]:
    settings = config.features
    return list(
        extract(
            backbone,
            given,
            grid=(config.grid, config.grid),
            layer_dimensions=tuple(settings.layer_dimensions),
            dimension=settings.dimension,
        )
    )


def _backbone(config: Config) -> Backbone:
    settings = config.features
    name = settings.backbone.split(".")[0]  # no weights, so no tag
    return load_backbone(name, layers=tuple(settings.layers), source="seeded")


def residuals(bench: Bench) -> Results:
    """Location-aware matching of a picture with K images, and a whole comparison: images a
    second.
    """
    config, random = bench.config, np.random.default_rng(0)
    shape = (config.grid, config.grid, config.features.dimension)
    count = config.retrieval.neighbours
    radius = config.matchings[config.matching].radius
    common = random.standard_normal(shape, np.float32)
    bank = np.empty((count, *shape), np.float16)
    for row in range(count):
        bank[row] = common + 0.5 * random.standard_normal(shape, np.float32)
    query = (common + 0.5 * random.standard_normal(shape, np.float32)).astype(np.float32)
    here = torch.from_numpy(bank).to(bench.device)
    asked = torch.from_numpy(query).to(bench.device)
    matching = bench.timed(lambda: match_in_bank(asked, here, range(count), radius), times=3)
    channels = 256
    given = Bank(
        bank,
        np.zeros((count, 2 * config.grid, 2 * config.grid), np.float16),
        np.ones(channels, np.float32),
        np.array([0.0, 0.0, 1.0], np.float32),
    )
    layer1 = random.standard_normal((config.grid * 2, config.grid * 2, channels), np.float32)

    def whole(source: Bank) -> object:
        ids = np.arange(count)
        return compare(
            query,
            layer1,
            source,
            matched=ids,
            joined=ids[: config.foreground.neighbours],
            radius=radius,
            device=bench.device,
        )

    found = {
        "what": f"K = {count}, radius {radius}, {shape}",
        "images_a_second_matching_bank_on_device": 1 / matching,
    }
    seconds = bench.timed(lambda: whole(given), times=3)
    found["images_a_second_compared_bank_in_host_memory"] = 1 / seconds
    return found


# --- tests, and all of it -------------------------------------------------------------------------


def gpu_tests(bench: Bench) -> Results:
    """The tests marked `gpu`."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *GPU_TESTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=max(20.0, min(120.0, bench.left_s)),
        check=False,
    )
    return {"exit": done.returncode, "output": (done.stdout + done.stderr).splitlines()[-30:]}


def compiling(bench: Bench) -> Results:
    """Steps with compiled blocks, in a process that ends when the time does."""
    output = bench.folder / "compiled.json"
    command = [sys.executable, "-m", "benchmarks.device", "--output", str(output)]
    command += ["--device", bench.options.device, "--steps", str(bench.options.steps)]
    command += ["--pictures", str(bench.options.pictures), "--minutes", "10"]
    command += ["--parts", "compiled_seg", "compiled_adclick_lang"]
    if bench.options.config:
        command += ["--config", str(bench.options.config)]
    own_lock = os.environ | {LOCK_FOLDER_VARIABLE: str(bench.folder)}  # this process has the other
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command,
            cwd=ROOT,
            timeout=max(20.0, bench.left_s),
            capture_output=True,
            check=False,
            env=own_lock,
        )
    if not output.exists():
        return {"what": "nothing was finished in time"}
    return json.loads(output.read_text(encoding="utf-8"))["parts"]


PARTS: dict[str, Part] = {
    "machine": machine,
    "reading": reading,
    "adclick_lang": training("adclick_lang"),
    "seg_lang": training("seg_lang"),
    "seg": training("seg"),
    "adclick": training("adclick"),
    "adclick_lang_attention_written_out": training("adclick_lang", fused=False, share=0.5),
    "seg_lang_attention_written_out": training("seg_lang", fused=False, share=0.5),
    "adclick_lang_torchs_norms": training("adclick_lang", spread=False, share=0.5),
    "adclick_lang_in_any_order": training("adclick_lang", repeatable=False, share=0.5),
    "adclick_lang_float32": training("adclick_lang", precision="float32", share=0.3),
    "seg_lang_float32": training("seg_lang", precision="float32", share=0.3),
    "adclick_lang_as_before": training(
        "adclick_lang", precision="float32", fused=False, plain=True, share=0.2
    ),
    "adclick_lang_tf32": training("adclick_lang", precision="float32", tf32=True, share=0.3),
    "agreement": agreement,
    "features": features,
    "residuals": residuals,
    "profile": profile,
    "gpu_tests": gpu_tests,
    "compiling": compiling,
}
ASKED_FOR: dict[str, Part] = {
    "compiled_adclick_lang": training("adclick_lang", compiled=True),
    "compiled_seg": training("seg", compiled=True),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts in turn, and write what is known after each."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    found: Results = {"what": __doc__, "options": vars(options) | {"output": str(options.output)}}
    found["options"]["config"] = str(options.config)
    parts: Results = {}
    found["parts"] = parts
    on_cpu = contextlib.nullcontext(torch.device("cpu"))
    with (
        compute_device() if options.device == "cuda" else on_cpu as device,
        tempfile.TemporaryDirectory() as folder,
    ):
        bench = Bench(options, Path(folder), device)
        for name in options.parts:
            if bench.left_s < 5:
                parts[name] = {"not begun": "no time was left"}
                continue
            begun = time.monotonic()
            try:
                parts[name] = copy.copy((PARTS | ASKED_FOR)[name](bench))
            except Exception:
                parts[name] = {"failed": traceback.format_exc().splitlines()[-12:]}
            parts[name]["part_took_s"] = time.monotonic() - begun
            _clean(bench)
            _write(options.output, found)
            print(name, json.dumps(_short(parts[name])), flush=True)
    _write(options.output, found)


def _short(part: Results) -> Results:
    """What a line on the terminal has room for."""
    kept = {key: value for key, value in part.items() if not isinstance(value, list | dict)}
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in kept.items()} | {
        key: value for key, value in part.items() if key == "failed"
    }


def _write(path: Path, found: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")


def _clean(bench: Bench) -> None:
    for model in bench.models.values():
        model.cpu()
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()


def _reset_peak(bench: Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)


def _peak_gb(bench: Bench) -> float | None:
    if bench.device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(bench.device) / 1e9


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a JSON file")
    parser.add_argument(
        "--device", default="cuda", choices=["cuda", "cpu"], help="cuda, or cpu to try the script"
    )
    parser.add_argument("--config", type=Path, help="an overlay, for other sizes than the paper's")
    parser.add_argument("--minutes", type=float, default=5, help="after them no part begins")
    parser.add_argument("--steps", type=int, default=30, help="of a training (default: 30)")
    parser.add_argument("--pictures", type=int, default=24, help="normal ones (default: 24)")
    parser.add_argument("--threads", type=int, default=8, help="of a job (default: 8)")
    known = [*PARTS, *ASKED_FOR]
    parser.add_argument("--parts", nargs="*", choices=known, default=[*PARTS], metavar="PART")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
