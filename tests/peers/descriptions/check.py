#!/usr/bin/env python3
"""Holds the connector files against what the vendors publish.

    check.py [CONNECTOR...] [--connectors DIR] [--recorded DIR]

For each health check, each action and each request of a stream: its method and path must be in the vendor's
description, what that requires must be sent whatever the user leaves out, and what is sent must be known there. Prints a
table and each problem on a line of its own; exit 1 when there is one. `sources.toml` says where the descriptions come
from.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import connector
import documents
from description import Description, Source, operation

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
# Headers that any request may carry.
COMMON = {"accept", "accept-language", "authorization", "content-type", "prefer", "user-agent", "if-match"}


class Missing(Exception):
    """A description that should be there is not."""


def describe(name, about, recorded):
    """The description of a connector, or None where there is none."""
    if "sdk" in about:
        run = subprocess.run(["node", str(HERE / "sdk.mjs"), name], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Missing(f"{about['sdk']} cannot be read; `npm ci` in tests/peers installs it\n{run.stderr}")
        found = json.loads(run.stdout)
        sources = [Source(about["sdk"], found["version"])]
        found_operations = [operation(one) for one in found["operations"]]
        return Description(sources, about.get("roots", found["roots"]), found_operations)
    if "discovery" in about:
        return discover(about["discovery"])
    path = Path(recorded, f"{name}.json")
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    sources = [Source(one["name"], one["version"]) for one in found["sources"]]
    found_operations = [operation(one) for one in found["operations"]]
    return Description(sources, about.get("roots", found["roots"]), found_operations, whole=False)


def require(description, table):
    """Adds what a description leaves out of its requirements: by method and path, the names of the body."""
    for key, names in table.items():
        method, path = key.split(" ")
        found = [one for one in description.operations if (one.method, one.path) == (method, path)]
        for body in [body for one in found for body in one.bodies.values()]:
            body.required = [sorted({*one, *names}) for one in body.required]
        if description.whole and not found:
            raise Missing(f"sources.toml requires something of {key}, which is not described")
    return description


def discover(names):
    """Google's discovery documents, out of the wheel of its Python client."""
    wheels = sorted(HERE.glob("packages/google_api_python_client-*.whl"))
    if not wheels:
        raise Missing("google-api-python-client is not here; tests/run says how it is brought")
    sources, roots, operations = [], [], []
    with zipfile.ZipFile(wheels[-1]) as wheel:
        package = "google-api-python-client " + wheels[-1].name.split("-")[1]
        for name in names:
            document = json.loads(wheel.read(f"googleapiclient/discovery_cache/documents/{name}.json"))
            version, its_roots, its_operations = documents.discovery(document)
            sources.append(Source(f"{package}: {document['name']}", version))
            # A service may answer at the common host too.
            roots += [*its_roots, "https://www.googleapis.com"]
            operations += its_operations
    return Description(sources, list(dict.fromkeys(roots)), operations)


def check(call, description, excepted=()):
    """The problems of one call."""
    problems = {}
    for url in call.urls:
        found, methods = description.find(call.method, url)
        shown = f"{call.method} {connector.shown(url)}"
        if not found and methods:
            its = [f"the description has that path with {', '.join(methods)} alone"]
        elif not found:
            its = ["the description has no such path"]
        else:
            its = min((compare(call, one, excepted) for one in found), key=len)
        # The same of a second host is not told twice.
        for problem in its:
            problems.setdefault(problem, f"{shown}: {problem}")
    return list(problems.values())


