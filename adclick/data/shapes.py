"""The shapes of simulated defects: streaks (Perlin noise, scratches), solid blobs, large soft
regions.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

PERLIN_THRESHOLD = 0.5
PERLIN_POWERS = 6  # cells per axis: 1, 2, ... 32
Mask = Bool[np.ndarray, "height width"]
Plane = Float32[np.ndarray, "height width"]


def perlin_noise(
    shape: tuple[int, int], resolution: tuple[int, int], generator: np.random.Generator
) -> Plane:
    """Gradient noise with `resolution` cells along each axis, in [-1, 1], 0 at the cells' corners.

    Source: Perlin, "Improving noise" (2002), fade 6t^5 - 15t^4 + 10t^3; scaled by the root of 2.
    """
    angles = generator.uniform(0, 2 * np.pi, (resolution[0] + 1, resolution[1] + 1))
    sines, cosines = np.sin(angles), np.cos(angles)
    row, down = _cells(shape[0], resolution[0])
    column, right = _cells(shape[1], resolution[1])

    def slope(row_step: int, column_step: int) -> np.ndarray:
        corner = np.ix_(row + row_step, column + column_step)
        rise = sines[corner] * (down - row_step)[:, None]
        return rise + cosines[corner] * (right - column_step)[None, :]

    fade_down, fade_right = _fade(down)[:, None], _fade(right)[None, :]
    top = slope(0, 0) + fade_right * (slope(0, 1) - slope(0, 0))
    bottom = slope(1, 0) + fade_right * (slope(1, 1) - slope(1, 0))
    return (np.sqrt(2) * (top + fade_down * (bottom - top))).astype(np.float32)


def perlin_mask(shape: tuple[int, int], generator: np.random.Generator) -> Mask:
    """Streaks: Perlin noise of random fineness along each axis, turned, above 0.5."""
    powers = generator.integers(0, PERLIN_POWERS, 2)
    noise = perlin_noise(shape, (int(2 ** powers[0]), int(2 ** powers[1])), generator)
    height, width = shape
    turn = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), generator.uniform(-90, 90), 1.0
    )
    turned = cv2.warpAffine(noise, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned) > PERLIN_THRESHOLD


def scratch_mask(shape: tuple[int, int], generator: np.random.Generator) -> Mask:
    """One to three thin wandering lines, 0.4 to 1.2 % of the picture's side wide."""
    canvas = np.zeros(shape, np.uint8)
    side = min(shape)
    for _ in range(int(generator.integers(1, 4))):
        steps = int(generator.integers(6, 24))
        headings = generator.uniform(0, 2 * np.pi) + np.cumsum(
            generator.uniform(0.02, 0.5) * generator.standard_normal(steps)
        )
        stride = side * log_uniform(generator, 0.08, 0.7) / steps
        points = np.cumsum(stride * np.column_stack([np.cos(headings), np.sin(headings)]), axis=0)
        points += generator.uniform(0, 1, 2) * shape[::-1] - points.mean(axis=0)
        thickness = max(1, round(side * generator.uniform(0.004, 0.012)))
        cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, 1, thickness)
    return canvas.astype(bool)


def blob_mask(
    shape: tuple[int, int],
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
) -> Mask:
    """One to three solid spots with an irregular outline, each 0.05 to 8 % of the picture.

    Their centres fall on the foreground, when there is one.
    """
    mask = np.zeros(shape, bool)
    for _ in range(1 + int(generator.integers(0, 3)) * int(generator.random() < 0.35)):
        area = log_uniform(generator, 0.0005, 0.08) * shape[0] * shape[1]
        centre = draw_point(shape, generator, foreground)
        roughness = generator.uniform(0.0, 0.35)
        stretch = log_uniform(generator, 1.0, 3.0)
        mask |= outline_depth(shape, generator, centre, area, stretch, roughness) > 0
    return mask


