import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"error: fromzero needs Python 3.11 or newer; {sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}: "
        "install a newer one, then `make setup PYTHON=python3.11`"
    )
if os.path.basename(sys.argv[0]) == "fromzero" and os.getcwd() != os.path.dirname(os.path.dirname(__file__)):
    # an empty entry of PYTHONPATH is the folder where a person stands, whose tasks.py or conf.py are none of ours
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != os.getcwd()]
