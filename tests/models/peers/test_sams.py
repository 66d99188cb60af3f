"""SAM and SAM 2 as peers: what is fed to them click by click, and what they answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from adclick.clicks.click import Click
from adclick.models import prompted
from adclick.models.peers import sam, sam2
from adclick.run.errors import InputError
from tests.models.peers.tiny_sams import SIDE, save_sam, save_sam2

CPU = torch.device("cpu")
CLICKS = [Click(10, 20, True), Click(30, 5, False), Click(12, 22, True)]
PEERS = {"sam": (sam.open_peer, save_sam), "sam2": (sam2.open_peer, save_sam2)}


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that opens a picture with a tiny network of random weights."""
    opener, save = PEERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    save(folder)
    return lambda image: opener(image, radius_px=5, device=CPU, weights=str(folder))


def picture(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """What a network is asked and answers, from when a picture is opened."""
    seen: list[tuple[dict[str, Any], Any]] = []
    load = prompted.load_prompted

    def loaded(*arguments: Any) -> Any:
        network, prepare = load(*arguments)

        class Watched:
            get_image_embeddings = staticmethod(network.get_image_embeddings)

            def __call__(self, **asked: Any) -> Any:
                seen.append((asked, network(**asked)))
                return seen[-1][1]

        return Watched(), prepare

    for module in (sam, sam2):
        monkeypatch.setattr(module, "load_prompted", loaded)
    yield seen


def test_answers_are_probabilities_at_the_pictures_size(peer: Callable[..., Any]) -> None:
    for shape in ((32, 32), (24, 40)):
        predict = peer(picture(*shape))
        answer = predict(CLICKS[:1], None)
        assert answer.shape == shape
        assert answer.dtype == np.float32
        assert 0 <= answer.min() < answer.max() <= 1
        assert not predict([], None).any()


def test_the_first_click_has_the_best_of_three_and_later_ones_the_mask_before(
    peer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(monkeypatch) as seen:
        predict = peer(picture())
        for count in (1, 2, 3):
            predict(CLICKS[:count], None)
    (first, three), (second, _), (third, _) = seen
    assert first["multimask_output"] and three.pred_masks.shape[2] == 3
    assert first["input_masks"] is None
    best = three.pred_masks[:, 0, int(three.iou_scores[0, 0].argmax())]
    assert torch.equal(second["input_masks"][:, 0], best)
    assert not second["multimask_output"] and not third["multimask_output"]
    assert torch.equal(third["input_masks"][:, 0], seen[1][1].pred_masks[:, 0, 0])
    assert third["input_labels"].tolist() == [[[1, 0, 1]]]


def test_a_click_is_the_centre_of_its_pixel_in_the_networks_square(
    peer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(monkeypatch) as seen:
        peer(picture())([Click(10, 20, True)], None)
    # Two of the network's pixels are one of the picture's; it adds the half pixel itself.
    assert seen[0][0]["input_points"].tolist() == [[[[40.5, 20.5]]]]
    assert SIDE == 64


def test_the_mask_before_counts_and_other_orders_of_clicks_do_not_mix(
    peer: Callable[..., Any],
) -> None:
    predict = peer(picture())
    fresh = predict(CLICKS[:2], None)  # no answer to the first click: no mask before
    predict(CLICKS[:1], None)
    after = predict(CLICKS[:2], None)
    assert np.abs(fresh - after).max() > 1e-4
    predict(CLICKS[1:2], None)
    assert np.array_equal(predict(CLICKS[:2], None), after)


def test_what_pads_a_wide_picture_is_cut_off_the_mask(
    peer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """SAM pads it to a square; SAM 2 stretches it to one."""
    with watched(monkeypatch) as seen:
        answer = peer(picture(16, 32))(CLICKS[:1], None)
    found = seen[0][1]
    best = found.pred_masks[:, 0, [int(found.iou_scores[0, 0].argmax())]]
    whole = functional.interpolate(best, (SIDE, SIDE), mode="bilinear")
    if request.node.callspec.params["peer"] == "sam":
        whole = whole[:, :, : SIDE // 2]
    expected = torch.sigmoid(functional.interpolate(whole, (16, 32), mode="bilinear"))
    np.testing.assert_allclose(answer, expected[0, 0], atol=1e-5)


@pytest.mark.parametrize("name", PEERS)
def test_a_network_that_is_not_whole_is_one_line(name: str, tmp_path: Path) -> None:
    opener, save = PEERS[name]
    with pytest.raises(InputError, match="cannot be read"):
        opener(picture(), radius_px=5, device=CPU, weights=str(tmp_path / "nothing"))
    save(tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    gone = sorted(weights)[0]
    del weights[gone]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="1 weights are missing") as caught:
        opener(picture(), radius_px=5, device=CPU, weights=str(tmp_path))
    assert gone in str(caught.value)
    assert "\n" not in str(caught.value)
