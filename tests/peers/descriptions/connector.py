"""Reads connector files, and tells what each would send: one Call for each health check, each action and each request
of a stream.

The files are read here a second time, on purpose: nothing of integ's own reader takes part in the check.
"""

import itertools
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

# Around the name of what only a user or a grant knows, in a URL.
OPEN, CLOSE = "\x01", "\x02"

# Lists of which a file says its own part and the vendor's holds beside it.
ADD_UP = ("errors", "unsure")

NAME = re.compile(r"\{\{|\}\}|\{([a-z0-9_]+)\}")


@dataclass
class Call:
    """One request that a connector file describes."""

    what: str
    method: str
    urls: list[str]
    body: str = "json"
    # By place (query, header, body): the names that may be sent.
    sent: dict[str, set[str]] = field(default_factory=lambda: {"query": set(), "header": set(), "body": set()})
    # The same for those that are always sent.
    sure: dict[str, set[str]] = field(default_factory=lambda: {"query": set(), "header": set(), "body": set()})
    # Of each group at least one is sent: (place, name) each.
    one_of: list[list[tuple[str, str]]] = field(default_factory=list)
    # Sent with every request, whatever the operation: they cover what is required and need not be known.
    carried: dict[str, set[str]] = field(default_factory=lambda: {"query": set(), "header": set(), "body": set()})
    # The user gives the body's root as he likes.
    free: bool = False


def load(folder):
    """The connectors of a folder by id, each with what it inherits from its vendor."""
    connectors = {}
    for path in sorted(Path(folder).glob("*.toml")):
        own = tomllib.loads(path.read_text(encoding="utf-8"))
        if "vendor" in own:
            vendor = Path(folder, "vendors", f"{own['vendor']}.toml")
            own = overlay(tomllib.loads(vendor.read_text(encoding="utf-8")), own)
        connectors[own["id"]] = own
    return connectors


def overlay(base, own):
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = overlay(below, value)
        elif isinstance(below, list) and isinstance(value, list) and key in ADD_UP:
            merged[key] = value + below
        else:
            merged[key] = value
    return merged


def calls(connector):
    """Every call of a connector: its health checks, way by way, then its actions and its streams."""
    found = {}
    for way, auth in connector["auth"].items():
        health = auth.get("health") or connector.get("health")
        if health is None:
            continue
        call = Call(f"health ({way})", health.get("method", "GET"), urls(connector, auth, health["path"]))
        carry(connector, auth, call)
        take_query(call)
        found[call.what] = call
    for name, action in connector.get("actions", {}).items():
        ways = [auth for way, auth in connector["auth"].items() if not action.get("auth") or way in action["auth"]]
        call = action_call(connector, name, action)
        call.urls = list(dict.fromkeys(url for auth in ways for url in urls(connector, auth, action["path"])))
        for auth in ways:
            carry(connector, auth, call)
        take_query(call)
        found[name] = call
    for name, stream in connector.get("streams", {}).items():
        ways = [auth for way, auth in connector["auth"].items() if not stream.get("auth") or way in stream["auth"]]
        for call, path in stream_calls(connector, f"streams.{name}", stream):
            call.urls = list(dict.fromkeys(url for auth in ways for url in urls(connector, auth, path)))
            for auth in ways:
                carry(connector, auth, call)
            take_query(call)
            found[call.what] = call
    return list(found.values())


def action_call(connector, name, action):
    api = connector.get("api", {})
    call = Call(name, action.get("method", "POST"), [], action.get("body", "json"))
    bodyless = call.method == "GET" or call.body in ("query", "none")
    in_path = set(NAME.findall(action["path"]))
    places = {}
    for param, about in action.get("params", {}).items():
        kind = about.get("type", "string")
        if param in in_path or about.get("in") == "message":
            continue
        if call.body == "related" and kind == "file":
            continue
        place = about.get("in") or ("query" if bodyless else "body")
        if about.get("to") == "" and place == "body":
            call.free = True
            continue
        wire = first(about["to"]) if "to" in about else write(api.get("names", "snake"), param)
        places[param] = (place, wire)
        call.sent[place].add(wire)
        if about.get("required") or "default" in about:
            call.sure[place].add(wire)
    # A group that holds what cannot be seen here (the message, the body's root) promises nothing of the rest.
    groups = action.get("one_of", [])
    call.one_of = [[places[param] for param in group] for group in groups if all(param in places for param in group)]
    always(call, "query", action.get("query", {}))
    always(call, "header", action.get("headers", {}))
    always(call, "body", action.get("fixed", {}))
    if "message" in action:
        always(call, "body", [first(action["message"])])
    idempotency = action.get("idempotency") or (api.get("idempotency") if call.method != "GET" else None) or {}
    if "query" in idempotency:
        always(call, "query", [idempotency["query"]])
    if "header" in idempotency:
        call.carried["header"].add(idempotency["header"].lower())
    if "body" in idempotency and not bodyless:
        always(call, "body", [first(idempotency["body"])])
    return call


