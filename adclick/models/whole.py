"""A detector with all that makes a map, as one module from a picture to map and score: what a model
folder does in numpy, OpenCV and torch, in operations that ONNX has.
"""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from adclick.clicks.spreading import CLICK_MAPS
from adclick.models.folder import OpenedModel
from adclick.networks.adclick_seg import ADClickSeg
from adclick.networks.click_stem import DISK_CHANNELS
from adclick.networks.detector_inputs import BENT, LARGEST_FEATURE, STRAIGHT, to_size
from adclick.networks.inputs import ResidualForm, residual_tokens
from adclick.networks.trained_detector import TrainedDetector
from adclick.networks.vision_language import normalise_image
from adclick.residuals.calibration import SMALLEST_SHARE, Calibration
from adclick.residuals.matching.matrix_products import within_radius
from adclick.residuals.patches import extract
from adclick.residuals.retrieval import EPSILON
from adclick.run.errors import InputError

COEFFICIENT = 2048  # OpenCV's fixed point for bilinear resizing of 8 bits
CANDIDATES = 4  # of the nearest patches by matrix products: compared again by differences


def whole_detector(model: OpenedModel) -> "WholeDetector":
    """The module of a model folder. InputError for a click model, and for sliding windows."""
    use = model.description.detection
    if use is None:
        raise InputError(f"{model.title}: a click model needs clicks (adclick annotate)")
    if use.sliding is not None:
        raise InputError(f"{model.title}: sliding windows are not exported; export the variant")
    comparison = BankComparison(model)
    shape = model.bank["images"].shape[1:3]
    finish = MapFinish(shape, use.smoothing_px, use.foreground_exponent)
    answer = (
        FeatureAnswer(model.network, finish)
        if isinstance(model.network, TrainedDetector)
        else TrunkAnswer(model, finish)
    )
    averages = model.description.pictures.resize == "area"
    resize = Averaged(shape) if averages else Sampled(shape)
    return WholeDetector(resize, comparison, answer).eval()


class WholeDetector(nn.Module):
    """A picture, uint8 [height width 3] of any size, becomes its finished map at its own size and
    the map's maximum.
    """

    def __init__(self, resize: nn.Module, comparison: nn.Module, answer: nn.Module) -> None:
        super().__init__()
        self.resize = resize
        self.comparison = comparison
        self.answer = answer

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Map [height width] float32, and score [] float32."""
        image = self.resize(picture)
        found = self.answer(image, *self.comparison(image))
        scores = bilinear(found, picture.shape[0], picture.shape[1])
        return scores, scores.max()


class Sampled(nn.Module):
    """`resize_image` as published: OpenCV's bilinear sampling of 8 bits, in its fixed point."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, picture: Tensor) -> Tensor:
        """The picture as uint8 [row column 3]."""
        top, bottom, down = _between(picture.shape[0], self.shape[0])
        left, right, across = _between(picture.shape[1], self.shape[1])
        values = picture.double()  # whole numbers: ONNX divides integers in half of these digits
        columns = values.index_select(1, left) * _fixed(1 - across)[None, :, None]
        columns = columns + values.index_select(1, right) * _fixed(across)[None, :, None]
        columns = _floored(columns, 16)
        upper = _floored(columns.index_select(0, top) * _fixed(1 - down)[:, None, None], 65536)
        lower = _floored(columns.index_select(0, bottom) * _fixed(down)[:, None, None], 65536)
        return _floored(upper + lower + 2, 4).to(torch.uint8)


