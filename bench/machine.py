"""What a result was measured on."""

import os
import pathlib
import platform
import re


def described():
    """Return {processor, cores, memory, system, python} in words."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": memory(),
        "system": "Linux " + ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
    }


def processor():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def memory():
    kilobytes = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]
    return f"{int(kilobytes) / 2**20:.0f} GiB"


def sentence(about):
    """Return one line that says when and on what."""
    of = about["machine"]
    return (
        f"{about['date']}, {about['rounds']} round{'s' * (about['rounds'] != 1)}, "
        f"{of['processor']}, {of['cores']} cores, {of['memory']}, {of['system']}, "
        f"Python {of['python']}"
    )


def versions(about):
    """Return one line with the version of each system."""
    return ", ".join(f"{name} {version}" for name, version in about["versions"].items())
