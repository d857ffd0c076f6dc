"""How many files and sockets this process may have open (getrlimit(2), RLIMIT_NOFILE)."""

import resource
from typing import Final

ENOUGH: Final = 1 << 16
"""More than anything here needs: where the hard limit is higher, this is asked for."""


def raise_limit() -> int:
    """Raise the soft limit to the hard one, as far as it is of use. Returns: the limit that holds now.

    The usual soft limit of 1,024 is that of select(2), which nothing here calls; it is meant to be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a container may forbid it: then there are fewer connections
        return soft
    return wanted
