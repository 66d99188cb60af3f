"""The embedded data set: three made-up products drawn from a seed, with exact defect masks.

Woven cloth, a steel washer and a two-coloured capsule, each with three kinds of defect. Normal
pictures vary in light, exposure, noise, dust, position and material. All is drawn at four times the
size and averaged down. The same generator state gives the same product to `draw_normal` and to
`draw_defect`, so a defective picture has a flawless twin.

Models are tuned on these pictures: a change of anything here makes earlier numbers incomparable.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from adclick.data.images import write_png

DEFECT_TYPES = {
    "cloth": ("hole", "loose_thread", "stain"),
    "washer": ("chipped", "rust", "scratch"),
    "capsule": ("crack", "dent", "misprint"),
}
CATEGORIES = tuple(DEFECT_TYPES)
SUPERSAMPLING = 4
THREADS = 64  # more than a picture ever shows
NOISE = 0.014  # standard deviation of the sensor, full scale 1

Plane = Float32[np.ndarray, "height width"]
Surface = Float32[np.ndarray, "3 height width"]
Damaged = tuple[Surface, Plane]  # what the product looks like, and how much of a pixel is defective


@dataclass(frozen=True)
class _Grid:
    """Positions in units of the picture's side, at the drawing resolution."""

    x: Plane
    y: Plane
    side: int


@dataclass(frozen=True)
class _Camera:
    """Light, exposure, dust and sensor noise of one photograph."""

    gradient: tuple[float, float]
    exposure: float
    tint: Float32[np.ndarray, "3"]
    dust: Float32[np.ndarray, "speck 4"]  # x, y, radius, contrast
    noise_seed: int


@dataclass(frozen=True)
class _Cloth:
    camera: _Camera
    period: float
    angle: float
    phase: tuple[float, float]
    ripple: Float32[np.ndarray, "2 5 5"]
    tints: Float32[np.ndarray, "2 thread"]
    slubs: Float32[np.ndarray, "2 thread thread"]
    frays: Float32[np.ndarray, "2 thread"]
    colours: Float32[np.ndarray, "2 3"]


@dataclass(frozen=True)
class _Washer:
    camera: _Camera
    centre: tuple[float, float]
    radii: tuple[float, float]
    sheen: tuple[float, float]
    lathe: Float32[np.ndarray, " ring"]
    clouds: Float32[np.ndarray, "7 7"]
    speckle: Float32[np.ndarray, "96 96"]
    colour: Float32[np.ndarray, "3"]


@dataclass(frozen=True)
class _Capsule:
    camera: _Camera
    centre: tuple[float, float]
    angle: float
    scale: float
    roll: float
    slide: float
    colours: Float32[np.ndarray, "2 3"]
    clouds: Float32[np.ndarray, "9 9"]
    speckle: Float32[np.ndarray, "96 96"]


# --- what people call ---------------------------------------------------------------------------


