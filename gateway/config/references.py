"""The `${NAME}` and `${file:/path}` in a file's strings, replaced by what they refer to."""

import re

from gateway.config.mistakes import Wrong

REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def filled(value, at):
    """Return the value with its strings filled in, and None where that is impossible.

    What the environment gave is taken as it is.
    """
    if isinstance(value, dict):
        return {key: filled(inner, at.into(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, at.into(index)) for index, inner in enumerate(value)]
    return filled_text(value, at) if isinstance(value, str) and not at.variable else value


def filled_text(text, at):
    contents = []

    def fill(found):
        if found[0] == "$${":
            return "${"
        contents.append(at.read(referred, found))
        return contents[-1] or ""

    text = REFERENCE.sub(fill, text)
    return None if None in contents else text


def referred(found, at):
    """Return what one `${…}` refers to."""
    name, closed = found.groups()
    if closed and name.startswith("file:"):
        return content(at.report.folder / name.removeprefix("file:"))
    if not closed or not VARIABLE.fullmatch(name):
        raise Wrong("a ${…} in it is neither ${NAME} nor ${file:/path}; a plain ${ is written $${")
    if name not in at.report.environ:
        raise Wrong(f"the environment variable {name} is not set")
    return at.report.environ[name]


def content(path):
    try:
        return path.read_bytes().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Wrong(f"the file {path} is not UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise Wrong(f"the file {path} can't be read: {reason}") from None
