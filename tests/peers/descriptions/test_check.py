"""The check finds what it is there to find."""

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import check
import connector
import documents
from description import Description, operation, shape

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"version": "7"},
    "servers": [{"url": "https://api.acme.example/v1"}],
    "paths": {
        "/me": {"get": {}},
        "/boards/{board}/cards": {
            "parameters": [{"name": "board", "in": "path", "required": True}],
            "get": {"parameters": [
                {"name": "since", "in": "query", "required": True},
                {"name": "limit", "in": "query"},
            ]},
            "post": {"requestBody": {"content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Card"}},
            }}},
        },
        "/boards/{board}/cards/{card}": {
            "put": {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"properties": {
                "cardTitle": {}, "dueDate": {}}}}}}},
        },
    },
    "components": {"schemas": {
        "Card": {
            "allOf": [{"$ref": "#/components/schemas/Base"}, {"properties": {"text": {}, "rich": {}}}],
            "anyOf": [{"required": ["text"]}, {"required": ["rich"]}],
        },
        "Base": {"properties": {"title": {}, "list": {}, "id": {"readOnly": True}}, "required": ["title", "id"]},
    }},
}

CONNECTOR = """
id = "acme"
vendor = "acme"

[actions."cards.create"]
path = "/boards/{board}/cards"
one_of = [["text", "rich"]]

[actions."cards.create".params]
board = { about = "Board", required = true }
title = { about = "Title", required = true }
text = { about = "Text" }
rich = { about = "Text with marks", type = "object" }
list_id = { about = "List", to = "/list/id" }

[actions."cards.list"]
method = "GET"
path = "/boards/{board}/cards"

[actions."cards.list".params]
board = { about = "Board", required = true }
since = { about = "Since when", default = "1970-01-01" }
limit = { about = "How many", type = "integer" }
"""

STREAM = """
[streams.cards]
path = "/boards/{board}/cards"
query = { since = "1970-01-01" }
incremental = { at = "/changed", query = { since = "{since}" }, until = { limit = "9" } }
pages = { kind = "page", param = "limit" }
detail = { path = "/me", values = { card = "/id" } }
token = { at = "/next", path = "/boards/7/cards", query = { limit = "{token}" }, first = { path = "/me", at = "/token" } }
"""

VENDOR = """
[api]
base = "https://api.acme.example/v1"

[auth.key]
label = "Key"

[health]
path = "/me"
"""


def described():
    _, roots, operations = documents.read(json.dumps(DOCUMENT), "acme.json")
    return Description([], roots, operations)


def problems(*changes, document=None):
    """The problems of the connector after texts of it were replaced."""
    text = CONNECTOR
    for old, new in changes:
        assert old in text or old in VENDOR, old
        text = text.replace(old, new)
    vendor = VENDOR
    for old, new in changes:
        vendor = vendor.replace(old, new)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vendors").mkdir()
        Path(folder, "vendors", "acme.toml").write_text(vendor, encoding="utf-8")
        Path(folder, "acme.toml").write_text(text, encoding="utf-8")
        read = connector.load(folder)["acme"]
    found = {call.what: check.check(call, document or described()) for call in connector.calls(read)}
    return [f"{what}: {problem}" for what, its in found.items() for problem in its]


