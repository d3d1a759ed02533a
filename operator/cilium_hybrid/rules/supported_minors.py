"""What is known about each Cilium minor: one file each in `minors/`. A new minor is a new file there and no code.

A file says what changed with its minor. Everything but `supported` and `notes` holds for all later minors until one of
their files says otherwise, so a minor that is too new to have a file gets what is known about the newest one.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import accumulate, pairwise
from typing import Annotated, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from cilium_hybrid.api.versions import CiliumVersion

Series = tuple[int, int]
"""A minor as numbers, which compare as minors do: (1, 9) is older than (1, 10)."""

MINORS_FOLDER: Final = files(__package__) / "minors"
"""The folder of the files."""
_FILE: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.yaml", re.ASCII)

_Note = Annotated[str, StringConstraints(min_length=1, max_length=110, pattern=r"^[^\n]*[^.\n]$")]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class KeyChanges(_Model):
    """The value keys that the chart adds and removes, one dotted path a line; `make chart-keys` writes them."""

    added: str = ""
    removed: str = ""


class MinorFile(_Model):
    """The content of one file, in which the fields have camelCase names."""

    supported: bool
    """Whether AWS supports this minor on hybrid nodes; any other needs spec.allowUnsupported."""
    kernel: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")] | None = None
    """The oldest Linux kernel that the agents start on."""
    ingress_needs_kube_proxy_replacement: bool | None = None
    """Whether nothing but kube-proxy replacement serves the node ports of Ingress and Gateway."""
    removed_crds: list[str] = Field(default=[], alias="removedCRDs")
    """Kinds that this minor no longer serves."""
    api_versions: dict[str, str] = {}
    """The apiVersion to write for a kind, where it changed."""
    notes: list[_Note] = []
    """What to know before an upgrade from the minor below: one sentence each, without the full stop."""
    keys: KeyChanges = KeyChanges()


@dataclass(frozen=True, slots=True)
class Minor:
    """What holds for one minor; for the meaning of each field see `MinorFile`."""

    series: Series
    supported: bool = False
    kernel: tuple[int, int] | None = None
    ingress_needs_kube_proxy_replacement: bool = False
    removed_crds: frozenset[str] = frozenset()
    api_versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the minor as X.Y."""
        return f"{self.series[0]}.{self.series[1]}"

    def followed_by(self, series: Series, changes: MinorFile) -> Self:
        """Return the minor after this one: what its file does not say is as here."""
        kernel, needs_replacement = changes.kernel, changes.ingress_needs_kube_proxy_replacement
        return replace(
            self,
            series=series,
            supported=changes.supported,
            kernel=self.kernel if kernel is None else _numbers(kernel),
            ingress_needs_kube_proxy_replacement=(
                self.ingress_needs_kube_proxy_replacement if needs_replacement is None else needs_replacement
            ),
            removed_crds=self.removed_crds.union(changes.removed_crds),
            api_versions={**self.api_versions, **changes.api_versions},
            notes=tuple(changes.notes),
        )


def read_minor_files(folder: Traversable = MINORS_FOLDER) -> Mapping[Series, MinorFile]:
    """Return the files of a folder, oldest minor first; ValueError names the file, the field and what is wrong."""
    found = {_numbers(file.name.removesuffix(".yaml")): file for file in folder.iterdir() if _FILE.fullmatch(file.name)}
    read = {series: _read(found[series]) for series in sorted(found)}
    for before, after in pairwise(read):
        if after != (before[0], before[1] + 1):
            raise ValueError(f"{folder}: no file between {_text(before)}.yaml and {_text(after)}.yaml")
    return read


def load_minors(folder: Traversable = MINORS_FOLDER) -> tuple[Minor, ...]:
    """Return the minors of a folder, oldest first; ValueError as `read_minor_files`."""
    read = list(read_minor_files(folder).items())
    nothing_known = Minor(series=(0, 0))
    return tuple(accumulate(read, lambda minor, file: minor.followed_by(*file), initial=nothing_known))[1:]


@cache
def known_minors() -> tuple[Minor, ...]:
    """Return the minors that the operator knows, oldest first."""
    return load_minors()


def supported_minors() -> tuple[Minor, ...]:
    """Return the minors that AWS supports on hybrid nodes, oldest first."""
    return tuple(minor for minor in known_minors() if minor.supported)


def minor_of(version: CiliumVersion, known: Sequence[Minor] | None = None) -> Minor:
    """Return what holds for the minor of a version.

    A minor without a file is not supported and has no notes; the rest is that of the newest file before it, and nothing
    is known before the oldest one.
    """
    series = (version.major, version.minor)
    minors = known_minors() if known is None else known
    holds = [minor for minor in minors if minor.series <= series]
    if not holds:
        return Minor(series)
    return holds[-1] if holds[-1].series == series else replace(holds[-1], series=series, supported=False, notes=())


def first_minor(condition: Callable[[Minor], bool]) -> Minor | None:
    """Return the oldest known minor with a property, for messages that say since when something holds."""
    return next((minor for minor in known_minors() if condition(minor)), None)


def _read(file: Traversable) -> MinorFile:
    try:
        return MinorFile.model_validate(yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    except ValidationError as error:
        raise ValueError(f"{file.name}: {'; '.join(_mistakes(error))}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{file.name}: {error}") from None


def _mistakes(error: ValidationError) -> Iterator[str]:
    for mistake in error.errors():
        place = ".".join(map(str, mistake["loc"]))
        yield f"{place}: {mistake['msg']}" if place else mistake["msg"]


def _numbers(text: str) -> tuple[int, int]:
    first, second = text.split(".")
    return int(first), int(second)


def _text(series: Series) -> str:
    return f"{series[0]}.{series[1]}"
