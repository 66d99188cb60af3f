"""SubspaceAD: how far a patch lies from the subspace of normal ones; nothing is trained."""

import numpy as np

from adclick.residuals.maps import to_picture
from adclick.training.peer_pictures import Learnt, Picture, Pictures


def fit_peer(*, normal: Pictures, variance: float = 0.99, smoothing_px: float = 4.0) -> Learnt:
    """The squared distance of every patch from the span of the fewest principal components of all
    normal patches that hold `variance` of their variance.

    Source: SubspaceAD (arXiv 2602.23013): a principal component analysis of the patch features of a
    frozen backbone, and the residual of the reconstruction as score. Its backbone is DINOv2; here
    it is the run's.
    """
    mean, moments, count = 0.0, 0.0, 0
    for index in range(len(normal)):
        patches = _patches(normal[index])
        mean, moments = mean + patches.sum(axis=0), moments + patches.T @ patches
        count += len(patches)
    mean = np.asarray(mean / count)
    values, vectors = np.linalg.eigh(np.asarray(moments) / count - np.outer(mean, mean))
    shares = np.cumsum(np.maximum(values[::-1], 0))
    kept = 1 + int(np.searchsorted(shares, variance * shares[-1]))
    basis = vectors[:, ::-1][:, :kept]

    def map_of(picture: Picture) -> np.ndarray:
        centred = _patches(picture) - mean
        outside = np.square(centred).sum(axis=1) - np.square(centred @ basis).sum(axis=1)
        scores = outside.reshape(picture.features.shape[:2]).astype(np.float32)
        return to_picture(scores, picture.image.shape[:2], smoothing_px=smoothing_px)

    return Learnt(map_of, mean.size + basis.size, {"components": kept})


def _patches(picture: Picture) -> np.ndarray:
    """The patches of a picture [patch channel], in double precision."""
    return picture.features.reshape(-1, picture.features.shape[-1]).astype(np.float64)
