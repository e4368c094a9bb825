"""The Postgres of a home, as options name it: without a password."""

from __future__ import annotations

import re

URL = re.compile(r"postgresql://[A-Za-z0-9_][\w.-]*@([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?/[a-z_][a-z0-9_]{0,40}")
"""postgresql://USER@HOST:PORT/NAME."""


def checked(url: str) -> str:
    """A Postgres for a home; raises `ValueError` with what to write instead."""
    if URL.fullmatch(url):
        return url
    if re.match(r"postgres(ql)?(\+\w+)?://[^/@]*:[^/@]*@", url):
        raise ValueError(
            "holds a password, which others see in the list of processes: leave it out of the URL, and put it into the "
            "variable PGPASSWORD or into ~/.pgpass"
        )
    raise ValueError(
        f"{url!r} is no Postgres for a home: write postgresql:// and USER@HOST:PORT/NAME, from which the databases "
        "NAME_prefect and NAME_mlflow follow; what is said of TLS goes into PGSSLMODE and PGSSLROOTCERT"
    )
