"""Readers of the documents that vendors publish. Each gives the roots and the operations of one document."""

import itertools
import json
import re
import xml.etree.ElementTree as xml

from description import Body, Operation

METHODS = ("get", "put", "post", "delete", "patch")
# What OpenAPI says to leave out of the parameters: they are the requests' own.
IMPLIED = ("accept", "content-type", "authorization")
MOST = 64


def read(text, name):
    """Tells by its content what a document is: the version it names, its roots and its operations."""
    if name.endswith((".xml", ".csdl")):
        return csdl(xml.fromstring(text))
    if name.endswith(".cpp"):
        return telegram(text)
    if name.endswith(".go"):
        return go_client(text)
    if name.endswith(".xsd"):
        return quickbooks(text)
    if name.endswith((".yaml", ".yml")):
        import yaml  # PyYAML: only record.py ever reads such a document

        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    else:
        parts = [json.loads(part) for part in text.split("\x00")]
        document = parts[0] if len(parts) == 1 else {"info": {}, "item": parts}
    if "discoveryVersion" in document:
        return discovery(document)
    if "openapi" in document or "swagger" in document:
        return OpenApi(document).read()
    if "item" in document and "info" in document:
        return postman(document)
    raise ValueError(f"{name}: neither OpenAPI, Google discovery, OData metadata nor a Postman collection")


class OpenApi:
    """OpenAPI 2 and 3."""

    def __init__(self, document):
        self.document = document

    def read(self):
        document = self.document
        if "swagger" in document:
            scheme = (document.get("schemes") or ["https"])[-1]
            roots = [f"{scheme}://{document.get('host', '')}{document.get('basePath', '').rstrip('/')}"]
        else:
            roots = [server["url"].rstrip("/") for server in document.get("servers", [])]
        roots = [re.sub(r"\{[^{}]*\}", "{}", root) for root in roots]
        operations = []
        for path, item in document["paths"].items():
            item = self.resolve(item)
            for method in METHODS:
                if method in item:
                    operations.append(self.operation(method, path, item))
        return str(document["info"].get("version", "")), list(dict.fromkeys(roots)), operations

    def resolve(self, found):
        for _ in range(20):
            if not isinstance(found, dict) or "$ref" not in found:
                break
            at = self.document
            for name in found["$ref"].lstrip("#/").split("/"):
                at = at[name.replace("~1", "/").replace("~0", "~").replace("%7B", "{").replace("%7D", "}")]
            found = at
        return found

    def operation(self, method, path, item):
        about = item[method]
        found = Operation(method.upper(), path)
        form = {}
        kind = "form"
        # An operation's own parameters come last and win.
        for param in [self.resolve(one) for one in item.get("parameters", []) + about.get("parameters", [])]:
            name, place, required = param["name"], param["in"], bool(param.get("required"))
            if place == "query":
                found.query[name] = required
            elif place == "header" and name.lower() not in IMPLIED:
                found.header[name.lower()] = required
            elif place == "formData":
                form[name] = required
                kind = "multipart" if param.get("type") == "file" else kind
            elif place == "body":
                found.bodies["json"] = self.body(param.get("schema", {}), required)
        if form:
            found.bodies[kind] = Body(list(form), [[name for name, required in form.items() if required]])
        if "requestBody" in about:
            body = self.resolve(about["requestBody"])
            for media, content in body.get("content", {}).items():
                found.bodies.setdefault(media_kind(media), self.body(content.get("schema", {}), True))
        return found

    def body(self, schema, required):
        known, alternatives = self.properties(schema, 0)
        return Body(sorted(known) or None, trim(alternatives) if required else [[]])

    def properties(self, schema, depth):
        """The names of an object's top, and the sets of required ones of which one must hold."""
        schema = self.resolve(schema)
        if depth > 8 or not isinstance(schema, dict):
            return set(), [frozenset()]
        own = schema.get("properties", {})
        known = set(own)
        read_only = {name for name, one in own.items() if self.resolve(one).get("readOnly")}
        alternatives = [frozenset(schema.get("required", [])) - read_only]
        for part in schema.get("allOf", []):
            names, further = self.properties(part, depth + 1)
            known |= names
            alternatives = product(alternatives, further)
        for word in ("anyOf", "oneOf"):
            branches = [self.properties(part, depth + 1) for part in schema.get(word, [])]
            if branches:
                known |= set().union(*(names for names, _ in branches))
                alternatives = product(alternatives, [one for _, further in branches for one in further])
        return known, alternatives


def product(some, others):
    return list(dict.fromkeys(one | other for one, other in itertools.product(some, others)))[:MOST]


