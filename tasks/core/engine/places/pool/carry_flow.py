"""The one flow that workers of a pool of steps carry out."""

from __future__ import annotations

import signal
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed

from tasks.core.engine.places.pool import FLOW
from tasks.core.engine.remote.carrier import Carrier, store_here
from tasks.core.engine.remote.joining import Joining


@flow(name=FLOW, persist_result=False)
def carry(artifact: str, ticket: str, store: dict[str, Any] | None = None, node: int = 0) -> State[Any]:
    """Carry out the body that a run asks for: `artifact` is STEP/KEY of what it makes, `ticket` this one attempt.

    The store is the one that this machine's FROMZERO_STORE names, else the run's. Its lines are in the run's log. With
    `node` it takes part, as that machine of several, in the body that another one carries out.
    """
    here = store_here(store)
    carrier = Joining(here, artifact, ticket, node) if node else Carrier(here, artifact, ticket)
    before = signal.signal(signal.SIGTERM, lambda *_: carrier.evict())  # to save, where Prefect would stop at once
    try:
        said = carrier.carry()
    finally:
        signal.signal(signal.SIGTERM, before)
    get_run_logger().info("%s: %s", artifact, said)
    return Crashed(name="Evicted", message=said) if carrier.evicted else Completed(message=said)
