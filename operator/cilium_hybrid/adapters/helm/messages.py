"""What users read of an error of Helm: one line that holds no secret."""

import re
from typing import Final

MAX_LENGTH: Final = 300
"""In characters, of what is quoted of Helm; a sentence around it names the object and the way out."""

_SECRETS: Final = re.compile(r"-----BEGIN[^-]+-----.*?(?:-----END[^-]+-----|$)|[A-Za-z0-9+/=_-]{100,}", re.DOTALL)
_END_OF_PEM: Final = re.compile(r"\A(?:(?!-----BEGIN).)*?-----END[^-]+-----", re.DOTALL)
"""The rest of a key or certificate whose beginning was cut off."""
_QUERY: Final = re.compile(r"(?<=\?)[^\s\"'<>]*[=%][^\s\"'<>]*")
"""Of a URL: that of a presigned one is a password, and differs each time."""
_USER: Final = re.compile(r"(?<=://)[^\s/@\"']+@")
_NOISE: Final = re.compile(r"^(WARNING|level=|time=|I\d{4}|W\d{4}|Use --debug|Pulled:|Digest:)")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def describe_stderr(stderr: bytes) -> str:
    """Return Helm's error as one line, without anything that may be a key, a certificate or a password."""
    text = _END_OF_PEM.sub("<redacted>", stderr.decode(errors="replace"))
    text = _SECRETS.sub("<redacted>", text)
    text = _USER.sub("<redacted>@", _QUERY.sub("<redacted>", text))
    lines = (line.strip().removeprefix("Error: ").lstrip("- ") for line in text.split("\n"))
    text = "; ".join(line for line in lines if line and not _NOISE.match(line))
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shorten(text: str, limit: int = MAX_LENGTH) -> str:
    """Return a text of at most `limit` characters, without control characters; what is cut is in the middle.

    Helm wraps an error in where it occurred, often several times, so that the cause comes last.
    """
    printable = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    if len(printable) <= limit:
        return printable
    head = limit // 2
    return f"{printable[:head]}…{printable[len(printable) - (limit - head - 1) :]}"
