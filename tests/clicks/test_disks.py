import numpy as np
import pytest

from adclick.clicks.click import Click, click_disks
from adclick.clicks.disks import fitted_disks, fitted_radius, fitting
from adclick.networks.inputs import click_maps


def surface(*, thickness: int) -> np.ndarray:
    """A grey surface with grain, and a dark line of a thickness across it at row 20."""
    generator = np.random.default_rng(0)
    image = generator.integers(118, 138, (41, 41, 3), dtype=np.uint8)
    image[20 : 20 + thickness] = 20
    return image


@pytest.mark.parametrize(("thickness", "row", "expected"), [(1, 20, 0), (3, 21, 1), (9, 24, 3)])
def test_a_disk_is_as_wide_as_the_line_that_is_clicked(thickness, row, expected) -> None:
    fit = fitting(surface(thickness=thickness))
    assert fitted_radius(fit, Click(row, 20, True), [], radius_px=3) == expected
    assert fitted_radius(fit, Click(5, 5, False), [], radius_px=3) == 3  # the surface itself


def test_a_disk_ends_half_way_to_a_click_of_the_other_sign() -> None:
    fit = fitting(np.full((40, 40, 3), 90, np.uint8))
    first = Click(20, 20, True)
    assert fitted_radius(fit, Click(20, 23, False), [first], radius_px=3) == 1
    assert fitted_radius(fit, Click(20, 23, True), [first], radius_px=3) == 3
    assert fitted_radius(fit, Click(20, 20, False), [first], radius_px=3) == 0
    disks = fitted_disks(fit, [first, Click(20, 24, False)], radius_px=3)
    assert not (disks[0] * disks[1]).any()
    assert disks[1, 20, 24] == 1


def test_at_the_border_and_without_edges_disks_are_the_papers() -> None:
    image = np.full((30, 30, 3), 90, np.uint8)
    clicks = [Click(0, 0, True), Click(29, 15, True), Click(12, 29, False)]
    same = click_disks(clicks, shape=(30, 30), radius_px=5)
    assert np.array_equal(fitted_disks(fitting(image), clicks, radius_px=5), same)
    how = {"shape": (30, 30), "radius_px": 5.0, "graph": None}
    given = [click_maps(clicks, None, **how, fit=one) for one in (None, fitting(image))]
    assert np.array_equal(*given)