class Averaged(nn.Module):
    """`resize_image` by area: the mean of what a pixel covers where the picture shrinks, bilinear
    where it grows. OpenCV may round a pixel to the other side.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, picture: Tensor) -> Tensor:
        """The picture as uint8 [row column 3]."""
        rows = _weights(picture.shape[0], self.shape[0])
        columns = _weights(picture.shape[1], self.shape[1])
        means = torch.einsum("ih,hwc->iwc", rows, picture.float())
        means = torch.einsum("jw,iwc->ijc", columns, means)
        return torch.round(means).clamp(0, 255).to(torch.uint8)


def _weights(length: Any, size: int) -> Tensor:
    """What each of `size` places takes of every pixel of a line."""
    shrinks = torch.arange(1) + length > size
    return torch.where(shrinks, _coverage(length, size), _tent(length, size))


def _coverage(length: Any, size: int) -> Tensor:
    """Which share of each of `size` places every pixel of a longer line has."""
    scale = length / size
    starts = torch.arange(size, dtype=torch.float32)[:, None] * scale
    pixels = torch.arange(length, dtype=torch.float32)[None]
    inside = torch.minimum(pixels + 1, starts + scale) - torch.maximum(pixels, starts)
    return inside.clamp_min(0) / scale


def _tent(length: Any, size: int) -> Tensor:
    """The bilinear weights of every pixel of a line at each of `size` places."""
    places = (torch.arange(size, dtype=torch.float32)[:, None] + 0.5) * (length / size) - 0.5
    apart = places.clamp(0, length - 1) - torch.arange(length, dtype=torch.float32)[None]
    return (1 - apart.abs()).clamp_min(0)


def _between(length: Any, size: Any) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `size` places the two pixels that it lies between (beyond the border, the same
    one twice), and the second's share.
    """
    places = (torch.arange(size, dtype=torch.float64) + 0.5) * (length / size) - 0.5
    places = places.to(torch.float32)
    first = torch.floor(places)
    share, index = places - first, first.to(torch.int64)
    return index.clamp(0, length - 1), (index + 1).clamp(0, length - 1), share


def _fixed(share: Tensor) -> Tensor:
    return torch.round(share * COEFFICIENT).double()


def _floored(values: Tensor, divisor: int) -> Tensor:
    return torch.floor(values / divisor)


def bilinear(values: Tensor, height: Any, width: Any) -> Tensor:
    """A map [row column] stretched to (height, width), as OpenCV does."""
    top, bottom, down = _between(values.shape[0], height)
    left, right, across = _between(values.shape[1], width)
    rows = values.index_select(0, top) * (1 - down)[:, None]
    rows = rows + values.index_select(0, bottom) * down[:, None]
    return rows.index_select(1, left) * (1 - across) + rows.index_select(1, right) * across


