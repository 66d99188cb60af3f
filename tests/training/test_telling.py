import pytest

from adclick.studio.progress import STEP
from adclick.training import telling
from adclick.training.telling import Teller


def test_a_training_says_where_it_is_now_and_then_and_at_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    teller = Teller(7)
    for step in range(1, 8):
        teller.tell(step, 1 / step**3)
        now[0] += 1.0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "step 1 of 7: loss 1",
        "step 4 of 7: loss 0.01562",
        "step 7 of 7: loss 0.002915",
    ]
    found = [STEP.search(line) for line in said]  # as the studio reads them
    assert [one and one.group(1) for one in found] == ["1", "4", "7"]
