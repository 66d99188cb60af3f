"""`snakemake --lint` as a check: its exit status says nothing about some faults, its text does."""

import subprocess
import sys


def main() -> None:
    command = [sys.executable, "-m", "snakemake", "--lint", "--configfile", "config/demo.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    text = done.stdout + done.stderr
    if "your workflow is in a good condition" not in text:
        print(text)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