def soft_region(
    shape: tuple[int, int],
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
) -> Plane:
    """Opacity of a large region, about 5 to 35 % of the picture, its edge sharp to very soft.

    An oval, a band along one border, a rounded rectangle, or a cloud.
    """
    share = generator.uniform(0.05, 0.35)
    draw = (_oval_depth, _band_depth, _patch_depth, _cloud_depth)[int(generator.integers(4))]
    depth = draw(shape, generator, share, foreground)
    softness = log_uniform(generator, 0.004, 0.15) * min(shape)
    ramp = np.clip(depth / softness + 0.5, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def _oval_depth(
    shape: tuple[int, int], generator: np.random.Generator, share: float, foreground: Mask | None
) -> Plane:
    area = share * shape[0] * shape[1]
    centre = draw_point(shape, generator, foreground)
    return outline_depth(shape, generator, centre, area, log_uniform(generator, 1.0, 3.0), 0.15)


def _band_depth(
    shape: tuple[int, int], generator: np.random.Generator, share: float, _: Mask | None
) -> Plane:
    """A strip along a random border, its edge slanted and wavy."""
    height, width = shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    across, along = (rows, columns) if generator.random() < 0.5 else (columns, rows)
    length, extent = float(across.max()) + 1, float(along.max()) + 1
    if generator.random() < 0.5:
        across = length - 1 - across
    knots = generator.standard_normal(6) * generator.uniform(0, 0.03) * length
    waves = np.interp(np.arange(extent), np.linspace(0, extent - 1, 6), knots)
    slant = generator.uniform(-0.15, 0.15) * (along - extent / 2)
    edge = share * length + waves[along.astype(np.int64)] + slant
    return (edge - across).astype(np.float32)


def _patch_depth(
    shape: tuple[int, int], generator: np.random.Generator, share: float, foreground: Mask | None
) -> Plane:
    """A turned rectangle with rounded corners."""
    stretch = log_uniform(generator, 1.0, 3.0)
    side = np.sqrt(share * shape[0] * shape[1] / stretch)
    half = np.array([side * stretch, side]) / 2
    centre = draw_point(shape, generator, foreground)
    along, across = turned_by(shape, centre, generator.normal(0, 0.2) + _quarter(generator))
    corner = generator.uniform(0.02, 0.5) * side / 2
    beyond_x, beyond_y = np.abs(along) - half[0] + corner, np.abs(across) - half[1] + corner
    outside = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0))
    inside = np.minimum(np.maximum(beyond_x, beyond_y), 0)
    return (corner - outside - inside).astype(np.float32)


def _cloud_depth(
    shape: tuple[int, int], generator: np.random.Generator, share: float, _: Mask | None
) -> Plane:
    """The highest parts of coarse noise, at most the two largest of them."""
    cells = int(generator.integers(1, 4))
    noise = perlin_noise(shape, (cells, cells), generator)
    high = (noise > np.quantile(noise, 1 - share)).astype(np.uint8)
    count, pieces = cv2.connectedComponents(high)
    areas = np.bincount(np.asarray(pieces).ravel(), minlength=count)[1:]
    largest = np.argsort(areas, kind="stable")[-2:] + 1
    cloud = np.isin(pieces, largest).astype(np.uint8)
    return np.asarray(distance_inside(cloud) - distance_inside(1 - cloud), np.float32)


def outline_depth(
    shape: tuple[int, int],
    generator: np.random.Generator,
    centre: tuple[float, float],
    area: float,
    stretch: float,
    roughness: float,
) -> Plane:
    """Roughly how many pixels each point lies inside an irregular oval (negative outside)."""
    along, across = turned_by(shape, centre, generator.uniform(0, np.pi))
    along, across = along / float(np.sqrt(stretch)), across * float(np.sqrt(stretch))
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for harmonic in range(2, 9):
        amplitude = roughness * generator.standard_normal() / harmonic
        outline += amplitude * np.cos(harmonic * angle + generator.uniform(0, 2 * np.pi))
    radius = float(np.sqrt(area / np.pi)) * np.maximum(outline, 0.2)
    return radius - np.sqrt(along * along + across * across)


def turned_by(
    shape: tuple[int, int], centre: tuple[float, float], angle: float
) -> tuple[Plane, Plane]:
    """Positions along and across an axis through `centre` (row, column), in pixels."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(centre[1])
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    return columns * cosine + rows * sine, rows * cosine - columns * sine


def draw_point(
    shape: tuple[int, int], generator: np.random.Generator, foreground: Mask | None
) -> tuple[float, float]:
    """A random pixel, of the foreground when there is one."""
    if foreground is None:
        return generator.uniform(0, shape[0]), generator.uniform(0, shape[1])
    candidates = np.flatnonzero(foreground)
    row, column = divmod(int(candidates[int(generator.integers(len(candidates)))]), shape[1])
    return float(row), float(column)


def distance_inside(region: UInt8[np.ndarray, "height width"]) -> Plane:
    """Distance in pixels from each point of a region to the nearest point outside of it."""
    distance = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)


def _cells(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel, the cell its centre lies in and how far into it, as a share."""
    position = (np.arange(length) + 0.5) * count / length
    cell = np.floor(position).astype(np.int64)
    return cell, position - cell


def _fade(share: np.ndarray) -> np.ndarray:
    return share**3 * (share * (share * 6 - 15) + 10)


def log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """A number between `low` and `high`, its logarithm uniform."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _quarter(generator: np.random.Generator) -> float:
    return float(generator.integers(2)) * np.pi / 2
