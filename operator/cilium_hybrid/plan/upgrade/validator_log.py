"""The policies that a version of Cilium rejects, parsed from the last lines of its validator's log.

Source: cilium-dbg/cmd/preflight_k8s_valid_cnp.go, which names the policy in the message, later in fields.
"""

import re
from collections.abc import Iterator
from typing import Final

_LINE: Final = re.compile(r"(?=\blevel=)")
_FIELD: Final = re.compile(r'\b(\w+)=(?:"((?:[^"\\]|\\.)*)"?|(\S+))')
_ESCAPED: Final = re.compile(r"\\(.)")
_MESSAGE_WITH_POLICY: Final = re.compile(
    r"Validating (\w+) '([^']+)': unexpected validation error:? *(.*)", re.IGNORECASE
)
_MESSAGE_WITHOUT_POLICY: Final = "unexpected validation error"


def invalid_policies(log: str) -> Iterator[str]:
    """Yield kind, name and error of each policy in the order of the log; lines may be joined, both ends truncated."""
    for line in _LINE.split(log):
        fields = {key: _unescaped(quoted or plain) for key, quoted, plain in _FIELD.findall(line)}
        message, error = fields.get("msg", ""), fields.get("error", "")
        if (named := _MESSAGE_WITH_POLICY.search(message)) is not None:
            kind, name, reason = named.groups()
            yield _describe(kind, name, reason or error)
        elif message.lower() == _MESSAGE_WITHOUT_POLICY and "name" in fields:
            yield _describe(fields.get("type", "policy"), fields["name"], error)


def _describe(kind: str, name: str, reason: str) -> str:
    return f"{kind} {name}: {reason or 'not valid in the target version'}"


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: " " if match[1] in "nt" else match[1], text).strip()
