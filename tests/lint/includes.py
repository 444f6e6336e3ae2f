"""Who may include whom: common neither daemon, the daemons never each other, base only base, io no domain; each library's header
and each x_private.h only in their one module."""
import os
import re

import csource

# A folder's files may include what stands under these; the plain data of topology.h is what io declares queues from.
MAY_INCLUDE = {
    "common/base/": ("common/base/",),
    "common/io/": ("common/base/", "common/io/", "common/domain/topology.h"),
    "common/domain/": ("common/",),
    "publisher/": ("common/", "publisher/"),
    "consumer/": ("common/", "consumer/"),
}

# A module is the files that share a prefix. What tests include is their own affair.
LIBRARIES = {
    r"amqp.*\.h": "common/io/broker",
    r"curl/.*": "common/io/http",
    r"libpq.*|postgres.*": "common/io/db",
    r"uv\.h|uv/.*": "common/io/loop",
    r"microhttpd\.h": "common/io/status_server",
    r"libconfig\.h": "common/domain/config",
    r"(cjson/)?cJSON.*\.h": "common/base/json",
    r"systemd/.*": "common/domain/daemon",
}


def resolve(path, name):
    """The file of the tree that a quoted include means, as the compiler would look for it."""
    for folder in (os.path.dirname(path), "common", ""):
        found = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(os.path.join(csource.TOP, found)):
            return found
    return None


def is_module(prefix, path):
    return re.fullmatch(re.escape(prefix) + r"(_\w+)?\.[ch]", path)


def fault_of_own(path, name):
    if ".." in name.split("/"):
        return "an include never climbs out of its folder"
    target = resolve(path, name)
    private = target and re.fullmatch(r"(.*)_private\.h", target)
    if private and not path.startswith("tests/") and not is_module(private.group(1), path):
        return f"only {private.group(1)}*.c and .h include {target}"
    for folder, allowed in MAY_INCLUDE.items():
        if path.startswith(folder) and target and not target.startswith(allowed):
            return f"{folder} must not include {target}"
    return None


def fault_of_library(path, name):
    if path.startswith("tests/"):
        return None
    for pattern, module in LIBRARIES.items():
        if re.fullmatch(pattern, name) and not is_module(module, path):
            return f"only {module}*.c and .h include <{name}>"
    return None


def check():
    include = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
    for path in csource.files(".c", ".h"):
        text = csource.read(path)
        for match in include.finditer(text):
            name = match.group(2)
            found = fault_of_library(path, name) or (fault_of_own(path, name) if match.group(1) == '"' else None)
            if found:
                yield f"{path}:{csource.line_of(text, match.start())}: {found}"


csource.finish(list(check()))