def draw_normal(
    category: str, size_px: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """A picture of a flawless product."""
    _, draw_scene, paint = _PRODUCTS[category]
    scene = draw_scene(generator)
    return _photograph(paint(scene, _grid(size_px)), scene.camera, size_px)


def draw_defect(
    category: str, defect_type: str, size_px: int, generator: np.random.Generator
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """A picture of a product with one defect, and its mask: the pixels that it covers by half.

    Where a small picture has no such pixel, half of the best covered one's coverage is enough.
    """
    damages, draw_scene, _ = _PRODUCTS[category]
    scene = draw_scene(generator)
    surface, coverage = damages[defect_type](scene, _grid(size_px), generator)
    covered = np.asarray(cv2.resize(coverage, (size_px, size_px), interpolation=cv2.INTER_AREA))
    mask = covered >= min(0.5, covered.max() / 2)
    return _photograph(surface, scene.camera, size_px), mask


def draw_toy(
    root: Path,
    *,
    size_px: int,
    normals: int,
    test_normals: int,
    defects_per_type: int,
    seed: int,
) -> None:
    """Write the data set as PNG files in MVTec AD's layout, one folder a category under `root`.

    Every picture has a generator of its own, made of the seed and the picture's name, so that the
    first pictures stay the same when more are asked for. A category's folder appears when it is
    whole, and takes the place of an older one.
    """
    for category in CATEGORIES:
        part = root / f".{category}.part"
        shutil.rmtree(part, ignore_errors=True)
        good = [f"train/good/{number:03}" for number in range(normals)]
        good += [f"test/good/{number:03}" for number in range(test_normals)]
        for name in good:
            image = draw_normal(category, size_px, _generator(seed, category, name))
            write_png(part / f"{name}.png", image)
        for defect_type in DEFECT_TYPES[category]:
            for number in range(defects_per_type):
                name = f"{defect_type}/{number:03}"
                generator = _generator(seed, category, name)
                image, mask = draw_defect(category, defect_type, size_px, generator)
                write_png(part / f"test/{name}.png", image)
                write_png(part / f"ground_truth/{name}_mask.png", mask)
        shutil.rmtree(root / category, ignore_errors=True)
        part.replace(root / category)


def _generator(seed: int, category: str, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(f"{category}/{name}".encode())])


# --- camera -------------------------------------------------------------------------------------


def _draw_camera(generator: np.random.Generator) -> _Camera:
    direction = generator.uniform(0, 2 * np.pi)
    strength = generator.uniform(0.08, 0.30)
    specks = int(generator.integers(1, 6))
    return _Camera(
        gradient=(strength * float(np.cos(direction)), strength * float(np.sin(direction))),
        exposure=generator.uniform(0.88, 1.08),
        tint=_float32(1 + 0.012 * generator.standard_normal(3)),
        dust=_float32(
            np.column_stack(
                [
                    generator.uniform(0, 1, (specks, 2)),
                    generator.uniform(0.003, 0.007, specks),
                    generator.uniform(-0.22, 0.16, specks),
                ]
            )
        ),
        noise_seed=int(generator.integers(2**32)),
    )


def _photograph(
    surface: Surface, camera: _Camera, size_px: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The surface averaged down, lit, dusted and with sensor noise, in 8 bits."""
    picture = cv2.resize(cv2.merge(list(surface)), (size_px, size_px), interpolation=cv2.INTER_AREA)
    grid = _grid(size_px, supersampling=1)
    horizontal, vertical = camera.gradient
    light = camera.exposure * (1 + horizontal * (grid.x - 0.5) + vertical * (grid.y - 0.5))
    for x, y, radius, contrast in camera.dust:
        distance = (grid.x - x) ** 2 + (grid.y - y) ** 2
        light = light * (1 + contrast * np.exp(-distance / (2 * radius**2)))
    noise = np.random.default_rng(camera.noise_seed)
    grain = noise.normal(0, NOISE, (size_px, size_px, 1)) + noise.normal(
        0, NOISE / 3, (size_px, size_px, 3)
    )
    lit = picture * light[:, :, None] * camera.tint + grain
    return np.clip(np.rint(lit * 255), 0, 255).astype(np.uint8)


# --- cloth --------------------------------------------------------------------------------------


def _draw_cloth(generator: np.random.Generator) -> _Cloth:
    shade = np.float32(1 + 0.04 * generator.standard_normal())
    return _Cloth(
        camera=_draw_camera(generator),
        period=generator.uniform(0.0385, 0.0425),
        angle=float(np.deg2rad(generator.normal(0, 1.5))),
        phase=(generator.uniform(0, 4), generator.uniform(0, 4)),
        ripple=_float32(0.16 * generator.standard_normal((2, 5, 5))),
        tints=_float32(1 + 0.055 * generator.standard_normal((2, THREADS))),
        slubs=_float32(0.06 * generator.standard_normal((2, THREADS, THREADS))),
        frays=_float32(generator.standard_normal((2, THREADS))),
        colours=_float32([[0.34, 0.49, 0.68], [0.72, 0.78, 0.84]]) * shade,
    )


def _paint_cloth(scene: _Cloth, grid: _Grid, hole: Plane | None = None) -> Surface:
    """A twill seen from above: each thread passes over two others and under the next two.

    `hole` is a distance field; where it is below about 1 the threads are torn off, each at its own
    length, and a dark table shows through.
    """
    across, along = _weave_positions(scene, grid)
    warp, weft = np.floor(across), np.floor(along)
    from_warp, from_weft = across - warp - 0.5, along - weft - 0.5
    round_warp, round_weft = _round(from_warp / 0.49), _round(from_weft / 0.49)
    warp_bow, weft_bow = np.sin((np.pi / 2) * (along + warp)), np.sin((np.pi / 2) * (across + weft))
    warp_height, weft_height = 0.5 * round_warp + warp_bow, 0.5 * round_weft - weft_bow
    warp, weft = warp.astype(np.int32) % THREADS, weft.astype(np.int32) % THREADS
    if hole is not None:
        warp_height[hole < 1 + 0.20 * scene.frays[0][warp]] = -9
        weft_height[hole < 1 + 0.20 * scene.frays[1][weft]] = -9
    on_top = _float32(warp_height > weft_height)
    height = np.maximum(warp_height, weft_height)
    twist = np.sin((2 * np.pi) * (from_weft + from_warp + _mix(from_warp, from_weft, on_top)))
    tint = _mix(scene.tints[1][weft], scene.tints[0][warp], on_top)
    tint += _mix(scene.slubs[1][weft, warp // 2], scene.slubs[0][warp, weft // 2], on_top)
    shade = 0.56 + 0.34 * _mix(round_weft, round_warp, on_top) + 0.10 * height
    shade *= (1 + 0.05 * twist) * tint
    surface = shade * _mix(_colour(scene.colours[1]), _colour(scene.colours[0]), on_top)
    return _mix(surface, _colour([0.06, 0.06, 0.06]), _float32(height < -1))


def _weave_positions(scene: _Cloth, grid: _Grid) -> tuple[Plane, Plane]:
    """Where each point lies across the warp and along it, in threads."""
    cosine, sine = float(np.cos(scene.angle)), float(np.sin(scene.angle))
    across = (grid.x * cosine - grid.y * sine) / scene.period + scene.phase[0] + 4
    along = (grid.x * sine + grid.y * cosine) / scene.period + scene.phase[1] + 4
    return across + _stretch(scene.ripple[0], grid), along + _stretch(scene.ripple[1], grid)


def _hole(scene: _Cloth, grid: _Grid, generator: np.random.Generator) -> Damaged:
    blob = _blob(generator, area=generator.uniform(0.012, 0.035), margin=0.14)
    distance = _blob_distance(blob, grid)
    flawless, surface = _paint_cloth(scene, grid), _paint_cloth(scene, grid, distance)
    torn = (np.abs(surface - flawless).max(axis=0) > 0.05).astype(np.uint8)
    closed = cv2.morphologyEx(torn, cv2.MORPH_CLOSE, _disk(0.012, grid))
    covered = _float32(cv2.morphologyEx(closed, cv2.MORPH_OPEN, _disk(0.012, grid)))
    shadow = 0.15 * _smoothstep(1.2, 1.0, distance) * (1 - covered)
    return _mix(flawless, surface, covered) * (1 - shadow), covered


def _loose_thread(scene: _Cloth, grid: _Grid, generator: np.random.Generator) -> Damaged:
    path = _wander(generator, length=generator.uniform(0.40, 0.75), bend=1.3)
    width = generator.uniform(0.0075, 0.0095)
    distance = _distance_to(path, grid) / width
    shadow = _distance_to(path + np.float32(0.011), grid) / width
    colour = _pick(generator, [[0.95, 0.92, 0.84], [0.88, 0.36, 0.14], [0.10, 0.11, 0.16]])
    surface = _paint_cloth(scene, grid) * (1 - 0.45 * _smoothstep(1.8, 0.4, shadow))
    covered = _float32(distance < 1)
    return _mix(surface, _colour(colour) * (0.55 + 0.45 * _round(distance)), covered), covered


def _stain(scene: _Cloth, grid: _Grid, generator: np.random.Generator) -> Damaged:
    blob = _blob(generator, area=generator.uniform(0.018, 0.05), margin=0.18)
    distance = _blob_distance(blob, grid)
    for _ in range(int(generator.integers(0, 4))):
        aside = blob.radius * generator.uniform(1.2, 1.7)
        drop = _around(generator, blob.centre, aside)
        distance = np.minimum(
            distance, _blob_distance(_blob(generator, area=0.0012, centre=drop), grid)
        )
    distance += 0.10 * _stretch(_float32(generator.standard_normal((14, 14))), grid)
    strength = generator.uniform(0.65, 1.0)
    colour = _pick(generator, [[0.46, 0.30, 0.14], [0.30, 0.29, 0.28], [0.58, 0.14, 0.22]])
    ring = np.exp(-(((distance - 0.88) / 0.09) ** 2))
    alpha = strength * _smoothstep(1.06, 0.94, distance) * (0.70 + 0.30 * ring)
    surface = _paint_cloth(scene, grid) * (1 - alpha * (1 - _colour(colour)))
    return surface, _float32(distance < 1)


# --- washer -------------------------------------------------------------------------------------


def _draw_washer(generator: np.random.Generator) -> _Washer:
    shade = np.float32(1 + 0.03 * generator.standard_normal())
    return _Washer(
        camera=_draw_camera(generator),
        centre=(
            0.5 + 0.012 * generator.standard_normal(),
            0.5 + 0.012 * generator.standard_normal(),
        ),
        radii=(0.172 + generator.uniform(-0.006, 0.006), 0.385 + generator.uniform(-0.006, 0.006)),
        sheen=(generator.uniform(0, 2 * np.pi), generator.uniform(0, 2 * np.pi)),
        lathe=_float32(generator.standard_normal(160)),
        clouds=_float32(generator.standard_normal((7, 7))),
        speckle=_float32(generator.standard_normal((96, 96))),
        colour=_float32([0.80, 0.81, 0.82]) * shade,
    )


def _paint_washer(scene: _Washer, grid: _Grid, missing: Plane | None = None) -> Surface:
    """A turned steel ring on a dark rubber mat, lit from the upper left.

    `missing` is a distance field: where it is below 1 the metal is gone, and around that its broken
    edge shows.
    """
    radius, angle = _polar(scene, grid)
    inner, outer = scene.radii
    ring = _float32((radius > inner) & (radius < outer))
    mat = 0.25 + 0.018 * _stretch(scene.speckle, grid) + 0.012 * _stretch(scene.clouds, grid)
    shadow = 0.55 * _ring_shadow(scene, grid)
    if missing is not None:
        shadow *= _smoothstep(0.55, 1.0, missing)
    mat *= 1 - shadow
    metal = _metal(scene, grid, radius, angle)
    if missing is not None:
        ring *= missing > 1
        metal *= 1 - (0.38 - 0.25 * np.sin(40 * angle) ** 2) * (missing < 1.16)
    return _mix(mat * _colour([0.95, 1.05, 1.12]), metal * _colour(scene.colour), ring)


def _metal(scene: _Washer, grid: _Grid, radius: Plane, angle: Plane) -> Plane:
    """Brightness of the ring: a turned face's two-fold sheen, its grooves, and bevelled rims."""
    inner, outer = scene.radii
    sheen = (
        0.74 + 0.17 * np.cos(2 * (angle - scene.sheen[0])) + 0.06 * np.cos(angle - scene.sheen[1])
    )
    groove = _lookup(scene.lathe, (radius - inner) / (outer - inner))
    towards_light = np.cos(angle + 0.75 * np.pi)
    outside = _smoothstep(outer - 0.020, outer, radius)
    inside = _smoothstep(inner + 0.018, inner, radius)
    metal = sheen + 0.030 * groove + 0.03 * _stretch(scene.clouds, grid)
    return _float32(metal + (0.22 * outside - 0.26 * inside) * towards_light)


def _ring_shadow(scene: _Washer, grid: _Grid) -> Plane:
    radius = _length(grid.x - scene.centre[0] - 0.016, grid.y - scene.centre[1] - 0.020)
    inner, outer = scene.radii
    return _smoothstep(inner - 0.02, inner + 0.02, radius) * _smoothstep(
        outer + 0.02, outer - 0.02, radius
    )


def _polar(scene: _Washer, grid: _Grid) -> tuple[Plane, Plane]:
    x, y = grid.x - scene.centre[0], grid.y - scene.centre[1]
    return _length(x, y), np.arctan2(y, x)


def _chipped(scene: _Washer, grid: _Grid, generator: np.random.Generator) -> Damaged:
    rim = scene.radii[1]
    centre = _around(generator, scene.centre, rim)
    blob = _blob(generator, area=generator.uniform(0.018, 0.045), centre=centre)
    jagged = 0.07 * _stretch(_float32(generator.standard_normal((40, 40))), grid)
    distance = _blob_distance(blob, grid) + jagged
    radius, _ = _polar(scene, grid)
    ring = (radius > scene.radii[0]) & (radius < rim)
    return _paint_washer(scene, grid, distance), _float32(ring & (distance < 1.16))


def _rust(scene: _Washer, grid: _Grid, generator: np.random.Generator) -> Damaged:
    radius = generator.uniform(scene.radii[0] + 0.05, scene.radii[1] - 0.04)
    centre = _around(generator, scene.centre, radius)
    blob = _blob(generator, area=generator.uniform(0.015, 0.045), centre=centre)
    crumbs = _stretch(_float32(generator.standard_normal((44, 44))), grid)
    distance = _blob_distance(blob, grid) + 0.13 * crumbs
    at, _ = _polar(scene, grid)
    ring = (at > scene.radii[0]) & (at < scene.radii[1])
    alpha = generator.uniform(0.7, 0.95) * _smoothstep(1.08, 0.86, distance) * ring
    grain = 0.85 + 0.16 * _stretch(_float32(generator.standard_normal((70, 70))), grid)
    surface = _mix(_paint_washer(scene, grid), _colour([0.56, 0.29, 0.13]) * grain, alpha)
    return surface, _float32((distance < 1) & ring)


def _scratch(scene: _Washer, grid: _Grid, generator: np.random.Generator) -> Damaged:
    radius = generator.uniform(scene.radii[0] + 0.07, scene.radii[1] - 0.06)
    middle = _float32(_around(generator, scene.centre, radius))
    path = _wander(generator, length=generator.uniform(0.22, 0.42), bend=0.25)
    path += middle - path.mean(axis=0)
    width = generator.uniform(0.0065, 0.0085)
    distance = _distance_to(path, grid) / width
    at, _ = _polar(scene, grid)
    ring = (at > scene.radii[0]) & (at < scene.radii[1])
    covered = _float32((distance < 1) & ring)
    groove = _distance_to(path + np.float32(0.4 * width), grid) / width
    cut = _colour(scene.colour) * (1.08 - 0.74 * _float32(groove < 0.8))
    return _mix(_paint_washer(scene, grid), cut, covered), covered


# --- capsule ------------------------------------------------------------------------------------

HALF_LENGTH, CAPSULE_RADIUS, SEAM = 0.375, 0.165, -0.03
IMPRINT = "AD25"
GLYPHS = {  # strokes in a box of 1 x 1.6, for the imprint
    "A": [[(0, 1.6), (0.5, 0), (1, 1.6)], [(0.2, 1), (0.8, 1)]],
    "D": [[(0, 0), (0, 1.6), (0.55, 1.5), (1, 1.05), (1, 0.55), (0.55, 0.1), (0, 0)]],
    "2": [[(0, 0.4), (0.25, 0.05), (0.75, 0.05), (1, 0.4), (0.9, 0.75), (0, 1.6), (1, 1.6)]],
    "5": [
        [
            (0.95, 0),
            (0.1, 0),
            (0.05, 0.65),
            (0.6, 0.6),
            (1, 0.95),
            (0.9, 1.4),
            (0.5, 1.6),
            (0, 1.45),
        ]
    ],
}


def _draw_capsule(generator: np.random.Generator) -> _Capsule:
    shade = np.float32(1 + 0.03 * generator.standard_normal())
    return _Capsule(
        camera=_draw_camera(generator),
        centre=(
            0.5 + 0.010 * generator.standard_normal(),
            0.5 + 0.010 * generator.standard_normal(),
        ),
        angle=float(np.deg2rad(generator.normal(0, 1.5))),
        scale=1 + 0.012 * generator.standard_normal(),
        roll=0.022 * generator.standard_normal(),
        slide=0.010 * generator.standard_normal(),
        colours=_float32([[0.80, 0.23, 0.16], [0.95, 0.90, 0.78]]) * shade,
        clouds=_float32(generator.standard_normal((9, 9))),
        speckle=_float32(generator.standard_normal((96, 96))),
    )


def _paint_capsule(
    scene: _Capsule,
    grid: _Grid,
    ink: Plane | None = None,
    tilt: tuple[Plane, Plane] | None = None,
) -> Surface:
    """A glossy two-piece capsule on a pale tray; `tilt` is added to the shell's normals."""
    along, across = _capsule_positions(scene, grid)
    inside, normals = _shell(along, across)
    if tilt is not None:
        normals = (normals[0] + tilt[0], normals[1] + tilt[1], normals[2])
    tray = 0.70 + 0.012 * _stretch(scene.speckle, grid) + 0.008 * _stretch(scene.clouds, grid)
    tray *= 1 - 0.45 * _capsule_shadow(scene, grid)
    diffuse, gloss = _lighting(*normals)
    cap = _float32(along < SEAM)
    colour = _mix(_colour(scene.colours[1]), _colour(scene.colours[0]), cap)
    if ink is None:
        ink = _imprint(scene, grid)
    diffuse *= 1 - 0.82 * ink
    seam = 1 - 0.30 * np.exp(-(((along - SEAM - 0.004) / 0.005) ** 2))
    diffuse *= seam * (1 + 0.02 * _stretch(scene.clouds, grid))
    return _mix(tray * _colour([0.96, 1.00, 1.04]), colour * diffuse + gloss, _float32(inside))


def _capsule_positions(scene: _Capsule, grid: _Grid) -> tuple[Plane, Plane]:
    """Positions along and across the capsule's axis, from its middle."""
    cosine, sine = (
        float(np.cos(scene.angle)) / scene.scale,
        float(np.sin(scene.angle)) / scene.scale,
    )
    x, y = grid.x - scene.centre[0], grid.y - scene.centre[1]
    return x * cosine + y * sine, y * cosine - x * sine


def _shell(
    along: Plane, across: Plane
) -> tuple[Bool[np.ndarray, "height width"], tuple[Plane, Plane, Plane]]:
    """Which points lie on the capsule, and its unit normals (along, across, towards the eye)."""
    radius = CAPSULE_RADIUS * (0.965 + 0.035 * _float32(along < SEAM))
    beyond = np.sign(along) * np.maximum(np.abs(along) - (HALF_LENGTH - CAPSULE_RADIUS), 0) / radius
    sideways = across / radius
    squared = beyond**2 + sideways**2
    return squared < 1, (beyond, sideways, np.sqrt(np.maximum(1 - squared, 0)))


def _lighting(along: Plane, across: Plane, up: Plane) -> tuple[Plane, Plane]:
    """Diffuse and glossy light on a shell of these normals, from a lamp at the upper left."""
    light = np.array([-0.30, -0.52, 0.80], np.float32)
    half = light + np.array([0, 0, 1], np.float32)
    light, half = light / np.linalg.norm(light), half / np.linalg.norm(half)
    length = np.sqrt(along**2 + across**2 + up**2) + np.float32(1e-6)
    facing = (along * light[0] + across * light[1] + up * light[2]) / length
    mirror = (along * half[0] * 0.25 + across * half[1] + up * half[2]) / length
    gloss = np.maximum(mirror, 0)
    for _ in range(6):
        gloss = gloss * gloss  # to the power of 64
    return 0.34 + 0.66 * np.maximum(facing, 0), 0.55 * gloss


def _capsule_shadow(scene: _Capsule, grid: _Grid) -> Plane:
    along, across = _capsule_positions(scene, grid)
    beyond = np.maximum(np.abs(along - 0.012) - (HALF_LENGTH - CAPSULE_RADIUS), 0)
    return _smoothstep(
        CAPSULE_RADIUS + 0.035, CAPSULE_RADIUS - 0.02, _length(beyond, across - 0.020)
    )


def _imprint(
    scene: _Capsule, grid: _Grid, shift: tuple[float, float] = (0.0, 0.0), turn: float = 0.0
) -> Plane:
    """How much of each point is covered by the printed mark, moved and turned on request."""
    canvas = np.zeros((grid.side, grid.side), np.uint8)
    middle = np.array([0.155 + scene.slide + shift[0], scene.roll + shift[1]])
    place = middle @ _rotation(scene.angle) * scene.scale + scene.centre
    for stroke in _letters():
        points = stroke @ _rotation(scene.angle + turn) * scene.scale + place
        cv2.polylines(
            canvas,
            [np.rint(points * grid.side * 16).astype(np.int32)],
            isClosed=False,
            color=255,
            thickness=max(1, round(0.012 * grid.side)),
            lineType=cv2.LINE_AA,
            shift=4,
        )
    return _float32(canvas) / 255


def _letters() -> list[Float64[np.ndarray, "point 2"]]:
    """The strokes of the mark, about its middle, in units of the picture's side."""
    return [
        (np.array(stroke) - (0.5, 0.8)) * 0.050 + ((place - 1.5) * 0.070, 0)
        for place, letter in enumerate(IMPRINT)
        for stroke in GLYPHS[letter]
    ]


def _rotation(angle: float) -> Float64[np.ndarray, "2 2"]:
    """What row vectors (x, y) are multiplied with to turn them by an angle."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def _crack(scene: _Capsule, grid: _Grid, generator: np.random.Generator) -> Damaged:
    along, across = _capsule_positions(scene, grid)
    inside, _ = _shell(along, across)
    middle = _on_capsule(scene, generator, reach=0.30)
    path = _wander(generator, length=generator.uniform(0.24, 0.42), bend=0.6, jitter=0.5, steps=10)
    path += middle - path.mean(axis=0)
    branch = _wander(generator, length=generator.uniform(0.06, 0.12), bend=0.3, jitter=0.4, steps=4)
    branch += path[int(generator.integers(3, 8))] - branch[0]
    width = generator.uniform(0.006, 0.008)
    distance = np.minimum(_distance_to(path, grid), _distance_to(branch, grid)) / width
    covered = _float32((distance < 1) & inside)
    lip = _distance_to(path + np.float32(1.3 * width), grid) / width
    surface = _paint_capsule(scene, grid)
    surface = _mix(surface, _colour([1, 1, 1]), 0.25 * _float32((lip < 0.8) & inside))
    return _mix(surface, _colour([0.12, 0.07, 0.05]), 0.85 * covered), covered


def _dent(scene: _Capsule, grid: _Grid, generator: np.random.Generator) -> Damaged:
    along, across = _capsule_positions(scene, grid)
    inside, _ = _shell(along, across)
    x, y = _on_capsule(scene, generator, reach=0.27)
    radius = generator.uniform(0.070, 0.100)
    away_x, away_y = (grid.x - x) / radius, (grid.y - y) / (radius * generator.uniform(0.7, 1.0))
    distance = _length(away_x, away_y)
    depth = generator.uniform(3.0, 4.2) * np.maximum(1 - distance**2, 0)
    tilt = (_float32(-depth * away_x), _float32(-depth * away_y))
    surface = _paint_capsule(scene, grid, tilt=tilt)
    return surface, _float32((distance < 0.95) & inside)


def _misprint(scene: _Capsule, grid: _Grid, generator: np.random.Generator) -> Damaged:
    right = _imprint(scene, grid)
    kind = int(generator.integers(3))
    side = float(generator.choice([-1.0, 1.0]))
    if kind == 0:
        wrong = _imprint(scene, grid, (0.0, side * 0.05), side * generator.uniform(0.25, 0.45))
    elif kind == 1:
        length = round(generator.uniform(0.06, 0.10) * grid.side)
        wrong = np.minimum(1, 1.5 * cv2.blur(right, (length, 3)) + 0.25 * right)
    else:
        wrong = np.maximum(right, 0.8 * _imprint(scene, grid, (0.030, side * 0.035)))
    changed = (np.abs(wrong - right) > 0.25).astype(np.uint8)
    covered = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, _disk(0.012, grid))
    inside, _ = _shell(*_capsule_positions(scene, grid))
    surface = _paint_capsule(scene, grid, ink=_float32(wrong))
    return surface, _float32(covered.astype(bool) & inside)


def _on_capsule(
    scene: _Capsule, generator: np.random.Generator, reach: float
) -> Float32[np.ndarray, "2"]:
    """A random point on the shell, not too near its outline."""
    along = generator.uniform(-reach, reach)
    across = generator.uniform(-0.45, 0.45) * CAPSULE_RADIUS
    cosine, sine = float(np.cos(scene.angle)), float(np.sin(scene.angle))
    return _float32(
        [
            scene.centre[0] + along * cosine - across * sine,
            scene.centre[1] + along * sine + across * cosine,
        ]
    )


# --- shapes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Blob:
    centre: tuple[float, float]
    radius: float
    stretch: float
    angle: float
    lobes: Float32[np.ndarray, "lobe 2"]  # amplitude and phase of the outline's harmonics 2, 3, ...


def _blob(
    generator: np.random.Generator,
    *,
    area: float,
    margin: float = 0.0,
    centre: tuple[float, float] | None = None,
) -> _Blob:
    """A rounded irregular shape that covers about `area` of the picture."""
    drawn = (generator.uniform(margin, 1 - margin), generator.uniform(margin, 1 - margin))
    amplitudes = generator.uniform(0, 0.16, 4) / np.arange(1, 5)
    return _Blob(
        centre=centre or drawn,
        radius=float(np.sqrt(area / np.pi)),
        stretch=generator.uniform(1.0, 1.5),
        angle=generator.uniform(0, np.pi),
        lobes=_float32(np.column_stack([amplitudes, generator.uniform(0, 2 * np.pi, 4)])),
    )


def _blob_distance(blob: _Blob, grid: _Grid) -> Plane:
    """Distance from the blob's centre in units of its outline there: below 1 is inside."""
    x, y = grid.x - blob.centre[0], grid.y - blob.centre[1]
    cosine, sine = float(np.cos(blob.angle)), float(np.sin(blob.angle))
    long = (x * cosine + y * sine) / float(np.sqrt(blob.stretch))
    short = (y * cosine - x * sine) * float(np.sqrt(blob.stretch))
    angle = np.arctan2(short, long)
    outline = np.ones_like(angle)
    for harmonic, (amplitude, phase) in enumerate(blob.lobes, start=2):
        outline += amplitude * np.cos(harmonic * angle + phase)
    return _length(long, short) / (blob.radius * outline)


def _wander(
    generator: np.random.Generator,
    *,
    length: float,
    bend: float,
    jitter: float = 0.0,
    steps: int = 32,
) -> Float32[np.ndarray, "point 2"]:
    """A path of equal steps about the picture's middle, points (x, y).

    `bend` is how far its direction swings along the way, `jitter` how much it jumps at each step,
    both in radians.
    """
    share = np.linspace(0, 1, steps)
    headings = (
        generator.uniform(0, 2 * np.pi)
        + bend * generator.normal() * np.sin(np.pi * share + generator.uniform(0, np.pi))
        + 0.5 * bend * generator.normal() * np.sin(2 * np.pi * share)
        + jitter * generator.standard_normal(steps)
    )
    strides = length / steps * np.column_stack([np.cos(headings), np.sin(headings)])
    points = np.vstack([[0, 0], np.cumsum(strides, axis=0)])
    target = generator.uniform(0.3, 0.7, 2)
    return _float32(points - points.mean(axis=0) + target)


def _around(
    generator: np.random.Generator, centre: tuple[float, float], radius: float
) -> tuple[float, float]:
    """A random point at a distance from another."""
    angle = generator.uniform(0, 2 * np.pi)
    return centre[0] + radius * float(np.cos(angle)), centre[1] + radius * float(np.sin(angle))


def _disk(radius: float, grid: _Grid) -> UInt8[np.ndarray, "rows columns"]:
    """A round brush for morphology, its radius in units of the picture's side."""
    size = 2 * round(radius * grid.side) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _distance_to(path: Float32[np.ndarray, "point 2"], grid: _Grid) -> Plane:
    """Distance of every point to a path of straight pieces, in units of the picture's side."""
    canvas = np.full((grid.side, grid.side), 255, np.uint8)
    points = np.rint(path * grid.side * 16).astype(np.int32)
    cv2.polylines(canvas, [points], isClosed=False, color=0, thickness=1, shift=4)
    return cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / np.float32(grid.side)


def _grid(size_px: int, supersampling: int = SUPERSAMPLING) -> _Grid:
    side = size_px * supersampling
    centres = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    x, y = np.meshgrid(centres, centres)
    return _Grid(x, y, side)


def _stretch(coarse: Float32[np.ndarray, "rows columns"], grid: _Grid) -> Plane:
    """A coarse table of numbers, smoothly enlarged to the whole picture."""
    return cv2.resize(coarse, (grid.side, grid.side), interpolation=cv2.INTER_CUBIC)


def _smoothstep(start: float, end: float, values: Plane) -> Plane:
    """0 before `start`, 1 after `end`, a smooth rise between; a fall when `end` is smaller."""
    share = np.clip((values - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _round(offset: Plane) -> Plane:
    """The height of a round thread at an offset from its axis, both in radii; 0 beside it."""
    return np.sqrt(np.maximum(1 - offset * offset, 0))


def _length(x: Plane, y: Plane) -> Plane:
    return np.sqrt(x * x + y * y)


def _mix(below: np.ndarray, above: np.ndarray, cover: Plane) -> np.ndarray:
    """`below`, covered by a share of `above`; both may be planes, surfaces or plain colours."""
    return below + cover * (above - below)


def _lookup(table: Float32[np.ndarray, " entry"], share: Plane) -> Plane:
    """A table of numbers read at shares of its length, linearly between its entries."""
    fine = np.interp(np.linspace(0, 1, 2048), np.linspace(0, 1, len(table)), table)
    return _float32(fine)[np.clip(share * 2047, 0, 2047).astype(np.int32)]


def _colour(values: object) -> Float32[np.ndarray, "3 1 1"]:
    return _float32(values).reshape(3, 1, 1)


def _pick(generator: np.random.Generator, colours: list[list[float]]) -> Float32[np.ndarray, "3"]:
    return _float32(colours[int(generator.integers(len(colours)))])


def _float32(values: object) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


# A category's defects, how its scene is drawn from a generator, and how a scene is painted.
_PRODUCTS: dict[str, tuple[dict[str, Callable[..., Damaged]], Callable[..., Any], Any]] = {
    "cloth": (
        {"hole": _hole, "loose_thread": _loose_thread, "stain": _stain},
        _draw_cloth,
        _paint_cloth,
    ),
    "washer": (
        {"chipped": _chipped, "rust": _rust, "scratch": _scratch},
        _draw_washer,
        _paint_washer,
    ),
    "capsule": (
        {"crack": _crack, "dent": _dent, "misprint": _misprint},
        _draw_capsule,
        _paint_capsule,
    ),
}