def trim(alternatives):
    """The least of the alternatives, as lists."""
    least = [one for one in alternatives if not any(other < one for other in alternatives)]
    return sorted(sorted(one) for one in set(least))


def media_kind(media):
    if "json" in media:
        return "json"
    if "x-www-form-urlencoded" in media:
        return "form"
    return "multipart" if "multipart" in media else "other"


def discovery(document):
    """Google's discovery documents. The root is the host: paths for uploads do not follow the service's own."""
    root = document["rootUrl"].rstrip("/")
    service = "/" + document["servicePath"].strip("/")
    everywhere = {name: bool(param.get("required")) for name, param in document.get("parameters", {}).items()}
    operations = []

    def body(method):
        name = method.get("request", {}).get("$ref")
        if name is None:
            return {}
        own = document["schemas"][name].get("properties", {})
        required = [key for key, one in own.items() if method["id"] in one.get("annotations", {}).get("required", [])]
        return {"json": Body(sorted(own) or None, [required])}

    def walk(node):
        for method in node.get("methods", {}).values():
            params = method.get("parameters", {})
            query = {key: bool(one.get("required")) for key, one in params.items() if one["location"] == "query"}
            path = f"{service.rstrip('/')}/{method.get('flatPath') or method['path']}"
            operations.append(Operation(method["httpMethod"], path, {**everywhere, **query}, {}, body(method)))
            for way, upload in method.get("mediaUpload", {}).get("protocols", {}).items():
                if way == "simple":
                    query = {**everywhere, **query, "uploadType": True}
                    operations.append(Operation(method["httpMethod"], upload["path"], query, {}, body(method)))
        for child in node.get("resources", {}).values():
            walk(child)

    walk(document)
    return f"{document['version']} revision {document['revision']}", [root], operations


def postman(document):
    """A Postman collection. Its bodies are examples: they require nothing, and do not list what may be sent."""
    operations = []

    def walk(items):
        for item in items:
            walk(item.get("item", []))
            # A collection taken apart holds the request itself.
            request = item if "method" in item else item.get("request")
            if not isinstance(request, dict) or not request.get("url"):
                continue
            url = request["url"] if isinstance(request["url"], str) else request["url"]["raw"]
            path, _, query = url.partition("?")
            path = re.sub(r"^(https://[^/]+|(\{\{[^{}]*\}\})+)", "", path).rstrip("/")
            path = re.sub(r"v?\{\{([^{}]*)\}\}", r"{\1}", path)
            path = re.sub(r"(?<=/)(?::(\w+)|<(\w+)>)", lambda match: "{" + (match[1] or match[2]) + "}", path)
            names = {pair.split("=")[0] for pair in query.split("&") if pair}
            names |= {param["key"] for param in request.get("queryParams") or [] if param.get("key")}
            found = Operation(request["method"], path, dict.fromkeys(sorted(names), False))
            if request["method"] in ("POST", "PUT", "PATCH"):
                found.bodies["json"] = Body()
            operations.append(found)

    walk(document["item"])
    return document.get("info", {}).get("version", ""), ["{}"], operations