def stream_calls(connector, what, stream):
    """The requests of a stream, each with its path: its list, a record of it, its changes, and what they begin with."""
    method = stream.get("method", "GET")
    pages = stream.get("pages") or connector.get("api", {}).get("pages", {})
    incremental, token, detail = (stream.get(key, {}) for key in ("incremental", "token", "detail"))
    listed = stream_call(what, method, stream, pages, stream.get("query", {}))
    for place, key in (("query", "query"), ("query", "until"), ("body", "body")):
        listed.sent[place].update(incremental.get(key, {}))
    found = [(listed, stream["path"])]
    if detail:
        call = Call(f"{what}.detail", "GET", [])
        always(call, "query", detail.get("query", {}))
        always(call, "header", stream.get("headers", {}))
        found.append((call, detail["path"]))
    if token and not token.get("url"):
        kept = [name for name in stream.get("query", {}) if name not in token.get("without", [])]
        call = stream_call(f"{what}.token", method, stream, pages, [*kept, *token.get("query", {})])
        found.append((call, token.get("path") or stream["path"]))
    if "first" in token:
        call = Call(f"{what}.token.first", "GET", [])
        always(call, "query", token["first"].get("query", {}))
        always(call, "header", stream.get("headers", {}))
        found.append((call, token["first"]["path"]))
    return found


def stream_call(what, method, stream, pages, query):
    call = Call(what, method, [])
    always(call, "query", query)
    always(call, "header", stream.get("headers", {}))
    always(call, "body", stream.get("body", {}))
    if pages.get("kind") != "none":
        if "param" in pages:
            place, name = page_param(pages["param"])
            call.sent[place].add(name)
        if "size_param" in pages and "size" in pages:
            place, name = page_param(pages["size_param"])
            always(call, place, [name])
    return call


def always(call, place, names):
    call.sent[place].update(names)
    call.sure[place].update(names)


def carry(connector, auth, call):
    for about in (connector.get("api", {}), auth.get("send", {})):
        call.carried["query"].update(about.get("query", {}))
        call.carried["header"].update(name.lower() for name in about.get("headers", {}))


def take_query(call):
    """Parts the query from the URLs."""
    for url in call.urls:
        if "?" in url:
            always(call, "query", [pair.split("=")[0] for pair in url.split("?", 1)[1].split("&")])
    call.urls = [url.split("?", 1)[0] for url in call.urls]


def urls(connector, auth, path):
    """What a path may come to: parameters have each of their choices or their default, all else its name."""
    template = path
    if path.startswith("/"):
        template = auth.get("base") or connector.get("api", {}).get("base", "")
        template += path
    params = {**connector.get("params", {}), **auth.get("params", {})}
    names = set(NAME.findall(template)) - {""}
    worlds = []
    for name, param in params.items():
        if param.get("gives"):
            worlds.append([{name: choice, **given} for choice, given in param["gives"].items()])
        elif param.get("choices") and name in names:
            worlds.append([{name: choice} for choice in param["choices"]])
        elif "default" in param:
            worlds.append([{name: param["default"]}])
    found = []
    for world in itertools.product(*worlds):
        values = {name: value for part in world for name, value in part.items()}
        found.append(NAME.sub(lambda match: fill(match, values), template))
    return list(dict.fromkeys(found))


def fill(match, values):
    if match.group(1) is None:
        return match.group(0)[0]
    return values.get(match.group(1), f"{OPEN}{match.group(1)}{CLOSE}")


def shown(url):
    return url.replace(OPEN, "{").replace(CLOSE, "}")


def page_param(param):
    """Where a paging parameter is sent: a pointer is a place in the body."""
    return ("body", first(param)) if param.startswith("/") else ("query", param)


def first(pointer):
    """The first name of a JSON Pointer."""
    return pointer.split("/")[1].replace("~1", "/").replace("~0", "~") if pointer else ""


def write(names, name):
    """A snake_case name as the API writes it."""
    if names == "snake":
        return name
    head, *rest = name.split("_")
    rest = [part[:1].upper() + part[1:] for part in rest]
    return "".join([head[:1].upper() + head[1:] if names == "pascal" else head, *rest])