class BankComparison(nn.Module):
    """A picture against the normal ones: the most alike by the words of its blocks, then each patch
    against theirs nearby; see `adclick.models.folder`.
    """

    patches: Tensor
    middle: Tensor
    word_factors: Tensor
    word_offset: Tensor
    log_middle: Tensor
    divergences: Tensor
    object_weight: Tensor
    object_maps: Tensor
    seen_from: Tensor
    candidate: Tensor

    def __init__(self, model: OpenedModel) -> None:
        super().__init__()
        how, use, bank = model.description.comparison, model.description.backbone, model.bank
        self.backbone = model.backbone
        self.grid = tuple(bank["patches"].shape[1:3])
        self.places = self.grid[0] * self.grid[1]
        self.layer_dimensions, self.dimension = use.layer_dimensions, use.dimension
        self.count = min(how.neighbours, len(bank["patches"]))
        self.matched = min(how.matched_neighbours or self.count, self.count)
        self.joined = min(how.foreground_neighbours, self.count)
        self.kept_blocks = how.kept_blocks
        self.radius = how.radius
        patches = bank["patches"][:].reshape(len(bank["patches"]), self.places, -1)
        self._keep("patches", patches)
        self._keep("middle", patches.astype(np.float32).mean(axis=(0, 1)))
        self._keep_words(bank["codebook"][:], bank["histograms"][:])
        self._keep_foreground(bank)
        if self.radius is not None:
            self._keep_places(self.radius)

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)))

    def _keep_words(self, codebook: np.ndarray, histograms: np.ndarray) -> None:
        """The factors of `assign_words` and `histogram_distances` that are of the bank."""
        middle = codebook.mean(axis=0, dtype=np.float64)
        relative = codebook - middle
        offset = np.square(relative).sum(axis=1) + 2 * relative @ middle
        self._keep("word_factors", (-2 * relative.T).astype(np.float32))
        self._keep("word_offset", offset.astype(np.float32))
        logs = np.log(histograms.transpose(1, 2, 0).astype(np.float64) + EPSILON)
        self._keep("log_middle", logs.mean(axis=2))
        right = (logs - logs.mean(axis=2, keepdims=True)).astype(np.float32)
        ones = np.ones((len(right), 1, right.shape[2]), np.float32)
        self._keep("divergences", np.concatenate([ones, right], axis=1))
        self.blocks = round(histograms.shape[1] ** 0.5)

    def _keep_foreground(self, bank: Any) -> None:
        weight = bank["foreground_weight"][:].astype(np.float32)
        self.everywhere = weight.size == 0
        self._keep("object_weight", weight)
        self.object_numbers = [float(number) for number in bank["foreground_numbers"][:]]
        self._keep("object_maps", bank["foreground"][:].astype(np.float32))

    def _keep_places(self, radius: float) -> None:
        """The offsets of candidates, and for each the query's patch that sees a reference's there:
        its index, one more than all where there is none.
        """
        reach = int(radius)
        steps = torch.arange(-reach, reach + 1)
        inside = within_radius(steps[:, None], steps, radius).numpy()
        offsets = np.argwhere(inside) - reach
        rows, columns = np.mgrid[: self.grid[0], : self.grid[1]].reshape(2, -1)
        seen, places = [], []
        for down, across in offsets:
            seen.append(self._index(rows - down, columns - across))
            places.append(self._index(rows + down, columns + across))
        self._keep("seen_from", np.stack(seen))  # [offset place]
        self._keep("candidate", np.stack(places))

    def _index(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        height, width = self.grid
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return np.where(inside, rows * width + columns, self.places)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Patches and residual [grid grid channel], rounded as they are stored; the residual's
        lengths and the foreground [grid grid].
        """
        patches, first = extract(
            self.backbone,
            image[None],
            grid=self.grid,
            layer_dimensions=self.layer_dimensions,
            dimension=self.dimension,
        )
        query, layer1 = patches[0], first[0]
        nearest = self._neighbours(layer1)
        flat = query.reshape(self.places, -1)
        references = self.patches.index_select(0, nearest[: self.matched]).float()
        signed = self._matched(flat, references) - flat
        lengths = signed.square().sum(dim=1).sqrt().reshape(self.grid)
        residual = signed.half().float().reshape(query.shape)
        foreground = self._foreground(layer1, nearest[: self.joined])
        return query.half().float(), residual, lengths, foreground

    def _neighbours(self, layer1: Tensor) -> Tensor:
        """`histogram`, `histogram_distances` and `nearest_images`."""
        height, width, channels = layer1.shape
        words = (layer1.reshape(-1, channels) @ self.word_factors + self.word_offset).argmin(dim=1)
        kinds = len(self.word_offset)
        one_hot = (words[:, None] == torch.arange(kinds)).double()
        counts = torch.from_numpy(_members(height, width, self.blocks)) @ one_hot
        shares = (counts / counts.sum(dim=1, keepdim=True)).float().double()
        shares = (shares / EPSILON + 1) * EPSILON  # the exporter takes `+ 1e-8` for nothing
        own = (shares * (shares.log() - self.log_middle)).sum(dim=1, keepdim=True)
        left = torch.cat([own, -shares], dim=1).float()[:, None]
        found = (left @ self.divergences)[:, 0]  # [block image]
        distances = found.topk(self.kept_blocks, dim=0, largest=False).values.sum(dim=0)
        return distances.topk(self.count, largest=False).indices

    def _matched(self, query: Tensor, references: Tensor) -> Tensor:
        """The nearest reference patch of every patch of the query [place channel]: the best of some
        candidates, compared by differences.
        """
        chosen = (
            self._anywhere(query - self.middle, references - self.middle)
            if self.radius is None
            else self._nearby(query - self.middle, references - self.middle)
        )
        rows = references.reshape(-1, references.shape[2])  # [image * place, channel]
        patches = rows.index_select(0, chosen.reshape(-1)).reshape(*chosen.shape, -1)
        best = (patches - query[:, None]).square().sum(dim=2).argmin(dim=1)
        return patches[torch.arange(len(query)), best]

    def _nearby(self, query: Tensor, references: Tensor) -> Tensor:
        """Rows of references that are near in place and alike [place candidate]."""
        count, places, channels = references.shape
        padded = torch.cat([query, query.new_zeros(1, channels)])
        offsets = len(self.seen_from)
        seen = padded.index_select(0, self.seen_from.reshape(-1)).reshape(offsets, places, channels)
        products = references.permute(1, 0, 2) @ seen.permute(1, 2, 0)  # [place image offset]
        norms = references.square().sum(dim=2).T[:, :, None]
        far = products.new_full((1, count, offsets), torch.inf)
        distances = torch.cat([norms - 2 * products, far])
        own = torch.stack(
            [
                distances[:, :, offset].index_select(0, self.candidate[offset])
                for offset in range(offsets)
            ],
            dim=2,
        ).reshape(places, count * offsets)
        best = own.topk(min(CANDIDATES, count), dim=1, largest=False).indices
        image = _floored(best.double(), offsets).to(torch.int64)
        offset = best - image * offsets
        place = self.candidate.T.gather(1, offset).clamp(max=places - 1)
        return image * places + place

    def _anywhere(self, query: Tensor, references: Tensor) -> Tensor:
        """Rows of references that are alike, wherever they are [place candidate]."""
        count, places, _ = references.shape
        distances, rows = [], []
        for image in range(count):
            own = references[image]
            apart = own.square().sum(dim=1)[None] - 2 * query @ own.T
            nearest = apart.topk(min(CANDIDATES, places), dim=1, largest=False)
            distances.append(nearest.values)
            rows.append(nearest.indices + image * places)
        best = torch.cat(distances, dim=1).topk(CANDIDATES, dim=1, largest=False).indices
        return torch.cat(rows, dim=1).gather(1, best)

    def _foreground(self, layer1: Tensor, nearest: Tensor) -> Tensor:
        """`joined_map` of the residuals' chapter."""
        if self.everywhere:
            return layer1.new_ones(self.grid)
        bias, minimum, maximum = self.object_numbers
        own = ((layer1 @ self.object_weight + bias - minimum) / (maximum - minimum)).clamp(0, 1)
        largest = torch.cat([own[None], self.object_maps.index_select(0, nearest)]).amax(dim=0)
        if min(largest.shape) < min(self.grid):
            return bilinear(largest, *self.grid).half().float()
        rows, columns = map(_coverage, largest.shape, self.grid)
        return (rows @ largest @ columns.T).half().float()


def _members(height: int, width: int, blocks: int) -> np.ndarray:
    """Which places [block place] belong to which block of `block_histograms`: 1 or 0."""
    row, column = (
        np.searchsorted(np.arange(1, blocks) * length // blocks, np.arange(length), side="right")
        for length in (height, width)
    )
    block = (row[:, None] * blocks + column).reshape(-1)
    return (block == np.arange(blocks**2)[:, None]).astype(np.float64)


class MapFinish(nn.Module):
    """`finish_map`: a map weighted by the foreground, and smoothed."""

    rows: Tensor
    columns: Tensor

    def __init__(self, shape: tuple[int, int], smoothing_px: float, exponent: float) -> None:
        super().__init__()
        self.shape, self.exponent, self.smooths = shape, exponent, smoothing_px > 0
        self.register_buffer("rows", _smoothing(shape[0], smoothing_px))
        self.register_buffer("columns", _smoothing(shape[1], smoothing_px))

    def forward(self, raw: Tensor, foreground: Tensor) -> Tensor:
        """The finished map [row column]."""
        weight = bilinear(foreground, *self.shape)
        weighted = raw * (weight if self.exponent == 1 else weight**self.exponent)
        return self.rows @ weighted @ self.columns.T if self.smooths else weighted


def _smoothing(length: int, deviation: float) -> Tensor:
    """OpenCV's Gaussian of a line, reflected at its ends, as a matrix."""
    unit = np.eye(length, dtype=np.float32)
    if deviation <= 0:
        return torch.from_numpy(unit)
    kernel = cv2.getGaussianKernel(round(deviation * 8 + 1) | 1, deviation, cv2.CV_32F)
    alone = np.ones(1, np.float32)
    line = cv2.sepFilter2D(unit, -1, alone, kernel, borderType=cv2.BORDER_REFLECT)
    return torch.from_numpy(np.asarray(line))


class FeatureAnswer(nn.Module):
    """What a detector on features adds to the training-free map."""

    mean: Tensor
    deviation: Tensor
    scale: Tensor

    def __init__(self, trained: TrainedDetector, finish: MapFinish) -> None:
        super().__init__()
        self.network, self.finish = trained.network, finish
        self.amount, self.form = trained.amount, trained.form
        self.register_buffer("mean", torch.from_numpy(trained.form.features.mean))
        self.register_buffer("deviation", torch.from_numpy(trained.form.features.deviation))
        self.register_buffer("scale", torch.from_numpy(trained.form.residual_scale))

    def forward(
        self, image: Tensor, patches: Tensor, residual: Tensor, lengths: Tensor, foreground: Tensor
    ) -> Tensor:
        """The finished map [row column]."""
        training_free = self.finish(bilinear(lengths, *self.finish.shape), foreground)
        logits = _base(training_free, self.form.calibration)
        if self.amount:
            logits = logits + self.amount * self._added(image, patches, residual)
        over = (logits.abs() - STRAIGHT).clamp_min(0)
        drawn_in = logits.sign() * (STRAIGHT + BENT * over / (over + BENT))
        return torch.sigmoid(torch.where(over > 0, drawn_in, logits))

    def _added(self, image: Tensor, patches: Tensor, residual: Tensor) -> Tensor:
        own = self._standardised(patches)
        if self.form.matched:
            own = torch.cat([own, self._standardised(patches + residual)], dim=2)
        tokens = _tokens(residual, self.scale, self.form.residual)
        picture = normalise_image(image[None])
        added = self.network(own.permute(2, 0, 1)[None], tokens, picture)
        return to_size(added, image.shape[:2])[0, 0]

    def _standardised(self, patches: Tensor) -> Tensor:
        centred = (patches - self.mean) / self.deviation
        return centred.clamp(-LARGEST_FEATURE, LARGEST_FEATURE)


class TrunkAnswer(nn.Module):
    """The paper's detector without a click: the maximum over the texts of all types (Eq. 7)."""

    scale: Tensor
    texts: Tensor
    masks: Tensor
    no_clicks: Tensor

    def __init__(self, model: OpenedModel, finish: MapFinish) -> None:
        super().__init__()
        assert isinstance(model.network, ADClickSeg)
        self.network, self.form, self.finish = model.network, model.form, finish
        scale = torch.from_numpy(model.bank["normal_mean_square"][:].astype(np.float32))
        self.register_buffer("scale", scale)
        words = model.words
        texts = np.zeros((1, 1, 1), np.float32) if words is None else words.texts
        masks = np.zeros((1, 1), np.float32) if words is None else words.masks
        self.register_buffer("texts", torch.from_numpy(texts))
        self.register_buffer("masks", torch.from_numpy(masks))
        channels = DISK_CHANNELS + (0 if model.network.click_cells is None else CLICK_MAPS)
        self.register_buffer("no_clicks", torch.zeros(1, channels, *finish.shape), persistent=False)

    def forward(
        self, image: Tensor, patches: Tensor, residual: Tensor, lengths: Tensor, foreground: Tensor
    ) -> Tensor:
        """The finished map [row column]."""
        picture = normalise_image(image[None])
        tokens = self.network.embed(_tokens(residual, self.scale, self.form), picture)
        maps = self.network.language_maps(picture, self.texts, self.masks)
        logits = self.network.decode(tokens, self.no_clicks, maps)
        return self.finish(torch.sigmoid(logits[:, 0]).amax(dim=0), foreground)


def _tokens(residual: Tensor, scale: Tensor, form: ResidualForm) -> Tensor:
    return residual_tokens(
        residual[None],
        None if form.normalise is None else scale,
        normalise=form.normalise or "channel",
        groups=form.groups,
        clamp=form.clamp,
        log=form.log,
    )


def _base(training_free: Tensor, calibration: Calibration) -> Tensor:
    """`base_logits`."""
    above = training_free.double().clamp_min(0)
    logarithm = torch.log(above / calibration.middle + SMALLEST_SHARE)
    return (calibration.slope * logarithm + calibration.offset).float()