class Csdl:
    """OData metadata (CSDL), as far as Microsoft Graph's `me` and `users` go."""

    SPACE = "{http://docs.oasis-open.org/odata/ns/edm}"
    QUERY = ("$select", "$filter", "$orderby", "$top", "$skip", "$expand", "$search", "$count", "$skiptoken",
             "$deltatoken")
    FOLLOWED = ("calendar", "calendars", "calendarView", "events", "instances", "attachments")

    def __init__(self, root):
        self.types, self.actions, self.functions = {}, {}, {}
        for schema in root.iter(f"{self.SPACE}Schema"):
            space = schema.get("Namespace")
            for kind in ("EntityType", "ComplexType"):
                for one in schema.findall(f"{self.SPACE}{kind}"):
                    self.types[f"{space}.{one.get('Name')}"] = one
            for kind, bound in (("Action", self.actions), ("Function", self.functions)):
                for one in schema.findall(f"{self.SPACE}{kind}"):
                    params = one.findall(f"{self.SPACE}Parameter")
                    if one.get("IsBound") == "true" and params:
                        bound.setdefault(self.whole(params[0].get("Type")), []).append(one)

    @staticmethod
    def whole(name):
        return name.replace("graph.", "microsoft.graph.", 1) if name.startswith(("graph.", "Collection(graph.")) else \
            name.replace("(graph.", "(microsoft.graph.")

    def lineage(self, name):
        while name in self.types:
            yield self.types[name]
            name = self.whole(self.types[name].get("BaseType", ""))

    def lineage_names(self, name):
        while name in self.types:
            yield name
            name = self.whole(self.types[name].get("BaseType", ""))

    def properties(self, name):
        own = [one for kind in ("Property", "NavigationProperty") for type_ in self.lineage(name)
               for one in type_.findall(f"{self.SPACE}{kind}")]
        return sorted({one.get("Name") for one in own} - {"id"})

    def entity(self, path, name, depth, found, single):
        query = dict.fromkeys(self.QUERY, False)
        known = self.properties(name)
        found.append(Operation("GET", path, query))
        found.append(Operation("PATCH", path, {}, {}, {"json": Body(known)}))
        if not single:
            found.append(Operation("DELETE", path))
        self.bound(path, self.lineage_names(name), found)
        for type_ in self.lineage(name) if depth else []:
            for one in type_.findall(f"{self.SPACE}NavigationProperty"):
                if one.get("Name") in self.FOLLOWED:
                    self.navigation(f"{path}/{one.get('Name')}", self.whole(one.get("Type")), depth - 1, found)

    def navigation(self, path, target, depth, found):
        if not target.startswith("Collection("):
            self.entity(path, target, depth, found, True)
            return
        inner = target[len("Collection("):-1]
        found.append(Operation("GET", path, dict.fromkeys(self.QUERY, False)))
        found.append(Operation("POST", path, {}, {}, {"json": Body(self.properties(inner))}))
        self.bound(path, [f"Collection({name})" for name in self.lineage_names(inner)], found)
        self.entity(path + "/{id}", inner, depth, found, False)

    def bound(self, path, names, found):
        for name in names:
            for one in self.actions.get(name, []):
                params = one.findall(f"{self.SPACE}Parameter")[1:]
                # The metadata writes them with a capital, Graph's documentation without: both are taken.
                small = {param.get("Name"): param.get("Name")[0].lower() + param.get("Name")[1:] for param in params}
                required = [small[param.get("Name")] for param in params if param.get("Nullable") == "false"]
                body = {"json": Body(sorted({*small, *small.values()}), [required])} if params else {}
                for spelt in (one.get("Name"), f"microsoft.graph.{one.get('Name')}"):
                    found.append(Operation("POST", f"{path}/{spelt}", {}, {}, body))
            for one in self.functions.get(name, []):
                params = one.findall(f"{self.SPACE}Parameter")[1:]
                known = {param.get("Name"): False for param in params}
                for spelt in (one.get("Name"), f"{one.get('Name')}()"):
                    found.append(Operation("GET", f"{path}/{spelt}", {**dict.fromkeys(Csdl.QUERY, False), **known}))


# calendarView takes its span in the query, which the metadata cannot say.
SPAN = {"startDateTime": True, "endDateTime": True}


def csdl(root):
    metadata = Csdl(root)
    operations = []
    metadata.entity("/me", "microsoft.graph.user", 3, operations, True)
    metadata.navigation("/users", "Collection(microsoft.graph.user)", 3, operations)
    metadata.navigation("/subscriptions", "Collection(microsoft.graph.subscription)", 0, operations)
    for operation in operations:
        if operation.method == "GET" and operation.path.endswith(("/calendarView", "/calendarView/delta")):
            operation.query.update(SPAN)
    return "v1.0", ["https://graph.microsoft.com/v1.0"], operations


def telegram(text):
    """The source of Telegram's own Bot API server: its table of methods, and what each handler asks the query for."""
    # The header's declarations say which parameter a helper reads where it is told none.
    usual = dict(re.findall(r'(\w+)\(const Query \*query,\s*td::Slice \w+ = td::Slice\("(\w+)"\)', text))
    handlers = dict(re.findall(r'methods_\.emplace\("(\w+)",\s*&Client::(\w+)\)', text))
    parts = re.split(r"^[\w:<>*& ,]*\bClient::(\w+)\(", text, flags=re.M)
    sources = {}
    for name, source in zip(parts[1::2], parts[2::2]):
        sources[name] = sources.get(name, "") + source
    spelt = {word.lower(): word for word in re.findall(r"\b[a-z]+(?:[A-Z][a-z]+)+\b", text)}
    operations = []
    for method, handler in handlers.items():
        names, seen, todo = set(), set(), [handler]
        while todo:
            one = todo.pop()
            if one in seen or one not in sources:
                continue
            seen.add(one)
            source = sources[one]
            names.update(re.findall(r'(?:arg|file|_id)\("(\w+)"', source))
            names.update(re.findall(r'\(query(?:\.get\(\))?, "(\w+)"', source))
            helpers = re.findall(r"\b(\w+)\(query(?:\.get\(\))?\)", source)
            names.update(usual[helper] for helper in helpers if helper in usual)
            # Only functions that are handed the query read further parameters.
            todo += re.findall(r"\b(\w+)(?:<[^<>]*>)?\((?=[^;]*query)", source)
        # The table is of lower-case names, and the handlers' names part the words; a few share a handler.
        words = handler.removeprefix("process_").removesuffix("_query").split("_")
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        path = "/" + (camel if camel.lower() == method else spelt.get(method, method))
        body = {"json": Body(sorted(names) or None)}
        operations += [Operation(verb, path, {}, {}, body, anywhere=True) for verb in ("GET", "POST")]
    return "", ["https://api.telegram.org/bot{}"], operations