class Check(unittest.TestCase):
    def one(self, expected, *changes):
        found = problems(*changes)
        self.assertEqual(1, len(found), found)
        self.assertIn(expected, found[0])

    def test_a_right_file_has_no_problem(self):
        self.assertEqual([], problems())

    def test_a_wrong_method(self):
        self.one("the description has that path with PUT alone",
                 ('path = "/boards/{board}/cards"\none_of', 'path = "/boards/{board}/cards/7"\none_of'))
        self.one("health (key): POST https://api.acme.example/v1/me: the description has that path with GET alone",
                 ('path = "/me"', 'path = "/me"\nmethod = "POST"'))

    def test_a_wrong_path(self):
        self.one("health (key): GET https://api.acme.example/v1/self: the description has no such path",
                 ('"/me"', '"/self"'))

    def test_a_wrong_host(self):
        found = problems(("https://api.acme.example/v1", "https://api.acme.example/v2"))
        self.assertEqual(3, len(found), found)

    def test_a_parameter_of_the_path_where_the_description_has_a_word(self):
        self.one("no such path", ('path = "/me"', 'path = "/{who}"'))

    def test_a_missing_parameter(self):
        self.one("title in the body is required", ("title = { about = \"Title\", required = true }", ""))
        self.one("title in the body is required", ("\"Title\", required = true", '"Title"'))
        self.one("since in the query is required", (', default = "1970-01-01"', ""))

    def test_a_missing_alternative(self):
        self.one("rich or else text in the body is required", ('one_of = [["text", "rich"]]', ""))

    def test_what_is_fixed_or_carried_is_not_missing(self):
        self.assertEqual([], problems(('title = { about = "Title", required = true }', ""),
                                      ('one_of =', 'fixed = { title = "Card" }\none_of =')))
        self.assertEqual([], problems((', default = "1970-01-01"', ""),
                                      ("[health]", '[auth.key.send]\nquery = { since = "{key}" }\n\n[health]')))

    def test_an_unknown_parameter(self):
        self.one("list_id in the body is not known", (', to = "/list/id"', ""))
        self.one("page in the query is not known", ("limit = {", "page = {"))

    def test_a_parameter_in_the_wrong_place(self):
        self.one("list in the query is not known there, it goes into the body",
                 ('to = "/list/id"', 'in = "query", to = "/list"'))

    def test_names_as_the_api_writes_them(self):
        put = ('one_of = [["text", "rich"]]', 'method = "PUT"\nbody = "form"')
        params = [('"/boards/{board}/cards"\none_of', '"/boards/{board}/cards/{card}"\none_of'), put,
                  ("title = {", "card = { about = \"Card\", required = true }\ncard_title = {"),
                  ("text = {", "due_date = {"), ('rich = { about = "Text with marks", type = "object" }', ""),
                  ('list_id = { about = "List", to = "/list/id" }', "")]
        self.assertEqual(2, len(problems(*params)))
        self.assertEqual([], problems(*params, ('v1"\n', 'v1"\nnames = "camel"\n')))
        self.assertEqual("DueDateId", connector.write("pascal", "due_date_id"))

    def stream(self, *changes):
        """The problems of the stream after texts of it were replaced."""
        text = STREAM
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        return problems(('[actions."cards.list"]', f'{text}\n[actions."cards.list"]'))

    def test_a_stream(self):
        self.assertEqual([], self.stream())
        for expected, *change in [
            ("streams.cards: pages in the query is not known", 'param = "limit"', 'param = "pages"'),
            ("streams.cards: after in the query is not known", "incremental = { at = \"/changed\", query = { since",
             "incremental = { at = \"/changed\", query = { after"),
            ("streams.cards: until in the query is not known", "until = { limit", "until = { until"),
            ("streams.cards: size in the query is not known", '"page", ', '"page", size_param = "size", size = 5, '),
            ("streams.cards.detail: full in the query is not known", "detail = {", 'detail = { query = { full = "1" },'),
            ("streams.cards.token: token in the query is not known", "{ limit = \"{token}\"", "{ token = \"{token}\""),
            ("streams.cards.token: since in the query is required", "token = {", 'token = { without = ["since"],'),
            ("streams.cards.token: no such path", "/boards/7/cards", "/boards/7"),
            ("streams.cards.token.first: no such path", "first = { path = \"/me\"", "first = { path = \"/you\""),
        ]:
            what, said = expected.split(": ")
            # Changes come in pages too.
            found = [one for one in self.stream(change) if what.endswith(".token") or ".token: " not in one]
            self.assertEqual(1, len(found), found)
            self.assertIn(f"{what}: ", found[0])
            self.assertIn(said, found[0])
        self.assertEqual(2, len(self.stream(("query = { since = \"1970-01-01\" }", ""))))

    def test_a_stream_that_is_read_by_post(self):
        post = [("query = { since = \"1970-01-01\" }", 'method = "POST"\nbody = { title = "a", text = "b" }'),
                ("query = { since = \"{since}\" }, until = { limit = \"9\" }", 'body = { list = "{since}" }'),
                ('param = "limit"', 'param = "/rich"'), ("token =", "# ")]
        self.assertEqual([], self.stream(*post))
        [found] = self.stream(*post, ("{ list", "{ lists"))
        self.assertIn("lists in the body is not known", found)
        [found] = self.stream(*post, ('"/rich"', '"/cursor"'))
        self.assertIn("cursor in the body is not known", found)
        [found] = self.stream(*post, ('title = "a", ', ""))
        self.assertIn("title in the body is required", found)

    def test_every_choice_of_a_host_is_looked_at(self):
        host = ('base = "https://api.acme.example/v1"', 'base = "https://{host}/v1"\n[params.where.gives]\n'
                'live = { host = "api.acme.example" }\ntest = { host = "test.acme.example" }')
        found = problems(host)
        self.assertEqual(3, len(found), found)
        self.assertTrue(all("test.acme.example" in problem for problem in found))

    def test_what_is_recorded_is_what_was_described(self):
        again = described()
        again.operations = [operation(json.loads(json.dumps(shape(one)))) for one in again.operations]
        self.assertEqual([], problems(document=again))
        self.assertEqual(described().operations[1], again.operations[1])

    def test_exceptions(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "acme.toml").write_text(
                (CONNECTOR + VENDOR).replace('vendor = "acme"', "").replace("limit = {", "page = {"), encoding="utf-8")
            calls = connector.calls(connector.load(folder)["acme"])
        self.assertEqual(1, len(check.judge(calls, described(), {})[0]))
        self.assertEqual([], check.judge(calls, described(), {"cards.list page": "new"})[0])
        self.assertEqual([], check.judge(calls, described(), {"cards.list": "new"})[0])
        needless = {"cards.list page": "new", "cards.list since": "", "health (key)": ""}
        found, _ = check.judge(calls, described(), needless)
        self.assertEqual(["cards.list since: sources.toml excepts it for nothing",
                          "health (key): sources.toml excepts it for nothing"], found)


