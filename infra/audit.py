"""What fromzero is installed with: known weaknesses, licences, and all of it as a bill of materials (CycloneDX).

`python infra/audit.py [FOLDER]` reads the locks beside this file and the distributions that are installed, and writes
licences.md and sbom.cdx.json into the folder (.audit). Advisories are looked up by pip-audit where they can be reached;
offline it says that they were not, and the rest is made all the same. Exits 1 for a weakness that is known, or a pin
that is not what is installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
LOCKS = (HERE / "requirements.lock", HERE / "requirements-torch.txt")
"""The product's set; what developers have beside it is no part of what users run."""
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
UNREACHED = ("ConnectionError", "Max retries", "Temporary failure", "timed out", "HTTPError", "ConnectTimeout")
"""How pip-audit says that no advisory source answers."""
MOST = 60
"""Letters of a licence's name; longer ones are texts."""


class Pin(NamedTuple):
    """One line of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: Path) -> Iterator[Pin]:
    """The distributions that a lock names, each with the sha256 of the files that may be installed."""
    for line in lock.read_text().replace("\\\n", " ").splitlines():
        if found := PIN.match(line):
            yield Pin(found[1], found[2], tuple(HASH.findall(line)))


def licence_of(installed: Distribution) -> str:
    """The licence that a distribution's metadata name; `unknown` if they name none."""
    about = installed.metadata.json
    if expression := about.get("license_expression"):
        return str(expression)
    classified = [str(name) for name in about.get("classifier", ()) if str(name).startswith("License :: ")]
    named = str(about.get("license") or "").strip().splitlines()
    if len(named) == 1 and len(named[0]) <= MOST:
        return named[0]
    return ", ".join(name.rpartition(" :: ")[2] for name in classified) or "unknown"


def component(pin: Pin, licence: str) -> dict[str, Any]:
    """A distribution in the bill of materials."""
    name = re.sub(r"[-_.]+", "-", pin.name).lower()
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{pin.version}",
        "name": pin.name,
        "version": pin.version,
        "purl": f"pkg:pypi/{name}@{pin.version}",
        "licenses": [{"license": {"name": licence}}],
        "properties": [{"name": "fromzero:file:sha256", "value": digest} for digest in pin.hashes],
    }


def bill(found: list[tuple[Pin, str]]) -> dict[str, Any]:
    """The bill of materials, CycloneDX 1.6."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "fromzero", "name": "fromzero"}},
        "components": [component(pin, licence) for pin, licence in found],
        "dependencies": [{"ref": "fromzero", "dependsOn": [component(*one)["bom-ref"] for one in found]}],
    }


def advisories() -> tuple[bool, str]:
    """Whether no weakness is known of the pins, as far as could be looked up, and what is to be said."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--disable-pip", "--no-deps"]
    command += ["--format=json", "-r", str(LOCKS[0])]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode and "No module named" in ran.stderr:
        return True, "advisories: not looked up: pip-audit is not installed (`make dev`)"
    if ran.returncode and any(word in ran.stderr for word in UNREACHED):
        return True, "advisories: not looked up: no source of them can be reached from here"
    if not ran.stdout.strip():
        return False, f"advisories: {ran.stderr.strip()}"
    audited = json.loads(ran.stdout)["dependencies"]
    unknown = [one["name"] for one in audited if "skip_reason" in one]
    lines = [f"advisories: {len(audited) - len(unknown)} of {len(audited)} distributions looked up"]
    if unknown:
        lines.append(f"not known to the source of advisories, so that nothing is said of them: {', '.join(unknown)}")
    for one in audited:
        for weakness in one.get("vulns", ()):
            fixed = ", ".join(weakness["fix_versions"]) or "no version yet"
            lines.append(f"{one['name']} {one['version']}: {weakness['id']}, fixed in {fixed}")
    return not ran.returncode, "\n".join(lines)


def main(folder: Path) -> int:
    """Write licences and bill of materials, look up advisories, and say what was found."""
    found, wrong = list[tuple[Pin, str]](), list[str]()
    for pin in (pin for lock in LOCKS for pin in pins(lock)):
        try:
            installed = distribution(pin.name)
        except PackageNotFoundError:
            wrong.append(f"{pin.name} {pin.version} is not installed: `make setup`")
            continue
        if installed.version.partition("+")[0] != pin.version:
            wrong.append(f"{pin.name} is {installed.version}, and {pin.version} in the lock: `make setup`")
        found.append((pin, licence_of(installed)))
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"| {pin.name} | {pin.version} | {licence.replace('|', '/')} |" for pin, licence in found]
    (folder / "licences.md").write_text("\n".join(["| distribution | version | licence |", "|---|---|---|", *rows, ""]))
    (folder / "sbom.cdx.json").write_text(json.dumps(bill(found), indent=1) + "\n")
    unknown = [pin.name for pin, licence in found if licence == "unknown"]
    print(f"{len(found)} distributions; {folder / 'licences.md'}, {folder / 'sbom.cdx.json'}")
    print(f"licence unknown: {', '.join(unknown) or 'none'}")
    clean, said = advisories()
    print("\n".join([*wrong, said]))
    return 0 if clean and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".audit")))
