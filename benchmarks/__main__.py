"""How the hot parts compare with plain ways of computing the same, in one process: `make bench`.

Quote the ratios of CPU times, not the seconds: variants take turns, so that a busy machine disturbs
all of them alike. Fails where results differ; goals that are missed are shown only.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from threadpoolctl import threadpool_limits

from benchmarks import (
    clicks,
    features,
    latency,
    matching,
    metrics,
    report,
    retrieval,
    sizes,
    storage,
    training,
)
from benchmarks.measure import run

PARTS = {
    "matching": matching.tasks,
    "retrieval": retrieval.tasks,
    "metrics": metrics.tasks,
    "clicks": clicks.tasks,
    "latency": latency.tasks,
    "features": features.tasks,
    "storage": storage.tasks,
    "sizes": sizes.tasks,
    "training": training.tasks,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts that the command line names, and report them."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    outcomes = []
    with threadpool_limits(options.threads):
        facts = report.machine()
        for part in options.parts:
            for task in PARTS[part](options.scale):
                outcomes.append(run(part, task, least_rounds=options.rounds))
                print(report.as_text(outcomes[-1]), flush=True)
    print("\n".join(f"{name}: {fact}" for name, fact in facts.items()))
    if options.output:
        report.write(options.output, outcomes, facts)
    if not all(check.passed for outcome in outcomes for check in outcome.agreements):
        sys.exit("results differ; see DIFFERS above")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", type=_part, metavar="PART", help=", ".join(PARTS))
    scale = parser.add_mutually_exclusive_group()
    for name, what in (("quick", "smaller sizes"), ("full", "nothing extrapolated")):
        scale.add_argument(f"--{name}", dest="scale", action="store_const", const=name, help=what)
    parser.set_defaults(scale="normal", parts=[*PARTS])
    parser.add_argument("--rounds", type=int, default=3, help="at least (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="of every library (default: 1)")
    parser.add_argument("--output", type=Path, help="a JSON file; a Markdown file comes beside it")
    return parser.parse_args(arguments)


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(PARTS)}")
    return name


if __name__ == "__main__":
    main()
