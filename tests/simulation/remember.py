"""Remember the results of pure functions that a reconciliation calls again and again with the same objects.

A history reads the same spec and the same status hundreds of times. This changes no result: no argument is changed.
"""

import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Final

from cilium_hybrid.api import status, v1alpha1
from cilium_hybrid.plan import values
from cilium_hybrid.rules import cidrs, lenient_spec, schema_errors

_SIZE: Final = 5000


def remember_pure_functions() -> None:
    """Replace the functions in every module that uses them; a second call does nothing."""
    for function in (
        status.parse_status,
        v1alpha1.parse_spec,
        values.helm_values,
        lenient_spec.read_lenient_spec,
        schema_errors.schema_errors,
    ):
        _replace(function, _by_identity(function))
    _replace(cidrs.canonical_cidr, lru_cache(_SIZE)(cidrs.canonical_cidr))


def _by_identity(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with a memory of results by the identity of the arguments, which the memory keeps alive."""
    known: dict[tuple[Any, ...], tuple[tuple[Any, ...], Any]] = {}

    @wraps(function)
    def remembered(*arguments: Any) -> Any:
        key = tuple(argument if isinstance(argument, str) else id(argument) for argument in arguments)
        if key not in known:
            if len(known) > _SIZE:
                known.clear()
            known[key] = arguments, function(*arguments)
        return known[key][1]

    return remembered


def _replace(function: Callable[..., Any], by: Callable[..., Any]) -> None:
    if hasattr(function, "__wrapped__"):
        return
    for name, module in tuple(sys.modules.items()):
        if name.startswith(("cilium_hybrid.", "simulation.")) and getattr(module, function.__name__, None) is function:
            setattr(module, function.__name__, by)
