"""Calls that nobody makes: unbounded or unsafe string functions, alloca, a shell; and ends of the process outside main.c."""
import re

import csource

BANNED = {
    "strcpy": "snprintf or buf_", "strcat": "snprintf or buf_", "sprintf": "snprintf or buf_", "vsprintf": "vsnprintf",
    "strncpy": "snprintf", "strncat": "snprintf or buf_", "strtok": "strtok_r or strspn", "atoi": "strtol", "atol": "strtol",
    "atof": "strtod", "gets": "getline", "alloca": "an arena", "system": "posix_spawn", "popen": "posix_spawn",
}
SLEEPS = {"sleep", "usleep", "nanosleep", "clock_nanosleep"}
ENDS = {"exit", "_exit", "_Exit", "quick_exit", "abort"}

# Where a daemon may end without main's consent, and why.
MAY_END = {
    "common/base/arena.c": "out of memory",
    "common/base/backoff.c": "a kernel without random numbers",
    "common/base/uuid.c": "no memory for a digest: another id would be a duplicate later",
    "common/io/loop.c": "libuv refuses what it must not refuse: a broken invariant",
}


def is_product(path):
    return path.startswith(("common/", "publisher/", "consumer/"))


def fault(path, name):
    if name in BANNED:
        return f"{name}() is banned: use {BANNED[name]}"
    if name in SLEEPS:
        return f"{name}(): nothing sleeps here; wait for what is to happen, with a deadline"
    if name in ENDS and is_product(path) and not path.endswith("/main.c") and path not in MAY_END:
        return f"{name}(): only main.c ends the process (or say in tests/lint/calls.py why not)"
    return None


def check():
    call = re.compile(r"(?<![\w.>])(" + "|".join(sorted(BANNED.keys() | SLEEPS | ENDS)) + r")\s*\(")
    for path in csource.files(".c", ".h"):
        text = csource.code(csource.read(path))
        for match in call.finditer(text):
            found = fault(path, match.group(1))
            if found:
                yield f"{path}:{csource.line_of(text, match.start())}: {found}"


csource.finish(list(check()))
