"""Makes msgspec analyze a type completely before any thread uses it.

At the first conversion to a class msgspec notes the class's fields and their types, in the class itself. It
does so before it has analyzed the types of the fields, which may refer to the class again. The analysis runs
Python code, so another thread may come in between; it finds the unfinished note, and the process dies of
SIGSEGV. That happened to the API when its first two requests asked for an engine at once.

So everything that decodes or converts says `analyzed(T)` where msgspec wants T;
tests/architecture/test_type_info.py finds what does not. Source: msgspec 0.22, `StructInfo_Convert` and
`DataclassInfo_Convert` in _core.c.
"""

import threading
from typing import Final, TypeVar

import msgspec

Kind = TypeVar("Kind")

_lock: Final = threading.RLock()
_analyzed: Final[set[object]] = set()
"""As global as msgspec's notes. Only types that the source names come here, so it does not grow."""


def analyzed(kind: Kind) -> Kind:
    """The type, or the union of types, with all that it consists of known to msgspec. Thread-safe.

    Raises: TypeError, if msgspec does not support the type.
    """
    if kind not in _analyzed:
        with _lock:
            msgspec.json.Decoder(kind)
            _analyzed.add(kind)
    return kind
