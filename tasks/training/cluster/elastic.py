"""torchrun with our agent, ended by the kernel when the process that started it is gone."""

from __future__ import annotations

import os
import sys

from tasks.training.cluster.parent_watch import PARENT, die_with_parent

if __name__ == "__main__":
    die_with_parent()
    os.environ[PARENT] = str(os.getpid())
    from tasks.training.cluster.agent import run

    run(sys.argv[1:])
