"""`python -m tests.chaos.faults [COUNT] [SEED] [WORD]`: so many faults, one by one, into runs that are under way.

After each the run ends by itself or one more of the same command does, with the digests of an undisturbed run, and
nothing is left (`aftermath`). Says a line of each, and a table in the end; 1 if any fault did harm, or it was
interrupted. With a word only kinds that have it in their name. They go place by place: what a place needs beside the
rest, it needs for a while only.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests import one_secret
from tests.chaos import aftermath
from tests.chaos.rig import COMPILER, FLOWS, PLACES, Place, Rig, rigged
from tests.chaos.strikes import HANGS, KINDS, Case, Kind, Missed
from tests.pipeline_process import Started
from tests.s3_server import S3Server

MISSES = 8
"""How often another moment is drawn because the run was over before."""
OFTEN = {"tiny": 1, "toy": 3}
"""How often a flow is drawn where both may be: the recipe takes three times as long."""
ENDS = ("by itself", "one more", "failed")


@dataclass
class Fate:
    """What became of one fault."""

    kind: str
    place: str
    flow: str
    end: str
    moment: str
    seconds: float
    wrong: list[str]


def inject(rig: Rig, kind: Kind, place: Place, flow: str, chance: random.Random) -> Fate:
    """One fault, and all that has to follow."""
    rig.learn(flow, place)
    for _ in range(MISSES):
        rig.employ() if place.name == "pool" else rig.dismiss()
        began, case = time.monotonic(), Case(rig, place, flow, chance, kind.at.get(flow, ""))
        try:
            case.begin(**(rig.clock() if kind.clock else {}))
            kind.strike(case)
            ended = _ended(rig, case.run, flow, place)
        except Missed:
            _ended(rig, case.run, flow, place)
            continue
        moment = f"{case.label} +{case.after:.1f} s"
        again: list[str] = []
        if ended:
            case.run = rig.begin(flow, place)
            again = _ended(rig, case.run, flow, place)
        end = ENDS[2] if again else ENDS[1] if ended else ENDS[0]
        if again:
            again.append(f"see {case.run.log}")
            _mend(rig)
        return Fate(kind.name, place.name, flow, end, moment, time.monotonic() - began, again or ended)
    return Fate(kind.name, place.name, flow, ENDS[2], "never", 0.0, ["it could not be injected"])


def _ended(rig: Rig, run: Started, flow: str, place: Place) -> list[str]:
    """What is wrong with the end of a run, and after it."""
    try:
        result = run.wait(None, HANGS)
    except subprocess.TimeoutExpired:
        for pid in rig.others():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.process.communicate()
        return [f"the run did not end within {HANGS:.0f} s, see {run.log}"]
    said = result.err.strip().splitlines()[-1:] or [""]
    if result.code != 0 or (flow == "toy" and result.json["error"]):
        return [f"exit code {result.code}: {said[0][:160]}"]
    return aftermath.wrong(rig, flow, place, result.json)


def _mend(rig: Rig) -> None:
    """Let the next fault find everything in order."""
    for pid in rig.others():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    rig.up()
    for store in rig.stores.values():
        store.backend.remove("_work/")


def table(fates: list[Fate]) -> Iterator[str]:
    """How often each kind was injected where, and how it ended, as Markdown."""
    yield "| fault | where | times | ended by itself | after one more command | failed |"
    yield "|---|---|---|---|---|---|"
    by_kind = defaultdict[str, list[Fate]](list)
    for fate in fates:
        by_kind[fate.kind].append(fate)
    for kind in [kind.name for kind in KINDS if kind.name in by_kind]:
        found = by_kind[kind]
        where = Counter(f"{fate.place}" for fate in found)
        ends = Counter(fate.end for fate in found)
        cells = [kind, ", ".join(where), str(len(found)), *(str(ends[end] or "") for end in ENDS)]
        yield f"| {' | '.join(cells)} |"
    ends = Counter(fate.end for fate in fates)
    yield f"| **all {len(by_kind)} kinds** | | {len(fates)} | {' | '.join(str(ends[end]) for end in ENDS)} |"


def choice(
    count: int,
    chance: random.Random,
    kinds: list[Kind],
    places: Collection[str] = PLACES,
    flows: Collection[str] = FLOWS,
) -> Iterator[tuple[Kind, Place, str]]:
    """So many faults: each kind as often as every other but for the long ones, which come once; its places in turn."""
    turns: dict[str, list[tuple[str, str]]] = {}
    left: list[Kind] = []
    for number in range(count):
        if not left:
            left = [kind for kind in kinds if number == 0 or not kind.long]
            chance.shuffle(left)
        kind = left.pop()
        if not turns.get(kind.name):
            both = [(place, flow) for place in kind.places for flow in kind.flows for _ in range(OFTEN[flow])]
            fit = [(p, f) for p, f in both if p in places and f in flows and PLACES[p].runs(f)]
            turns[kind.name] = chance.sample(fit, len(fit))
        place, flow = turns[kind.name].pop()
        yield kind, PLACES[place], flow


def main(count: int, seed: int, word: str) -> int:
    """So many faults of the kinds whose name has that word; 1 if any failed."""
    kinds = [kind for kind in KINDS if word in kind.name and (not kind.clock or COMPILER)]
    chance, fates = random.Random(seed), list[Fate]()
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir="/tmp"))
    os.environ.update(S3Server(folder / "s3").env | one_secret.PREFECT)
    print(f"seed {seed}, {len(kinds)} kinds, in {folder}", flush=True)
    with suppress(KeyboardInterrupt), rigged(folder) as rig:
        drawn = sorted(choice(count, chance, kinds), key=lambda one: [*PLACES].index(one[1].name))
        for number, (kind, place, flow) in enumerate(drawn, 1):
            fate = inject(rig, kind, place, flow, chance)
            fates.append(fate)
            said = f"  ({'; '.join(fate.wrong)})" if fate.wrong else ""
            print(
                f"{number:3}/{count} {fate.kind:40} {fate.place:6} {fate.flow:4} {fate.moment:28} "
                f"{fate.seconds:4.0f} s  {fate.end}{said}",
                flush=True,
            )
    print("\n".join(table(fates)))
    failed = len(fates) < count or any(fate.end == ENDS[2] for fate in fates)
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job hands on that one is ignored
        signal.signal(number, signal.default_int_handler)
    count, seed, word, *_ = [*sys.argv[1:], *("100", "16", "")[len(sys.argv) - 1 :]]
    sys.exit(main(int(count), int(seed), word))
