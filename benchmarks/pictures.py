"""Drawn masks and maps that look like those of an inspection: soft shapes, smooth noise."""

import cv2
import numpy as np


def smooth_noise(random: np.random.Generator, size_px: int) -> np.ndarray:
    """A field of blotches about 0, at most 1 away from it."""
    coarse = random.standard_normal((max(4, size_px // 16),) * 2).astype(np.float32)
    field = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return field / np.abs(field).max()


def soft_defect(random: np.random.Generator, size_px: int) -> np.ndarray:
    """About 1 on one or two wobbly ellipses, 0 elsewhere, with soft edges; 0.5 is the edge."""
    inside = np.zeros((size_px, size_px), np.float32)
    for _ in range(random.integers(1, 3)):
        centre = random.integers(size_px // 5, size_px * 4 // 5, 2).tolist()
        axes = random.integers(size_px // 30, size_px // 9, 2).tolist()
        cv2.ellipse(inside, centre, axes, float(random.uniform(0, 180)), 0, 360, 1, cv2.FILLED)
    soft = cv2.GaussianBlur(inside, (0, 0), size_px / 100)
    return soft + 0.4 * smooth_noise(random, size_px) * (soft > 0.01)
