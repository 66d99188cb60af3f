"""Run a notebook from its first cell to its last, without Jupyter: `python -m tools.notebook
docs/notebook.ipynb` writes what its cells print and draw into it.
"""

import argparse
import io
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib
import nbformat

PARAMETERS = "parameters"  # the tag of the cell whose values may be others, as in papermill
DOTS_PER_INCH = 80


def execute(notebook: Any, replaced: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run the code cells in one namespace, which is returned, and keep their outputs in them.
    `replaced` are other values of what the cell tagged `parameters` sets. An error ends it.
    """
    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, start=1):
        said = io.StringIO()
        with redirect_stdout(said):
            exec(compile(cell.source, f"<cell {number}>", "exec"), names)
        if PARAMETERS in cell.metadata.get("tags", []):
            names.update(replaced or {})
        cell.execution_count, cell.outputs = number, [*_printed(said.getvalue()), *_drawn()]
    return names


def _printed(text: str) -> list[Any]:
    return [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []


def _drawn() -> list[Any]:
    """The figures that are open, as PNG; they are closed."""
    import base64

    from matplotlib import pyplot

    found = []
    for number in pyplot.get_fignums():
        file = io.BytesIO()
        pyplot.figure(number).savefig(file, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
        data = {"image/png": base64.b64encode(file.getvalue()).decode()}
        found.append(nbformat.v4.new_output("display_data", data=data))
    pyplot.close("all")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    path = parser.parse_args().notebook
    notebook = nbformat.read(path, as_version=4)
    begun = time.monotonic()
    execute(notebook)
    nbformat.write(notebook, path)
    print(f"{path}: {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
