"""A model that answers at once: disks around clicks. And a server process with it, for kills."""

import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from adclick.annotate.worker import Model, ModelFacts, teaching_value
from adclick.clicks.click import Click
from adclick.data.images import read_image, resize_image
from adclick.run.errors import InputError

SIZE = 32
FACTS = ModelFacts("a fake", "adclick_seg", "cpu", ("crack", "stain"), SIZE, 0.49, "f4ke", 0.49)


class FakeEncodings:
    """Everything is encoded; a picture's anomaly is its brightness."""

    encoding = None
    last_error = None

    def __init__(self, path_of: Any) -> None:
        self.path_of = path_of
        self.scores: dict[str, float] = {}
        self.wanted: list[str] = []

    def want(self, keys: Sequence[str]) -> None:
        self.wanted = list(keys)
        for key in keys:
            self.scores[key] = teaching_value(self.get(key).residual_map)

    def get(self, key: str) -> Any:
        picture = resize_image(read_image(self.path_of(key)), (SIZE, SIZE), "published")
        anomaly = picture.mean(axis=2).astype(np.float32) / 255
        return SimpleNamespace(residual_map=anomaly, neighbour=picture, probability=anomaly)

    def __contains__(self, key: str) -> bool:
        return key in self.scores

    def __len__(self) -> int:
        return len(self.scores)


class FakeModel(Model):
    """Positive clicks are disks of 5 px, negative ones holes; half of the previous mask stays."""

    facts = FACTS
    last_error = None
    restarts = 0

    def __init__(self, path_of: Any) -> None:
        self.encodings = FakeEncodings(path_of)
        self.latencies: deque[float] = deque([1.0])
        self.asked: list[tuple[str, str | None, int]] = []

    def predict(
        self,
        key: str,
        defect_type: str | None,
        clicks: Sequence[Click],
        previous: np.ndarray | None,
    ) -> np.ndarray:
        if any(click.row == SIZE - 1 for click in clicks):
            raise InputError("no clicks in the last row, says the fake")
        self.asked.append((key, defect_type, len(clicks)))
        answer = np.zeros((SIZE, SIZE), np.float32) if previous is None else 0.4 * previous
        rows, columns = np.mgrid[:SIZE, :SIZE]
        reach = 5 if defect_type is None else 3
        for click in clicks:
            near = (rows - click.row) ** 2 + (columns - click.column) ** 2 <= reach**2
            answer = np.where(near, np.float32(0.9 if click.positive else 0.1), answer)
        return answer.astype(np.float32)


def serve(images: Path, labels: Path, port: int) -> None:
    import uvicorn

    from adclick.annotate.app import create_app
    from adclick.annotate.desk import Desk
    from adclick.annotate.store import find_pictures

    pictures = find_pictures(images)
    model = FakeModel({picture.key: picture.path for picture in pictures}.__getitem__)
    app = create_app(Desk(pictures, labels=labels, model=model), token=None, version="0")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="off")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
