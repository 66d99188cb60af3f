"""The tool that goes the whole way with large pictures, at the smallest size that is more than one
window: every stage sees parts of its pictures, and the answers are those of whole ones.
"""

from pathlib import Path

import pytest

from tools.large_pictures import DEFECT_PX, Size, measured

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_a_small_defect_is_found_clicked_and_exported_exactly(tmp_path: Path) -> None:
    found = measured(
        tmp_path,
        Size(304, 480),
        normals=2,
        scale=1.0,
        cores="2",
        settings={"simulation": {"per_normal": 1}, "training": {"steps": 4}},
    )
    assert found["predict_off_px"] <= DEFECT_PX
    assert found["clicked"]
    assert found["exported_exactly"]
    assert {"predict", "annotate", "export-labels"} <= found["steps"].keys()
    assert 0 < found["largest_process_mb"] < 4000