class Table(unittest.TestCase):
    def run_check(self, recorded):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "vendors").mkdir()
            Path(folder, "vendors", "acme.toml").write_text(VENDOR, encoding="utf-8")
            Path(folder, "acme.toml").write_text(CONNECTOR, encoding="utf-8")
            if recorded is not None:
                Path(folder, "acme.json").write_text(json.dumps(recorded), encoding="utf-8")
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                status = check.main(["--connectors", folder, "--recorded", folder])
            return status, said.getvalue()

    def recorded(self):
        operations = [shape(one) for one in described().operations]
        sources = [{"name": "acme.json", "version": "7"}]
        return {"sources": sources, "roots": described().roots, "operations": operations}

    def test_all_is_well(self):
        status, said = self.run_check(self.recorded())
        self.assertIn("1 health, 2 actions, 0 streams  acme.json 7", said)
        self.assertEqual(0, status)

    def test_an_action_that_was_not_recorded_fails(self):
        recorded = self.recorded()
        recorded["operations"] = [one for one in recorded["operations"] if one["method"] != "POST"]
        status, said = self.run_check(recorded)
        self.assertIn("to be recorded anew: record.py acme", said)
        self.assertEqual(1, status)

    def test_a_connector_without_a_description_fails(self):
        status, said = self.run_check(None)
        self.assertIn("acme: no description", said)
        self.assertEqual(1, status)


class Documents(unittest.TestCase):
    def test_google(self):
        document = {
            "discoveryVersion": "v1", "version": "v1", "revision": "1",
            "rootUrl": "https://acme.example/", "servicePath": "",
            "parameters": {"fields": {"location": "query"}},
            "schemas": {"Note": {"properties": {"raw": {}, "kind": {"annotations": {"required": ["notes.send"]}}}}},
            "resources": {"notes": {"methods": {"send": {
                "id": "notes.send", "httpMethod": "POST", "path": "v1/{+name}:send",
                "parameters": {"name": {"location": "path"}}, "request": {"$ref": "Note"},
                "mediaUpload": {"protocols": {"simple": {"path": "/upload/v1/{+name}:send"}}}}}}},
        }
        _, roots, operations = documents.read(json.dumps(document), "acme.json")
        description = Description([], roots, operations)
        [found], _ = description.find("POST", "https://acme.example/v1/a/b:send")
        self.assertEqual([["kind"]], found.bodies["json"].required)
        self.assertEqual({"fields": False}, found.query)
        name = f"{connector.OPEN}name{connector.CLOSE}"
        [found], _ = description.find("POST", f"https://acme.example/upload/v1/{name}:send")
        self.assertTrue(found.query["uploadType"])

    def test_swagger(self):
        document = {
            "swagger": "2.0", "info": {"version": "1"}, "host": "acme.example", "basePath": "/api",
            "paths": {"/say": {"post": {"parameters": [
                {"name": "text", "in": "formData", "required": True},
                {"name": "token", "in": "header"},
            ]}}},
        }
        _, roots, operations = documents.read(json.dumps(document), "acme.json")
        self.assertEqual(["https://acme.example/api"], roots)
        self.assertEqual([["text"]], operations[0].bodies["form"].required)
        self.assertEqual({"token": False}, operations[0].header)

    def test_metadata(self):
        schema = """<Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="microsoft.graph">
          <EntityType Name="user"><NavigationProperty Name="events" Type="Collection(graph.event)"/></EntityType>
          <EntityType Name="event"><Property Name="subject"/></EntityType>
          <Action Name="accept" IsBound="true"><Parameter Name="bindParameter" Type="graph.event"/>
            <Parameter Name="Comment"/></Action></Schema>"""
        _, roots, operations = documents.read(schema, "acme.csdl")
        description = Description([], roots, operations)
        [found], _ = description.find("POST", "https://graph.microsoft.com/v1.0/me/events/7/accept")
        self.assertEqual(["Comment", "comment"], found.bodies["json"].known)

    def test_a_bot_server(self):
        source = """
          methods_.emplace("sendnote", &Client::process_send_note_query);
          td::Status Client::process_send_note_query(PromisedQueryPtr &query) {
            auto id = query->arg("chat_id"); do_it(get_text(query.get()), query); }
          td::string Client::get_text(const Query *query) { return query->arg("text"); }
        """.replace("\n          ", "\n")
        _, _, operations = documents.read(source, "acme.cpp")
        self.assertEqual([("GET", "/sendNote"), ("POST", "/sendNote")], [(one.method, one.path) for one in operations])
        self.assertEqual(["chat_id", "text"], operations[0].bodies["json"].known)


if __name__ == "__main__":
    unittest.main()
