"""Which defects are found, by how large they are: what an inspector asks first."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from adclick.metrics.ranks import ComponentResult

# Areas in pixels up to which a class goes, by its side; the last one has no end.
SIDES_PX = (4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class SizeClass:
    """Defects of up to `largest_px` pixels (None: whatever is larger) that are in no smaller class.

    `found` counts those that a map finds (`ComponentResult.found`), `coverage` is the mean of
    theirs: PRO within the class.
    """

    largest_px: int | None
    defects: int
    found: int
    coverage: float


def by_size(components: Iterable[ComponentResult]) -> list[SizeClass]:
    """The classes that have a defect, the smallest first."""
    known = list(components)
    limits = [side**2 for side in SIDES_PX]
    places = np.searchsorted(limits, [one.area_px for one in known])
    classes: list[SizeClass] = []
    for place in sorted(set(places.tolist())):
        own = [one for one, where in zip(known, places, strict=True) if where == place]
        classes.append(
            SizeClass(
                largest_px=limits[place] if place < len(limits) else None,
                defects=len(own),
                found=sum(one.found for one in own),
                coverage=float(np.mean([one.coverage for one in own])),
            )
        )
    return classes


def size_lines(classes: Iterable[SizeClass]) -> list[str]:
    """The classes as a table in text, with what `found` means."""
    lines = [f"{'defects of':<26}{'found':>12}{'coverage':>10}"]
    for one in classes:
        limit = one.largest_px or SIDES_PX[-1] ** 2
        size = f"{'up to' if one.largest_px else 'more than'} {limit} pixels"
        lines.append(f"  {size:<24}{f'{one.found} of {one.defects}':>12}{one.coverage:>10.3f}")
    return lines
