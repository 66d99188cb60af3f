"""Exit 0 when `make setup` can use the Python that runs this; any Python 3 can read it.

All packages have wheels for 3.11 to 3.13, and all but one for 3.14: Snakemake's immutables is
compiled there. An environment needs venv and ensurepip, which Debian packages apart.
"""

import ensurepip  # noqa: F401
import os
import shutil
import sys
import sysconfig
import venv  # noqa: F401


def compiles():
    """Whether there are a C compiler and Python's headers."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    header = os.path.join(sysconfig.get_path("include"), "Python.h")  # noqa: PTH118
    return bool(shutil.which(compiler)) and os.path.exists(header)  # noqa: PTH110


version = tuple(sys.version_info[:2])
sys.exit(0 if (3, 11) <= version <= (3, 13) or (version == (3, 14) and compiles()) else 1)
