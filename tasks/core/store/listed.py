"""What one look at a store has found: names, sizes, and what tells one version of an object from another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MANIFEST = "manifest.json"
"""The name of an artifact's record in the artifact's folder."""


class Listing(dict[str, int]):
    """File names under some prefixes and their sizes in bytes; `etags` stand for bytes, where a listing has them."""

    def __init__(self, sizes: Mapping[str, int] | None = None, etags: Mapping[str, str] | None = None) -> None:
        super().__init__(sizes or {})
        self.etags: dict[str, str] = dict(etags or {})

    @classmethod
    def of(cls, several: Iterable[Listing]) -> Listing:
        """Several as one."""
        found = cls()
        for one in several:
            found.update(one)
            found.etags.update(one.etags)
        return found
