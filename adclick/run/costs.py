"""What a job cost the machine: memory, and on which device."""

import resource
from typing import Any


def machine_costs() -> dict[str, Any]:
    """The most memory (MB) that this process held, and allocated on a GPU, and the device."""
    import torch

    from adclick.run.device import device_name

    on_gpu = torch.cuda.is_initialized()
    return {
        "peak_memory_mb": {
            "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "gpu": torch.cuda.max_memory_allocated() / 1024**2 if on_gpu else 0,
        },
        "device": device_name(torch.device("cuda" if on_gpu else "cpu")),
    }
