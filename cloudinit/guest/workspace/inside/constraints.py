"""What pip has to leave as it is for TensorFlow's sake: pip's constraints, on standard output.

Runs on the Python of a workspace's image, whatever image that is (3.8 or later); says nothing where
there is no TensorFlow. pip looks at what a new package needs, never at what the installed ones do.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

try:
    from importlib.metadata import Distribution, distributions
except ImportError:
    sys.exit()

# A requirement as METADATA has it: name, extras, versions, marker (PEP 508).
REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?")
TENSORFLOW = re.compile("tf-nightly|tensorflow(-cpu|-gpu|-intel)?")
# TensorBoard imports pkg_resources, which is gone from here on.
SETUPTOOLS = 82


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub("[-_.]+", "-", name).lower()


def version(distribution: Distribution) -> list[str]:
    """Its version's first two numbers, as text."""
    return re.findall(r"\d+", distribution.version)[:2]


def bounded(installed: Mapping[str, Distribution], roots: Iterable[str]) -> Iterator[str]:
    """The requirements of `roots`, and of what they require, that name a newest version."""
    waiting, seen = list(roots), set(roots)
    while waiting:
        for line in installed[waiting.pop()].requires or ():
            found = REQUIREMENT.match(line)
            if found is None:
                continue
            name, versions, marker = found.groups(default="")
            name = normal(name)
            if "extra" in marker or name not in installed:
                continue
            if re.search("<|==|~=", versions):
                yield f"{name}{versions.strip()}; {marker}".rstrip("; ")
            if name not in seen:
                seen.add(name)
                waiting.append(name)


def main() -> None:
    """Print the constraints, one a line."""
    installed = {normal(one.metadata["Name"]): one for one in distributions()}
    roots = [name for name in installed if TENSORFLOW.fullmatch(name)]
    if not roots:
        return
    found = set(bounded(installed, roots))
    if "setuptools" in installed and int(version(installed["setuptools"])[0]) < SETUPTOOLS:
        found.add(f"setuptools<{SETUPTOOLS}")
    if "numpy" in installed:
        # TensorFlow names no newest one, and numpy takes names away in minor releases.
        major, minor = version(installed["numpy"])
        found.add(f"numpy<{major}.{int(minor) + 1}")
    print("\n".join(sorted(found)))


main()
