"""What a work pool of steps needs on the server: itself, and the deployment of the flow that its workers run."""

from __future__ import annotations

from contextlib import suppress

from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.types.entrypoint import EntrypointType

from tasks.core.engine.places.pool import end_lost
from tasks.core.engine.places.pool.carry_flow import carry
from tasks.core.errors import HostError
from tasks.core.interpreter import SAFE


def prepare(pool: str) -> None:
    """Make the pool, of type process, unless it is there, and put the deployment in force.

    Raises `HostError` for a pool of another type: its own kind of worker serves that.
    """
    client = get_client(sync_client=True)
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=pool, type="process", description="steps of fromzero"))
    found = client.read_work_pool(pool)
    made = carry.to_deployment(
        pool,
        description="Carries out the bodies of steps that runs send here (engine.places).",
        work_pool_name=pool,
        job_variables={"env": dict(SAFE)},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    made.apply()
    end_lost(str(client.api_url))
    if found.type != "process":
        raise HostError(
            f"the work pool {pool} is one of type {found.type}: its flow is deployed now; start its worker with "
            f"`prefect worker start --pool {pool}`"
        )
