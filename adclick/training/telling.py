"""What a training says while it runs, for who watches its log: its step and loss now and then."""

import time

EVERY_S = 3.0


class Teller:
    """Prints lines like `step 120 of 300: loss 0.0123`; the last step's always."""

    def __init__(self, steps: int) -> None:
        """Nothing was told yet."""
        self._steps, self._told = steps, -EVERY_S

    def tell(self, step: int, loss: float) -> None:
        """Say where the training is, unless that was said a moment ago; steps count from 1."""
        now = time.monotonic()
        if step == self._steps or now - self._told >= EVERY_S:
            print(f"step {step} of {self._steps}: loss {loss:.4g}", flush=True)
            self._told = now
