"""Finds what a source file needs of the system that Windows or macOS does not have."""

import ast
from collections.abc import Iterator
from typing import Final

MODULES: Final = {"fcntl", "grp", "pwd", "resource", "termios", "tty", "pty"}
ATTRIBUTES: Final = {
    "os": {
        "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_TMPFILE",
        "chown", "copy_file_range", "fchmod", "fchown", "fdatasync", "fork", "fwalk", "getegid", "geteuid",
        "getuid", "kill", "killpg", "memfd_create", "mkfifo", "nice", "pidfd_open", "pipe2", "posix_fadvise",
        "posix_fallocate", "pread", "preadv", "pwritev", "sched_getaffinity", "sched_setaffinity",
        "sched_yield", "sendfile", "setsid", "splice", "statvfs", "sysconf", "umask", "wait4", "waitid",
        "waitpid",
    },
    "signal": {"SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "pthread_sigmask", "set_wakeup_fd"},
    "select": {"epoll", "poll"},
    "socket": {"AF_UNIX", "SOCK_CLOEXEC", "SO_PEERCRED", "send_fds", "recv_fds"},
    "ctypes": {"CDLL"},
    "selectors": {"EpollSelector", "PollSelector"},
}  # fmt: skip
KEYWORDS: Final = {"dir_fd", "pass_fds", "preexec_fn", "start_new_session", "umask"}
"""Arguments of functions of `os` and `subprocess`."""
TEXTS: Final = ("/proc/", "/sys/", "/dev/", "ipc://")
"""With what a text begins that names something of the system."""


def linux_calls(source: str) -> set[str]:
    """The names of what the file uses, as they are written: `fcntl`, `os.preadv`, `pass_fds=`, `/proc/`."""
    return set(_found(ast.parse(source)))


def _found(tree: ast.Module) -> Iterator[str]:
    documentation = set(_documentation(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from {module} & MODULES
                called = ATTRIBUTES.get(module, set())
                yield from (f"{module}.{alias.name}" for alias in names if alias.name in called)
            case ast.Attribute(value=ast.Name(id=module), attr=name) if name in ATTRIBUTES.get(module, ()):
                yield f"{module}.{name}"
            case ast.keyword(arg=str(name)) if name in KEYWORDS:
                yield f"{name}="
            case ast.Constant(value=str(text)) if node not in documentation:
                yield from (start for start in TEXTS if text.startswith(start))


def _documentation(tree: ast.Module) -> Iterator[ast.Constant]:
    """Texts that stand alone, which are documentation."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
