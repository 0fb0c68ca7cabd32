"""How many files and connections the system lets this process have open."""

import sys

if sys.platform != "win32":
    import resource


def allowed_descriptors(wanted: int) -> int:
    """Ask the system for so many, and say how many it allows.

    Only the soft limit is raised, which needs no rights; it is never lowered. What this returns is below
    `wanted` where the hard limit is.
    """
    if sys.platform == "win32":
        return wanted  # sockets do not count there
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):  # a system with yet another limit
        return soft
    return target