def go_client(text):
    """GitLab's client for Go: the methods with their URL, and the tags of their options. It requires nothing."""
    options = {}
    for name, source in re.findall(r"^type (\w+Options) struct \{\n(.*?)^\}", text, re.S | re.M):
        tags = re.findall(r'`[^`]*?(?:url|json):"([\w\[\]]+)', source)
        options[name] = (tags, re.findall(r"^\t(\w+)$", source, re.M))

    def names(kind):
        own, embedded = options.get(kind, ([], []))
        return {name.removesuffix("[]") for name in own} | {name for one in embedded for name in names(one)}

    operations = []
    functions = re.split(r"^func \(s \*\w+\) ", text, flags=re.M)[1:]
    for source in functions:
        url = re.search(r'u := fmt\.Sprintf\(\s*"([^"]+)"', source) or re.search(r'u := "([^"]+)"', source)
        request = re.search(r"NewRequest\(\s*http\.Method(\w+),\s*(u|\"[^\"]*\")", source)
        if request is None or (url is None and request.group(2) == "u"):
            continue
        path = request.group(2).strip('"') if request.group(2) != "u" else url.group(1)
        path = "/" + re.sub(r"%[sdv]", "{id}", path)
        kind = re.search(r"opts? \*(\w+Options)", source.split("\n", 1)[0])
        known = sorted(names(kind.group(1))) if kind else []
        method = request.group(1).upper()
        found = Operation(method, path)
        if method in ("GET", "DELETE"):
            found.query = dict.fromkeys([*known, "page", "per_page", "pagination", "order_by", "sort"], False)
        elif known:
            found.bodies["json"] = Body(known)
        operations.append(found)
    return "v4", ["{}/api/v4"], operations


def quickbooks(text):
    """Intuit's schema of QuickBooks' entities, with the paths that its own SDK makes of their names."""
    space = "{http://www.w3.org/2001/XMLSchema}"
    # It writes money, dates and references by types of its own: only the names at an entity's top matter here.
    types, entities = {}, {}
    for root in [xml.fromstring(part) for part in text.split("\x00")]:
        types.update({one.get("name"): one for one in root.iter(f"{space}complexType") if one.get("name")})
        for one in root.findall(f"{space}element"):
            if one.get("substitutionGroup") == "IntuitObject":
                entities[one.get("name")] = (one.get("type") or one.get("name")).split(":")[-1]

    def names(name, depth=0):
        if name not in types or depth > 6:
            return set()
        base = types[name].find(f".//{space}extension")
        own = {one.get("name") or (one.get("ref") or "").split(":")[-1] for one in types[name].iter(f"{space}element")}
        own |= {one.get("name") for one in types[name].iter(f"{space}attribute")}
        return own - {None, ""} | (names(base.get("base").split(":")[-1], depth + 1) if base is not None else set())

    everywhere = dict.fromkeys(["minorversion", "requestid"], False)
    company = "/v3/company/{realm}"
    operations = [
        Operation("GET", f"{company}/query", {**everywhere, "query": True}),
        Operation("POST", f"{company}/query", dict(everywhere), {}, {"other": Body()}),
        Operation("GET", f"{company}/cdc", {**everywhere, "entities": True, "changedSince": True}),
        Operation("POST", f"{company}/batch", dict(everywhere), {}, {"json": Body()}),
    ]
    for name, kind in entities.items():
        path = f"{company}/{name.lower()}"
        known = sorted(names(kind))
        operations.append(Operation("POST", path, {**everywhere, "operation": False, "include": False}, {},
                                    {"json": Body(known or None)}))
        operations.append(Operation("GET", path + "/{id}", dict(everywhere)))
        if "EmailStatus" in known:
            operations.append(Operation("POST", path + "/{id}/send", {**everywhere, "sendTo": False}, {},
                                        {"other": Body()}))
            operations.append(Operation("GET", path + "/{id}/pdf", dict(everywhere)))
    return "v3", ["https://quickbooks.api.intuit.com", "https://sandbox-quickbooks.api.intuit.com"], operations

