"""What infra/Dockerfile says of the image: its instructions, as docker reads them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field

from tests.test_layout import ROOT

DOCKERFILE = ROOT / "infra" / "Dockerfile"


@dataclass
class Image:
    """What processes of the image start with."""

    user: str = ""
    folder: str = "/"
    environ: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)


def instructions() -> list[tuple[str, str]]:
    """Name and text of each, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line)]


def image() -> Image:
    """The image of infra/Dockerfile, whatever the device."""
    found = Image()
    for name, rest in instructions():
        if name == "ENV":
            found.environ |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif name == "USER":
            found.user = rest
        elif name == "WORKDIR":
            found.folder = rest
        elif name == "VOLUME":
            found.volumes = json.loads(rest)
        elif name == "ENTRYPOINT":
            found.entrypoint = json.loads(rest)
        elif name == "HEALTHCHECK":
            found.health = json.loads(rest[rest.index("[") :])
    return found