def compare(call, found, excepted):
    problems = []
    body = found.body(call.body)
    known = {
        "query": None if found.open_query else set(found.query),
        "header": None if not found.header else {name.lower() for name in found.header} | COMMON,
        "body": set() if body is None else None if body.known is None else set(body.known),
    }
    if found.anywhere:
        open_ended = known["query"] is None or known["body"] is None
        known["query"] = known["body"] = None if open_ended else known["query"] | known["body"]
    for place, names in call.sent.items():
        for name in sorted(names):
            plain = (name.lower() if place == "header" else name).split("[")[0]
            if known[place] is None or name in known[place] or plain in known[place] or name in excepted:
                continue
            elsewhere = [other for other in known if other != place and known[other] and plain in known[other]]
            hint = f", it goes into the {elsewhere[0]}" if elsewhere else ""
            problems.append(f"{name} in the {place} is not known there{hint}")
    for sent in scenarios(call):
        if found.anywhere:
            sent["query"] = sent["body"] = sent["query"] | sent["body"]
        for place in ("query", "header"):
            for name, required in getattr(found, place).items():
                if required and name not in sent[place] and name not in excepted:
                    problems.append(f"{name} in the {place} is required")
        if body is not None and not call.free:
            lacking = {frozenset(one) - sent["body"] - set(excepted) for one in body.required}
            if lacking and all(lacking):
                least = [one for one in lacking if not any(other < one for other in lacking)]
                ways = [" and ".join(sorted(one)) for one in sorted(least, key=lambda one: (len(one), sorted(one)))]
                problems.append(f"{' or else '.join(ways[:4])} in the body is required")
    return list(dict.fromkeys(problems))


def scenarios(call):
    """What is sent, place by place, when the user gives no more than he must."""
    for picks in itertools.product(*call.one_of):
        sent = {place: call.sure[place] | call.carried[place] for place in call.sure}
        for place, name in picks:
            sent[place] = sent[place] | {name}
        sent["header"] = {name.lower() for name in sent["header"]}
        yield sent


def judge(calls, description, exceptions):
    """The problems of a connector's calls, and what was not checked. A needless exception is a problem too."""
    problems, notes, stale = [], [], set(exceptions)
    for call in calls:
        all_of_them = check(call, description)
        if call.what in exceptions:
            notes.append(f"{call.what}: not checked: {exceptions[call.what]}")
            if all_of_them:
                stale.discard(call.what)
            continue
        keys = {key.rpartition(" ")[2]: key for key in exceptions if key.rpartition(" ")[0] == call.what}
        problems += [f"{call.what}: {one}" for one in check(call, description, keys)]
        for name, key in keys.items():
            notes.append(f"{call.what}: {name} not checked: {exceptions[key]}")
            if check(call, description, set(keys) - {name}) != check(call, description, keys):
                stale.discard(key)
    problems += [f"{key}: sources.toml excepts it for nothing" for key in sorted(stale)]
    return problems, notes


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("connector", nargs="*")
    parser.add_argument("--connectors", default=ROOT / "connectors")
    parser.add_argument("--recorded", default=HERE / "recorded")
    options = parser.parse_args(arguments)
    table = tomllib.loads((HERE / "sources.toml").read_text(encoding="utf-8"))
    rows, problems, notes = [("connector", "what", "source and version", "checked", "problems")], [], []
    for name, read in connector.load(options.connectors).items():
        if options.connector and name not in options.connector:
            continue
        about = table.get(name, {})
        if "none" in about:
            rows.append((name, "", f"not checked: {about['none']}", "", ""))
            continue
        try:
            description = describe(name, about, options.recorded)
            if description is not None:
                require(description, about.get("requires", {}))
        except Missing as missing:
            problems.append(f"{name}: {missing}")
            continue
        if description is None:
            problems.append(f"{name}: no description; record one with record.py, or say why not in sources.toml")
            continue
        calls = connector.calls(read)
        found, its_notes = judge(calls, description, about.get("except", {}))
        if not description.whole:
            again = f"it is wrong, or to be recorded anew: record.py {name} DOCUMENT --source URL --commit C"
            found = [f"{one}; {again}" if "the description has" in one else one for one in found]
        health = sum(call.what.startswith("health (") for call in calls)
        actions, streams = len(read.get("actions", {})), len(read.get("streams", {}))
        what = f"{health} health, {actions} actions, {streams} streams"
        checked = len(calls) - sum(call.what in about.get("except", {}) for call in calls)
        rows.append((name, what, description.named(), f"{checked} of {len(calls)}", str(len(found))))
        notes += [f"{name} {one}" for one in its_notes]
        problems += [f"{name} {one}" for one in found]
    show(rows)
    for line in [*notes, *problems]:
        print(line)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


def show(rows):
    widths = [max(len(row[column]) for row in rows if row[1] or row is rows[0]) for column in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0])).rstrip())


if __name__ == "__main__":
    sys.exit(main())
