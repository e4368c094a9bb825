"""How a training process is asked to save and stop."""

from __future__ import annotations

import signal


class Stop:
    """Set by SIGTERM, SIGUSR1 or SIGINT; the processes agree on the step at which they heed it."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
