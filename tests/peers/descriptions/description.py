"""What a vendor's description says of its operations, in one shape whatever it was written in."""

import re
from dataclasses import dataclass, field

from connector import CLOSE, OPEN

@dataclass
class Body:
    """The top of a body. `known` is None where the description does not list its properties."""

    known: list[str] | None = None
    # Any one of these sets of names makes a whole body.
    required: list[list[str]] = field(default_factory=lambda: [[]])


@dataclass
class Operation:
    method: str
    path: str
    # Name to whether it is required.
    query: dict[str, bool] = field(default_factory=dict)
    header: dict[str, bool] = field(default_factory=dict)
    # By how it is written: json, form, multipart, other.
    bodies: dict[str, Body] = field(default_factory=dict)
    # The service takes every parameter in the query as well as in the body.
    anywhere: bool = False
    # The description does not list the parameters of the query.
    open_query: bool = False
    # Which of the description's sources says it.
    source: int = 0

    def body(self, kind):
        return self.bodies.get(kind) or next(iter(self.bodies.values()), None)


@dataclass
class Source:
    name: str
    version: str


@dataclass
class Description:
    sources: list[Source]
    # Where the paths begin, `{}` for what differs from account to account.
    roots: list[str]
    operations: list[Operation]
    # Whether all of the vendor's operations are here.
    whole: bool = True

    def named(self):
        """The sources in short: those of one repository together."""
        found = {}
        for source in self.sources:
            name, _, path = source.name.removeprefix("https://").partition("/blob/HEAD/")
            found.setdefault(name, []).append((path, source.version))
        told = []
        for name, parts in found.items():
            path, version = parts[0]
            several = f"{len(parts)} documents," if len(parts) > 1 else path
            told.append(" ".join(filter(None, [name, several, version])))
        return "; ".join(told)

    def find(self, method, url):
        """The operations of a method and URL, the most literal ones, and the methods that the path has.

        Several where their paths differ by the names of placeholders alone, and none is named as in the URL.
        """
        fitting = []
        for root in self.roots:
            head = re.match(pattern(root), url)
            if head is None:
                continue
            rest = url[head.end():]
            fitting += [operation for operation in self.operations if re.fullmatch(pattern(operation.path), rest)]
        fitting.sort(key=lambda operation: operation.path.count("{"))
        mine = [operation for operation in fitting if operation.method == method]
        mine = [operation for operation in mine if operation.path.count("{") == mine[0].path.count("{")]
        names = {plain(name) for name in re.findall(f"{OPEN}([^{CLOSE}]*)", url)}
        alike = [len(names & {plain(name) for name in re.findall(r"\{(.*?)\}", one.path)}) for one in mine]
        mine = [operation for operation, likeness in zip(mine, alike) if likeness == max(alike)]
        return mine, sorted({operation.method for operation in fitting})


def pattern(path):
    """A regular expression of a described path: a placeholder takes a value or what stands for one."""
    parts = re.split(r"(\{[^{}]*\})", path)
    return "".join(placeholder(part) if part.startswith("{") else re.escape(part) for part in parts)


def placeholder(part):
    # RFC 6570: {+name} may hold slashes.
    some = f"[^?#{OPEN}]+" if part.startswith("{+") else f"[^/?#{OPEN}]+"
    return f"(?:{some}|{OPEN}[^{CLOSE}]*{CLOSE})"


def plain(name):
    return re.sub("[^a-z0-9]", "", name.lower())


def shape(operation):
    """An operation as `recorded/*.json` writes it."""
    found = {"method": operation.method, "path": operation.path}
    for place in ("query", "header"):
        if getattr(operation, place):
            found[place] = dict(sorted(getattr(operation, place).items()))
    if operation.bodies:
        found["bodies"] = {
            kind: {"known": None if body.known is None else sorted(body.known), "required": sorted(body.required)}
            for kind, body in operation.bodies.items()
        }
    for flag in ("anywhere", "open_query"):
        if getattr(operation, flag):
            found[flag] = True
    if operation.source:
        found["source"] = operation.source
    return found


def operation(found):
    """The reverse of `shape`."""
    bodies = {kind: Body(**body) for kind, body in found.get("bodies", {}).items()}
    return Operation(**{**found, "bodies": bodies})
