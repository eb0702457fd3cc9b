#!/usr/bin/env python3
"""Holds the bodies of events against what the vendors publish: names, types, values and required members, at every depth.

    calendar-bodies.py < BODIES            a JSON list of {"method", "path", "body"}
    calendar-bodies.py --record v1.0-Prod.csdl > descriptions/recorded/outlook-event-types.json

Google's description is its discovery document, in the wheel that tests/run brings; Microsoft's are the types of Graph's metadata that
an event is made of, as recorded. Prints each problem on a line; exit 1 when there is one.
"""

import datetime
import json
import re
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "descriptions" / "recorded" / "outlook-event-types.json"
EDM = {"Edm.String": str, "Edm.Boolean": bool, "Edm.Int32": int, "Edm.Int64": int, "Edm.Double": (int, float)}


def google():
    wheel = sorted((HERE / "descriptions" / "packages").glob("google_api_python_client-*.whl"))[-1]
    with zipfile.ZipFile(wheel) as packed:
        return json.loads(packed.read("googleapiclient/discovery_cache/documents/calendar.v3.json"))["schemas"]


def check_google(schemas, schema, value, at, operation, problems):
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kinds = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "array": list, "object": dict}
    if value is None:
        return
    kind = kinds.get(schema.get("type"))
    if kind and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        problems.append(f"{at}: {value!r} is not of the type {schema['type']}")
        return
    if schema.get("format") == "date-time" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value):
        problems.append(f"{at}: {value!r} is not RFC 3339")
    if schema.get("format") == "date":
        datetime.date.fromisoformat(value)
    if isinstance(value, list):
        for index, item in enumerate(value):
            check_google(schemas, schema["items"], item, f"{at}/{index}", operation, problems)
    if isinstance(value, dict) and "properties" in schema:
        for name, member in value.items():
            if name not in schema["properties"]:
                problems.append(f"{at}/{name}: unknown")
            else:
                check_google(schemas, schema["properties"][name], member, f"{at}/{name}", operation, problems)
        for name, member in schema["properties"].items():
            if operation in member.get("annotations", {}).get("required", []) and value.get(name) is None:
                problems.append(f"{at}/{name}: required by {operation}")


def record(path):
    """The types that an event is made of, out of Graph's metadata."""
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", Path(path).read_text(encoding="utf-8-sig"))
    root = ET.fromstring(re.sub(r"<(/?)\w+:", r"<\1", re.sub(r" \w+:(\w+)=", r" \1=", text)))
    schema = next(one for one in root.iter("Schema") if one.get("Namespace") == "microsoft.graph")
    named = {one.get("Name"): one for one in schema if one.tag in {"EntityType", "ComplexType", "EnumType"}}
    found, wanted = {}, ["event", "attendee"]
    while wanted:
        name = wanted.pop()
        if name in found or name not in named:
            continue
        one = named[name]
        if one.tag == "EnumType":
            found[name] = [member.get("Name") for member in one.iter("Member")]
            continue
        properties, base = {}, one
        while base is not None:
            properties |= {item.get("Name"): item.get("Type").replace("microsoft.graph.", "graph.") for item in base.findall("Property")}
            base = named.get((base.get("BaseType") or "").split(".")[-1])
        found[name] = properties
        wanted += [kind.removeprefix("Collection(").rstrip(")").split(".")[-1] for kind in properties.values()]
    return found


def check_graph(types, kind, value, at, problems):
    if value is None:
        return
    if kind.startswith("Collection("):
        if not isinstance(value, list):
            problems.append(f"{at}: no list")
            return
        for index, item in enumerate(value):
            check_graph(types, kind[len("Collection(") : -1], item, f"{at}/{index}", problems)
        return
    if kind in EDM:
        if not isinstance(value, EDM[kind]) or (EDM[kind] is int and isinstance(value, bool)):
            problems.append(f"{at}: {value!r} is not {kind}")
        return
    known = types.get(kind.split(".")[-1])
    if isinstance(known, list):
        if value not in known:
            problems.append(f"{at}: {value!r} is none of {', '.join(known)}")
    elif isinstance(known, dict):
        if not isinstance(value, dict):
            problems.append(f"{at}: no {kind}")
            return
        for name, member in value.items():
            if name not in known:
                problems.append(f"{at}/{name}: unknown")
            else:
                # What is declared as a base may hold what derives from it.
                derived = "graph.attendee" if name == "attendees" and "attendee" in known[name] else known[name]
                derived = f"Collection({derived})" if known[name].startswith("Collection(") and "(" not in derived else derived
                check_graph(types, derived, member, f"{at}/{name}", problems)


def main():
    if sys.argv[1:2] == ["--record"]:
        return print(json.dumps(record(sys.argv[2]), indent=1, sort_keys=True))
    schemas, types = google(), json.loads(RECORDED.read_text(encoding="utf-8"))
    problems, checked = [], 0
    for sent in json.load(sys.stdin):
        method, path, body = sent["method"], sent["path"].split("?")[0], sent["body"]
        if path.startswith("/calendar/v3/freeBusy"):
            check_google(schemas, schemas["FreeBusyRequest"], body, "freeBusy.query", "calendar.freebusy.query", problems)
        elif path.startswith("/calendar/v3/"):
            operation = {"POST": "calendar.events.insert", "PATCH": "calendar.events.patch"}[method]
            check_google(schemas, schemas["Event"], body, operation, operation, problems)
            for name in ("start", "end") if method == "POST" else ():
                if len({"date", "dateTime"} & set(body.get(name, {}))) != 1:
                    problems.append(f"{operation}/{name}: takes a date or a dateTime")
            if method == "POST" and "id" in body and not re.fullmatch(r"[0-9a-v]{5,1024}", body["id"]):
                problems.append(f"{operation}/id: {body['id']!r} is no id")
        elif path.endswith("/events") or "/events/" in path:
            check_graph(types, "graph.event", body, f"{method} event", problems)
            for name in ("subject", "start", "end") if method == "POST" else ():
                if name not in body:
                    problems.append(f"{method} event/{name}: missing")
            for name in {"start", "end"} & set(body):
                if set(body[name]) != {"dateTime", "timeZone"}:
                    problems.append(f"{method} event/{name}: takes dateTime and timeZone")
        else:
            continue
        checked += 1
    print(json.dumps({"checked": checked, "problems": problems}))
    sys.exit(1 if problems or not checked else 0)


main()
