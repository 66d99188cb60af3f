import numpy as np
import pytest
import torch

from adclick.residuals import comparison
from adclick.residuals.comparison import Bank, Compared, compare

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def compared(device: str) -> Compared:
    random = np.random.default_rng(0)
    patches = random.normal(size=(6, 8, 8, 16)).astype(np.float16)
    bank = Bank(
        patches,
        random.uniform(size=(6, 16, 16)).astype(np.float16),
        random.normal(size=4).astype(np.float32),
        np.array([0.0, -3.0, 3.0], np.float32),
    )
    return compare(
        random.normal(size=(8, 8, 16)).astype(np.float32),
        random.normal(size=(16, 16, 4)).astype(np.float32),
        bank,
        matched=np.array([4, 0, 2]),
        joined=np.array([4, 0]),
        radius=1.6,
        device=torch.device(device),
    )


def test_lengths_and_squares_are_the_residuals() -> None:
    found = compared("cpu")
    signed = found.residuals.astype(np.float64)
    np.testing.assert_allclose(found.lengths, np.sqrt((signed**2).sum(axis=2)), rtol=1e-3)
    np.testing.assert_allclose(found.mean_square, (signed**2).mean(axis=(0, 1)), rtol=1e-3)


@pytest.mark.parametrize(
    "where", ["its sums", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]
)
def test_a_gpu_compares_as_a_processor_does(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor only the way in which a GPU sums."""
    expected = compared("cpu")
    if where != "cuda":
        monkeypatch.setattr(comparison, "_summed_here", comparison._summed)
    found = compared("cuda" if where == "cuda" else "cpu")
    for name, values in expected._asdict().items():
        assert getattr(found, name).dtype == values.dtype, name
        np.testing.assert_allclose(getattr(found, name), values, rtol=2e-3, atol=1e-3)
