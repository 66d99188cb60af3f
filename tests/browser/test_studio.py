"""The studio in a real browser: from photographs to files, by hand and by keys, with kills."""

import json
import os
import random
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import TimeoutError, expect

from adclick.data.images import write_png
from adclick.data.toy import draw_defect
from adclick.project.survey import survey_photographs
from adclick.project.writing import Project, open_project, write_project
from adclick.run.artifacts import read_csv
from tests.project.photographs import write_photographs
from tests.studio.labels import write_label
from tests.workflow.forks import ADDRESS, FORKED, forking
from tools.browser.browsing import PATIENCE_MS
from tools.browser.serving import free_port
from tools.browser.small_project import shrink
from tools.browser.studio import StudioServed, Visitor

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
expect.set_options(timeout=PATIENCE_MS)
ROOT = Path(__file__).parents[2]
KINDS = {"chipped": 3, "rust": 3}
SIZE_PX = 96
STEPS = ("photographs", "learn", "label", "inspect", "take")
SHOWN = {
    "photographs": "#found:not([hidden])",
    "label": "#stage[data-key]",
    "inspect": "#gallery li",
}
NOTHING = "Nothing to be done"
AXE_WIDTHS_PX = (360, 1366, 2560)


def snakemake(folder: Path, *arguments: str, **variables: str) -> str:
    """Snakemake as a person types it in the project's folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", "adclick.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def truth(kind: str, number: int) -> np.ndarray:
    """The mask of a defect that `write_photographs` draws."""
    return draw_defect("washer", kind, SIZE_PX, np.random.default_rng([8, number]))[1]


def middle(mask: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(mask)
    place = len(rows) // 2
    return int(rows[place]), int(columns[place])


@pytest.fixture(scope="module")
def quick() -> Iterator[dict[str, str]]:
    """The environment in which jobs are forks of one process; one that is killed is not ended."""
    with forking() as address:
        yield {ADDRESS: address, "PYTHONPATH": f"{FORKED}{os.pathsep}{ROOT}"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("photographs")
    return write_photographs(folder, "washer", normals=14, kinds=KINDS, size_px=SIZE_PX)


def visiting(browser: Any, served: StudioServed, **context: Any) -> Visitor:
    return Visitor(browser, served.address, **context)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    photographs: tuple[Path, Path],
    quick: dict[str, str],
) -> Project:
    """A project that was made, labelled and learnt without the studio: from the shell."""
    folder = tmp_path_factory.mktemp("shell") / "washers"
    project = write_project(folder, survey_photographs(*photographs))
    shrink(folder)
    snakemake(folder, "click_models", "--cores", "2", **quick)
    table = read_csv(project.category / "make_manifest/manifest.csv")
    defective = table[table["defect_type"].isin([*KINDS])]
    for _, row in defective.iloc[:5].iterrows():  # the sixth is left, so that one is not trained on
        source = Path(str(row["path"]))
        mask = truth(str(row["defect_type"]), int(source.stem))
        write_label(project, str(row["image_id"]), mask, str(row["defect_type"]), source)
    snakemake(folder, "detectors", "--cores", "2", **quick)
    return project


@pytest.fixture(scope="module")
def served(finished: Project, quick: dict[str, str]) -> Iterator[StudioServed]:
    server = StudioServed(finished.folder, free_port(), quick)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def visitor(browser: Any, served: StudioServed) -> Iterator[Visitor]:
    one = visiting(browser, served)
    yield one
    one.close()
    assert one.faults == []


def test_from_photographs_to_a_detector_by_hand_with_kills_on_the_way(
    browser: Any, photographs: tuple[Path, Path], tmp_path: Path, quick: dict[str, str]
) -> None:
    served = StudioServed(tmp_path / "washer", free_port())
    served.start()
    one = visiting(browser, served)
    try:
        one.visit("")
        one.choose_folder("normal", photographs[0])
        one.choose_folder("defective", photographs[1])
        expect(one.page.locator("#facts")).to_contain_text("6 photographs: 3 chipped, 3 rust")
        one.make_project()
        shrink(served.folder)  # as somebody who edits the settings by hand
        project = open_project(served.folder)
        _learn_through_a_kill(one, served, quick)
        _label_through_a_kill(one, served)
        one.step("learn")
        one.learn()
        one.learnt()
        assert NOTHING in snakemake(served.folder, "click_models", "detectors", "-n")
        score = _inspect_a_new_one(one, tmp_path)
        _take_everything(one, project)
        assert _score_without_torch(one, project, tmp_path) == pytest.approx(score, abs=2e-3)
    finally:
        one.close()
        served.kill()
    lost = ("Failed to load resource",)  # while the server was killed
    assert [fault for fault in one.faults if not any(word in fault for word in lost)] == []


def _learn_through_a_kill(one: Visitor, served: StudioServed, quick: dict[str, str]) -> None:
    """The server is killed while it learns, and the run goes on; then the run is killed."""
    one.step("learn")
    one.page.uncheck("#along")  # the test learns when it wants to
    one.learn()
    one.page.wait_for_selector("#stages .done", timeout=600_000)  # at a low priority
    served.kill()
    served.environment = quick  # from the next run on
    served.start()
    one.visit("learn")
    one.page.wait_for_selector("#run[data-state=running]")
    facts = json.loads((served.folder / ".adclick/runs/1/run.json").read_text())
    os.killpg(facts["pid"], signal.SIGKILL)
    one.learnt("interrupted")
    expect(one.page.locator("#start")).to_have_text("Go on")
    one.learn()
    one.learnt()
    assert one.page.locator("#percent").inner_text() == "100 %"


def _label_through_a_kill(one: Visitor, served: StudioServed) -> None:
    one.step("label")
    one.page.wait_for_selector("#stage[data-key]")
    for index, (kind, number) in enumerate((kind, n) for kind in KINDS for n in range(2)):
        key = one.page.evaluate(
            "name => [...document.querySelectorAll('#images [data-key]')]"
            ".map((one) => one.dataset.key).find((key) => key.endsWith(name))",
            f"{kind}/{number:03}",
        )
        one.page.click(f"#images [data-key='{key}']")
        wait = f"#stage[aria-busy=false][data-key='{key}'][data-waiting='0']"
        one.page.wait_for_selector(wait)
        _click(one, *middle(truth(kind, number)))
        if index == 1:  # killed between a click and its saving
            served.kill()
            served.start()
            one.visit(f"label/#{key}")
            one.page.wait_for_selector(wait)
            assert one.page.locator("#stage").get_attribute("data-revision") == "2"
        expect(one.page.locator("#type")).to_have_value(kind)  # as its folder is called
        one.page.keyboard.press("Enter")
        one.page.wait_for_function(
            "key => document.getElementById('stage').dataset.key !== key", arg=key
        )
    assert len([*open_project(served.folder).labels.rglob("*.png")]) == 4


def _click(one: Visitor, row: int, column: int) -> None:
    spot = one.page.evaluate(
        """([row, column]) => {
          const {scale, x, y} = document.getElementById('stage').dataset;
          const {left, top} = document.querySelector('[data-pane=picture] .glass')
            .getBoundingClientRect();
          return [left + Number(x) + (column + 0.5) * scale, top + Number(y) + (row + 0.5) * scale];
        }""",
        [row, column],
    )
    one.page.mouse.click(*spot)
    one.page.wait_for_selector("#stage:not([data-revision='0'])[data-waiting='0']")


def _inspect_a_new_one(one: Visitor, tmp_path: Path) -> float:
    """Drop a photograph; its score."""
    one.step("inspect")
    one.page.wait_for_selector("#gallery li")
    image, _ = draw_defect("washer", "scratch", SIZE_PX, np.random.default_rng(99))
    write_png(tmp_path / "never seen.png", image)
    one.page.set_input_files("#file", tmp_path / "never seen.png")
    expect(one.page.locator("#view-name")).to_have_text("never seen.png")
    expect(one.page.locator("#view-verdict")).to_contain_text("0.")
    expect(one.page.locator("#view-note")).to_contain_text("Pink")
    return float(one.page.locator("#view-verdict").inner_text().split(":")[0])


def _score_without_torch(one: Visitor, project: Project, tmp_path: Path) -> float:
    """That of the script of some lines that lies in the exported ONNX folder."""
    pytest.importorskip("onnxscript")
    one.page.click("#make-onnx:not([disabled])")
    one.page.wait_for_selector("#fetch-onnx", timeout=600_000)
    script = project.folder / f"models/{project.name}-onnx/inspect_picture.py"
    command = [sys.executable, str(script), str(tmp_path / "never seen.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[1].rstrip(":"))


def _take_everything(one: Visitor, project: Project) -> None:
    one.page.wait_for_function("() => !document.getElementById('waiting').textContent")
    one.step("take")
    for what in ("model", "report", "labels-mvtec", "labels-coco"):
        one.page.click(f"#make-{what}:not([disabled])")
        one.page.wait_for_selector(f"#fetch-{what}")
        one.page.wait_for_selector("#make-model:not([disabled])")
    assert (project.folder / f"models/{project.name}/model.json").is_file()
    assert len([*(project.folder / "labels-mvtec/ground_truth").rglob("*.png")]) == 4
    report = (project.folder / "report.html").read_text()
    assert "never seen.png" in report and "False alarms" in report
    with one.page.expect_download() as fetched:
        one.page.click("#fetch-labels-coco")
    assert fetched.value.suggested_filename == "labels-coco.zip"


def test_a_run_of_the_shell_opens_and_is_current(visitor: Visitor, finished: Project) -> None:
    visitor.visit("learn")
    expect(visitor.page.locator("#detector-text")).to_contain_text("Learnt from your labels")
    assert NOTHING in snakemake(finished.folder, "click_models", "detectors", "-n")
    visitor.learn()
    visitor.learnt()
    assert visitor.page.locator("#stages li").count() == 0  # there was nothing to do
    visitor.visit("inspect")
    visitor.page.wait_for_selector("#gallery li")


def test_the_threshold_shows_at_once_what_it_means(visitor: Visitor) -> None:
    visitor.visit("inspect")
    visitor.page.wait_for_function(
        "() => document.querySelector('#gallery li') && !document.getElementById('waiting')"
        ".textContent"
    )

    def after(value: float) -> tuple[str, str, int]:
        visitor.page.locator("#threshold").fill(str(value))
        return (
            visitor.page.locator("#false-alarms").inner_text(),
            visitor.page.locator("#missed").inner_text(),
            visitor.page.locator("#gallery .marked").count(),
        )

    everything = visitor.page.locator("#gallery li").count()
    assert after(0.0) == ("100.0 %", "0", everything)
    alarms, missed, marked = after(1.0)
    assert (alarms, marked) == ("0.0 %", 0) and int(missed) >= 5
    visitor.page.click("#reset")
    expect(visitor.page.locator("#false-alarms")).to_have_text("0.0 %")
    visitor.page.check("[name=group][value=defective]", force=True)
    trained = visitor.page.locator("#gallery .note", has_text="trained on")
    assert trained.count() == 5  # and the sixth was not labelled
    visitor.page.check("[name=group][value=fresh]", force=True)
    assert visitor.page.locator("#gallery .note", has_text="trained on").count() == 0


def test_the_way_by_keys_alone(visitor: Visitor) -> None:
    visitor.visit("photographs")
    keys = visitor.page.keyboard

    def reach(selector: str) -> None:
        for _ in range(60):
            keys.press("Tab")
            reached = "(selector) => document.activeElement.matches(selector)"
            if visitor.page.evaluate(reached, selector):
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    reach(".drop[data-kind=normal] .choose")
    keys.press("Enter")
    visitor.page.wait_for_selector("#folders[open]")
    keys.press("Escape")
    visitor.page.wait_for_selector("#folders:not([open])", state="attached")
    reach("#make")
    for name in STEPS[1:]:
        visitor.visit("photographs")
        reach(f"#steps [data-step={name}]")
        keys.press("Enter")
        visitor.page.wait_for_selector(f"#steps [data-step={name}][aria-current=page]")
        visitor.ready()
    visitor.visit("inspect")
    visitor.page.wait_for_selector("#gallery li")
    reach("#threshold")
    before = visitor.page.locator("#threshold-value").inner_text()
    keys.press("ArrowRight")
    assert visitor.page.locator("#threshold-value").inner_text() != before
    reach("#gallery button")
    keys.press("ArrowDown")
    second = visitor.page.locator("#gallery button").nth(1)
    expect(second).to_have_attribute("aria-current", "true")
    assert second.evaluate("(one) => one === document.activeElement")


@pytest.mark.parametrize(
    ("step", "known"),
    [
        ("photographs", "document.getElementById('make').textContent === 'Take these photographs'"),
        ("learn", "!document.getElementById('shell').hidden"),
        ("take", "!document.getElementById('exports').dataset.key.endsWith(',null,null]')"),
    ],
)
def test_a_page_that_comes_late_knows_the_project(visitor: Visitor, step: str, known: str) -> None:
    late: list[Any] = []
    visitor.page.route(f"**/static/{step}.js", lambda route: late.append(route))
    visitor.page.goto(f"{visitor.address}{step}", wait_until="commit")
    visitor.page.wait_for_selector("#steps [data-step=photographs].done")
    late[0].continue_()
    visitor.ready()
    assert visitor.page.evaluate(f"() => {known}")


def test_what_became_of_dropped_files_is_said(visitor: Visitor, tmp_path: Path) -> None:
    visitor.visit("inspect")
    image, _ = draw_defect("washer", "rust", SIZE_PX, np.random.default_rng(98))
    write_png(tmp_path / "one more.png", image)
    (tmp_path / "notes.txt").write_bytes(b"no picture")
    visitor.page.set_input_files("#file", [tmp_path / "notes.txt", tmp_path / "one more.png"])
    expect(visitor.page.locator("#told")).to_contain_text("1 photograph taken, 1 not: notes.txt")
    expect(visitor.page.locator("#view-name")).to_have_text("one more.png")
    visitor.faults = [fault for fault in visitor.faults if "400" not in fault]


def _shown(one: Visitor, step: str) -> None:
    """Wait for what a page is about, not only for its frame."""
    if step in SHOWN:
        one.page.wait_for_selector(SHOWN[step])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, served: StudioServed, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    one = visiting(browser, served, bypass_csp=True, color_scheme=scheme)
    try:
        for step in STEPS:
            one.visit("label/" if step == "label" else step)
            _shown(one, step)
            for width in AXE_WIDTHS_PX:
                one.page.set_viewport_size({"width": width, "height": 800})
                one.page.wait_for_timeout(300)
                found = Axe().run(one.page)
                said = f"{step} at {width} px: {found.generate_report()}"
                assert found.violations_count == 0, said
    finally:
        one.close()


@pytest.mark.parametrize("width", [360, 768, 1366, 2560])
def test_no_page_is_wider_than_the_window(browser: Any, served: StudioServed, width: int) -> None:
    one = visiting(browser, served, viewport={"width": width, "height": 800})
    try:
        for step in STEPS:
            one.visit("label/" if step == "label" else step)
            _shown(one, step)
            wide = one.page.evaluate("() => document.documentElement.scrollWidth")
            assert wide <= width, step
            links = one.page.locator("#steps a")
            for number in range(len(STEPS)):
                box = links.nth(number).bounding_box()
                assert box is not None and box["x"] + box["width"] <= width, (step, number)
    finally:
        one.close()


@pytest.mark.parametrize("turn", range(10))
def test_any_order_of_steps_ends_without_an_error(
    browser: Any, served: StudioServed, turn: int
) -> None:
    """Back, reload, two tabs, cancel: nothing that a person sees is an error."""
    rng = random.Random(turn)
    one = visiting(browser, served)
    try:
        one.visit("photographs")
        pages = [one.page, one.tab()]
        pages[1].goto(served.address + "learn")
        for _ in range(12):
            one.page = rng.choice(pages)
            _do_something(one, rng)
            told = one.page.locator("#told.bad").all_inner_texts()
            assert told in ([], [""]), told
            assert one.page.locator(".fault:visible").count() == 0
        _cancelled(served)
    finally:
        one.close()
    assert one.faults == []


def _do_something(one: Visitor, rng: random.Random) -> None:
    kind = rng.choice(["step", "step", "back", "reload", "learn", "threshold", "theme"])
    if kind == "step":
        one.step(rng.choice(STEPS))
    elif kind == "back":
        one.page.go_back()
        if one.page.url == "about:blank":  # where a tab begins
            one.page.go_forward()
        one.ready()
    elif kind == "reload":
        one.page.reload()
        one.ready()
    elif kind == "learn":
        one.step("learn")
        for name in ("#start", "#cancel"):
            button = one.page.locator(f"{name}:visible:enabled")
            if button.count() and rng.random() < 0.5:
                with suppress(TimeoutError):  # it went, since the run has ended or begun elsewhere
                    button.click(timeout=2_000)
                one.page.wait_for_timeout(rng.choice([0, 300, 1500]))
    elif kind == "threshold":
        one.step("inspect")
        one.page.wait_for_selector("#gallery li")
        one.page.locator("#threshold").fill(str(rng.random()))
        one.page.locator("#gallery button").nth(rng.randrange(2)).click()
    elif one.page.locator("#theme:visible").count():
        one.page.click("#theme")


def _cancelled(served: StudioServed) -> None:
    """Leave no run behind."""
    request = urllib.request.Request(
        f"{served.address}api/v1/learning/cancel",
        data=b"{}",
        headers={"Content-Type": "application/json", "X-Adclick": "1"},
    )
    with suppress(urllib.error.HTTPError):  # none goes on
        urllib.request.urlopen(request, timeout=60).close()
