"""Which policies a version of Cilium refuses, out of the last lines of its validator's log.

Source: cilium-dbg/cmd/preflight_k8s_valid_cnp.go, which names the policy in its message, and later beside it.
"""

import re
from collections.abc import Iterator
from typing import Final

_LINE: Final = re.compile(r"(?=\blevel=)")
_FIELD: Final = re.compile(r'\b(\w+)=(?:"((?:[^"\\]|\\.)*)"?|(\S+))')
_ESCAPED: Final = re.compile(r"\\(.)")
_IN_THE_MESSAGE: Final = re.compile(r"Validating (\w+) '([^']+)': unexpected validation error:? *(.*)", re.IGNORECASE)
_BESIDE_IT: Final = "unexpected validation error"


def refused_policies(log: str) -> Iterator[str]:
    """Kind, name and the reason of each, in the order of the log; its lines may be joined to one, its ends cut off."""
    for line in _LINE.split(log):
        fields = {key: _unescaped(quoted or plain) for key, quoted, plain in _FIELD.findall(line)}
        message, error = fields.get("msg", ""), fields.get("error", "")
        if (named := _IN_THE_MESSAGE.search(message)) is not None:
            kind, name, reason = named.groups()
            yield _refused(kind, name, reason or error)
        elif message.lower() == _BESIDE_IT and "name" in fields:
            yield _refused(fields.get("type", "policy"), fields["name"], error)


def _refused(kind: str, name: str, reason: str) -> str:
    return f"{kind} {name}: {reason or 'it is not valid in the target version'}"


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: " " if match[1] in "nt" else match[1], text).strip()
