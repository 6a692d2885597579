"""One way to write any name so that MLflow takes it, and to read it again."""

import re

MAX_NAME_LENGTH = 250
"""Characters that MLflow's stores have room for."""
_REFUSED = re.compile(r"[^/\w.\- ]")
_LOOKS_ESCAPED = re.compile(r"_(?=x[0-9A-F]{4,6}_)")
_UNSAFE_PART = re.compile(r"\.{1,2}")
_ESCAPED = re.compile(r"_x([0-9A-F]{4,6})_")


def escape_name(name: str) -> str:
    """`name` with each character that MLflow refuses as `_xHHHH_`, its hexadecimal code: `^GSPC` is `_x005E_GSPC`.

    The escape of Excel and .NET (`XmlConvert.EncodeName`). Names that MLflow takes stay as they are, other than those
    that look escaped, so that no two names become one. Parts between slashes that a file system would not keep apart
    (empty, `.` and `..`) are escaped too.
    """
    escaped = _REFUSED.sub(_code, _LOOKS_ESCAPED.sub(_code, name))
    parts = escaped.split("/")
    if "" in parts:  # its slashes would be read as fewer
        parts = [escaped.replace("/", "_x002F_")]
    return "/".join(re.sub(r"\.", _code, part) if _UNSAFE_PART.fullmatch(part) else part for part in parts)


def unescape_name(name: str) -> str:
    """The name that `escape_name` was given."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)


def _code(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):04X}_"
