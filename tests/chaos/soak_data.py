"""The data's way over twenty shards, killed again and again, must end with the undisturbed tokens.

`python -m tests.chaos.soak_data [KILLS] [SEED]`: one undisturbed run, one whose run and step children are killed with
SIGKILL at random moments. Prints what was killed; fails if a digest differs or if anything finished was made twice.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from tasks.core.services.servers import Membership
from tests import one_secret
from tests.chaos.disturb import LAST, SHARDS, Disturbance, elsewhere, many, tokens


def main(kills: int = 50, seed: int | None = None) -> None:
    """Compare an undisturbed and a disturbed run; exits 1 if any digest differs."""
    seed = seed if seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        member = Membership(one_secret.give(Path(folder, "server")))
        calm = many(Path(folder, "calm"), member.url())
        calm.run("--until", LAST)
        wild = elsewhere(calm, Path(folder, "wild"))
        run = Disturbance(wild, random.Random(seed), pause=12.0)
        run.go(kills)
        wild.whole()
        expected, found = tokens(calm), tokens(wild)
        member.leave()
    wrong = [shard for shard in expected if found.get(shard) != expected[shard]]
    print(f"killed: {dict(run.killed.most_common())}")
    print(f"{kills} kills, {run.starts} starts, {SHARDS} shards, the tokens of {len(wrong)} differ {wrong}")
    sys.exit(1 if wrong or len(expected) != SHARDS else 0)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
