#!/usr/bin/env python3
"""Records what a vendor's document says of the operations that a connector uses.

    record.py CONNECTOR DOCUMENT... --source URL --commit C [--date D] [--connectors DIR]

Writes recorded/CONNECTOR.json: facts alone (methods, paths, names, what is required), no prose. Recorded from several
sources one after another, it holds them all; the same source again replaces its own part. Exit 1 when an operation of
the connector is in none of them.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import connector
import documents
from connector import SOME
from description import Description, operation, shape

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("connector")
    parser.add_argument("document", nargs="+", help="several of one kind are read as one: .go, .xsd")
    parser.add_argument("--source", required=True, help="where the document is published")
    parser.add_argument("--commit", required=True)
    parser.add_argument("--date", default="", help="of the commit")
    parser.add_argument("--connectors", default=HERE.parents[2] / "connectors")
    options = parser.parse_args()
    read = connector.load(options.connectors)[options.connector]
    about = tomllib.loads((HERE / "sources.toml").read_text(encoding="utf-8")).get(options.connector, {})

    text = "\x00".join(Path(name).read_text(encoding="utf-8") for name in options.document)
    version, roots, operations = documents.read(text, options.document[0])
    document = Description([], about.get("roots", roots), operations)
    path = HERE / "recorded" / f"{options.connector}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sources": [], "roots": [], "operations": []}
    sources = [one for one in kept["sources"] if one["name"] != options.source]
    held = [
        {**one, "source": sources.index(kept["sources"][one.get("source", 0)])}
        for one in kept["operations"]
        if kept["sources"][one.get("source", 0)] in sources
    ]
    of = f" of {options.date}" if options.date else ""
    sources.append({
        "name": options.source,
        "version": f"{version} at {options.commit[:12]}{of}".strip(),
        "commit": options.commit,
    })

    recorded = {}
    for call in connector.calls(read):
        for url in call.urls:
            found, _ = document.find(call.method, url)
            if found is not None:
                found.source = len(sources) - 1
                recorded[found.method, found.path] = shape(found)
    for one in held:
        recorded.setdefault((one["method"], one["path"]), one)
    for one in recorded.values():
        if one.get("source") == 0:
            del one["source"]
    # What no call uses any more goes.
    whole = Description([], about.get("roots", list(dict.fromkeys(kept["roots"] + roots))), list(map(operation, recorded.values())))
    used, missing = {}, []
    for call in connector.calls(read):
        for url in call.urls:
            found, methods = whole.find(call.method, url)
            if found is not None:
                used[found.method, found.path] = recorded[found.method, found.path]
            elif call.what not in about.get("except", {}):
                has = document.find(call.method, url)[1]
                also = f"; this document has the path with {', '.join(has)}" if has else ""
                missing.append(f"{call.what}: {call.method} {url.replace(SOME, '{}')} is in none of the sources{also}")
    facts = {"sources": sources, "roots": whole.roots, "operations": [used[key] for key in sorted(used, key=lambda key: key[::-1])]}
    path.write_text(write(facts), encoding="utf-8")
    print(f"{path.name}: {len(used)} operations")
    for line in dict.fromkeys(missing):
        print(line)
    return 1 if missing else 0


def write(facts):
    """JSON with a line for each part of an operation."""
    lines = ["{", f' "sources": {json.dumps(facts["sources"], indent=1)},'.replace("\n", "\n "), f' "roots": {json.dumps(facts["roots"])},']
    lines.append(' "operations": [')
    for at, one in enumerate(facts["operations"]):
        parts = [f'   {json.dumps(key)}: {json.dumps(value)}' for key, value in one.items() if key not in ("method", "path")]
        head = f'  {{"method": {json.dumps(one["method"])}, "path": {json.dumps(one["path"])}'
        end = "}" + ("," if at + 1 < len(facts["operations"]) else "")
        lines.append(head + (",\n" + ",\n".join(parts) if parts else "") + end)
    return "\n".join([*lines, " ]", "}"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
