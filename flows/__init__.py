import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"error: fromzero needs Python 3.11 or newer; {sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}: "
        "install a newer one, then `make setup PYTHON=python3.11`"
    )
