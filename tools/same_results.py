"""Whether two runs' results are the same, apart from what says how they were made.

    python -m tools.same_results record results/demo demo.json
    python -m tools.same_results compare demo.json other/results/demo

A recording holds a digest of every array, weight, table and picture; stamps, logs, benchmarks,
times, the table of costs and what a killed job left do not count. What only the later run has is
listed and is no difference.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMS = ("csv", "html", "md", "tex", "txt")
COSTS = {f"{name}_costs.{form}" for name in ("click", "map") for form in FORMS}
PASSED_OVER = {"logs", "benchmarks", "report.html"} | COSTS
MADE_HOW = {"stamp", "complete", "checksum", "host", "device", "started"}
MADE_HOW |= {"seconds", "waiting_share", "memory", "peak_memory_mb"}


def main() -> None:
    """Record a run's results, or compare a run with a recording: exit 1 when they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    chosen = parser.parse_args()
    if chosen.action == "record":
        chosen.second.write_text(json.dumps(digests(chosen.first), indent=1), encoding="utf-8")
        return
    before, after = json.loads(chosen.first.read_text(encoding="utf-8")), digests(chosen.second)
    differing = [name for name in before if name in after and before[name] != after[name]]
    for title, names in (
        ("differs", differing),
        ("is missing", sorted(before.keys() - after.keys())),
        ("is new", sorted(after.keys() - before.keys())),
    ):
        for name in names:
            print(f"{name} {title}")
    equal = len(before.keys() & after.keys()) - len(differing)
    print(f"{equal} of {len(before)} entries are equal")
    sys.exit(0 if equal == len(before) else 1)


def digests(folder: Path) -> dict[str, str]:
    """A digest of every entry of every result below a run's folder, by `file` or `file:entry`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and not PASSED_OVER & set(name.parts):
            found |= {f"{name}{entry}": _digest(value) for entry, value in _entries(path)}
    return found


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:16]


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".h5":
        yield from _arrays(path)
    elif path.suffix == ".safetensors":
        yield from _weights(path)
    elif path.name.endswith(".stamp.json"):
        return
    elif path.suffix == ".json":
        content = without_costs(json.loads(path.read_text(encoding="utf-8")))
        yield "", json.dumps(content, sort_keys=True).encode()
    else:
        yield "", path.read_bytes()


def _arrays(path: Path) -> Iterator[tuple[str, bytes]]:
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            if isinstance(file[name], h5py.Dataset):
                values = file[name][()]
                kind = "object" if values.dtype.kind == "S" else values.dtype
                yield f":{name}", f"{kind}{values.shape}".encode() + _plain(values)
        for name, value in file.attrs.items():
            if name not in MADE_HOW:
                text = value.decode() if isinstance(value, bytes) else value
                yield f":@{name}", repr(text).encode()


def _plain(values: Any) -> bytes:
    is_text = values.dtype == object or values.dtype.kind == "S"
    return repr(values.tolist()).encode() if is_text else values.tobytes()


def _weights(path: Path) -> Iterator[tuple[str, bytes]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118
            values = file.get_tensor(name)
            yield f":{name}", f"{values.dtype}{values.shape}".encode() + values.tobytes()


def without_costs(value: Any) -> Any:
    """What a JSON result holds apart from what says how it was made."""
    if isinstance(value, dict):
        return {key: without_costs(one) for key, one in value.items() if key not in MADE_HOW}
    return [without_costs(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
