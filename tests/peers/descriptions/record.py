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

    text = "\x00".join(Path(name).read_text(encoding="utf-8-sig") for name in options.document)
    version, roots, operations = documents.read(text, options.document[0])
    document = Description([], about.get("roots", roots), operations)
    path = HERE / "recorded" / f"{options.connector}.json"
    kept = {"sources": [], "roots": [], "operations": []}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
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
            for found in document.find(call.method, url)[0]:
                found.source = len(sources) - 1
                recorded[found.method, found.path] = shape(found)
    for one in held:
        recorded.setdefault((one["method"], one["path"]), one)
    for one in recorded.values():
        if one.get("source") == 0:
            del one["source"]
    # What no call uses any more goes.
    roots = about.get("roots", list(dict.fromkeys(kept["roots"] + roots)))
    whole = Description([], roots, list(map(operation, recorded.values())))
    used, missing = {}, []
    for call in connector.calls(read):
        for url in call.urls:
            found, methods = whole.find(call.method, url)
            used.update({(one.method, one.path): recorded[one.method, one.path] for one in found})
            if not found and call.what not in about.get("except", {}):
                has = document.find(call.method, url)[1]
                also = f"; this document has the path with {', '.join(has)}" if has else ""
                missing.append(f"{call.what}: {call.method} {connector.shown(url)} is in none of the sources{also}")
    in_order = [used[key] for key in sorted(used, key=lambda key: key[::-1])]
    path.write_text(write({"sources": sources, "roots": roots, "operations": in_order}), encoding="utf-8")
    print(f"{path.name}: {len(used)} operations")
    for line in dict.fromkeys(missing):
        print(line)
    return 1 if missing else 0


def write(facts):
    """JSON with a line for each part of an operation."""
    operations = []
    for one in facts["operations"]:
        head = f'  {{"method": {json.dumps(one["method"])}, "path": {json.dumps(one["path"])}'
        parts = [(key, value) for key, value in one.items() if key not in ("method", "path")]
        rest = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in parts]
        operations.append(",\n   ".join([head, *rest]) + "}")
    sources = ",\n".join("  " + json.dumps(one) for one in facts["sources"])
    parts = [
        f' "sources": [\n{sources}\n ]',
        f' "roots": {json.dumps(facts["roots"])}',
        ' "operations": [\n' + ",\n".join(operations) + "\n ]",
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
