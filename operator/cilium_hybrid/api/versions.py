"""Versions of the Cilium chart as AWS writes them: X.Y.Z, or X.Y.Z-N with a build number."""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

# Digits by their range: \d is more than ten of them to some engines.
VERSION_PATTERN = r"^(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})(-(0|[1-9][0-9]{0,3}))?$"


@total_ordering
@dataclass(frozen=True, slots=True)
class CiliumVersion:
    """A chart version. Not SemVer, for which `-N` is a pre-release: here it is newer than the plain version."""

    major: int
    minor: int
    patch: int
    build: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `X.Y.Z` or `X.Y.Z-N`; ValueError for anything else."""
        match = re.fullmatch(VERSION_PATTERN, text, re.ASCII)
        if match is None:
            raise ValueError(f"{text!r} is not a version X.Y.Z or X.Y.Z-N")
        major, minor, patch, _, build = match.groups()
        return cls(int(major), int(minor), int(patch), None if build is None else int(build))

    @property
    def series(self) -> str:
        """The minor release as `X.Y`, the only form that upgradeCompatibility takes (cilium.io, upgrade guide)."""
        return f"{self.major}.{self.minor}"

    def _key(self) -> tuple[int, int, int, int]:
        return self.major, self.minor, self.patch, -1 if self.build is None else self.build

    def __lt__(self, other: "CiliumVersion") -> bool:
        return self._key() < other._key()

    def __str__(self) -> str:
        build = "" if self.build is None else f"-{self.build}"
        return f"{self.major}.{self.minor}.{self.patch}{build}"
