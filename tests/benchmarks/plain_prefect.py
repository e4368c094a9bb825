"""The peer of `cached_run`: a plain Prefect flow of N cached tasks. `python plain_prefect.py N FOLDER`."""

import sys
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.filesystems import LocalFileSystem


@task(cache_policy=INPUTS, persist_result=True, result_serializer="json")
def double(n: int) -> int:
    return 2 * n


@flow
def doubles(count: int) -> int:
    return sum(future.result() for future in [double.submit(n) for n in range(count)])


if __name__ == "__main__":
    storage = LocalFileSystem(basepath=str(Path(sys.argv[2]).absolute()))
    storage.save("plain", overwrite=True)
    double.result_storage = storage
    print(doubles(int(sys.argv[1])))
