"""What any exception becomes, and what is said of it."""

from __future__ import annotations

import errno
import importlib

import pytest

from tasks.core.errors import FromzeroError, HostError, StepError, Transient, from_exception, nearest

SORTED: dict[str, tuple[BaseException, type[FromzeroError], str]] = {
    "a missing package": (ModuleNotFoundError("no", name="sklearn.metrics"), HostError, "scikit-learn is missing"),
    "a missing module of ours": (ModuleNotFoundError("no", name="tasks.gone"), StepError, "ModuleNotFoundError"),
    "a full disk": (OSError(errno.ENOSPC, "full", "/x/y"), HostError, "/x/y: the disk is full"),
    "a lost network": (ConnectionResetError("gone"), Transient, "gone"),
    "anything else": (ZeroDivisionError("by zero"), StepError, "ZeroDivisionError: by zero"),
}


@pytest.mark.parametrize("case", sorted(SORTED))
def test_an_exception_is_sorted_by_who_can_mend_it(case: str) -> None:
    error, kind, message = SORTED[case]
    found = from_exception(error)
    assert type(found) is kind and message in str(found)


@pytest.mark.parametrize("library", ["httpx", "httpx2", "httpcore", "httpcore2"])
def test_a_server_that_is_out_of_reach_is_tried_again_whichever_library_says_so(library: str) -> None:
    error = importlib.import_module(library).ConnectError("nobody answers")
    assert type(from_exception(error)) is Transient


def test_an_unknown_name_is_answered_with_the_nearest_else_with_all() -> None:
    assert nearest("demmo", ["demo", "text"]) == "; did you mean demo?"
    assert nearest("dem", ["demo", "depth"]) == "; did you mean demo?"  # a faint likeness beside a good one is noise
    assert nearest("c5", ["c4", "gopher"]) == "; did you mean c4?"
    assert nearest("zzz", ["demo", "text"]) == "; there are: demo, text"
    assert nearest("zzz", []) == "; there are: none"
