"""Versions of the Cilium chart: X.Y.Z, or X.Y.Z-N where N is the AWS build number."""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

# [0-9] instead of \d, which matches digits of other scripts in some engines.
VERSION_PATTERN = r"^(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})(-(0|[1-9][0-9]{0,3}))?$"


@total_ordering
@dataclass(frozen=True, slots=True)
class CiliumVersion:
    """Chart version. Unlike in SemVer, where `-N` is a pre-release, X.Y.Z-N is newer than X.Y.Z."""

    major: int
    minor: int
    patch: int
    build: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `X.Y.Z` or `X.Y.Z-N`; raise ValueError for anything else."""
        match = re.fullmatch(VERSION_PATTERN, text, re.ASCII)
        if match is None:
            raise ValueError(f"{text!r} is not a version X.Y.Z or X.Y.Z-N")
        major, minor, patch, _, build = match.groups()
        return cls(int(major), int(minor), int(patch), None if build is None else int(build))

    @property
    def series(self) -> str:
        """Minor release as `X.Y`, the form that the value upgradeCompatibility needs (cilium.io, upgrade guide)."""
        return f"{self.major}.{self.minor}"

    def _key(self) -> tuple[int, int, int, int]:
        return self.major, self.minor, self.patch, -1 if self.build is None else self.build

    def __lt__(self, other: "CiliumVersion") -> bool:
        return self._key() < other._key()

    def __str__(self) -> str:
        build = "" if self.build is None else f"-{self.build}"
        return f"{self.major}.{self.minor}.{self.patch}{build}"
