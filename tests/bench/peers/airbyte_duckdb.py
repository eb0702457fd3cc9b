"""PyAirbyte's declarative source into its DuckDB cache.

    airbyte_duckdb.py URL TOKEN DATABASE
"""

import os
import sys
from urllib.parse import urlsplit

os.environ["DO_NOT_TRACK"] = os.environ["AIRBYTE_OFFLINE_MODE"] = "1"

import airbyte
from airbyte.caches import DuckDBCache

url, token, path = sys.argv[1:]
os.chdir(os.path.dirname(path))
place = urlsplit(url)
manifest = {
    "version": "6.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["tickets"]},
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "tickets",
            "primary_key": ["id"],
            "schema_loader": {
                "type": "InlineSchemaLoader",
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "integer"},
                        "number": {"type": "string"},
                        "title": {"type": "string"},
                        "state": {"type": "string"},
                        "amount": {"type": "number"},
                        "urgent": {"type": "boolean"},
                        "requester": {"type": "object"},
                        "labels": {"type": "array"},
                        "assignee": {"type": ["null", "string"]},
                        "updated_at": {"type": "string", "format": "date-time"},
                        "body": {"type": "string"},
                    },
                },
            },
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester",
                    "url_base": f"{place.scheme}://{place.netloc}",
                    "path": place.path,
                    "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"},
                },
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["items"]},
                },
                "paginator": {
                    "type": "DefaultPaginator",
                    "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "cursor"},
                    "pagination_strategy": {
                        "type": "CursorPagination",
                        "cursor_value": "{{ response.next }}",
                        "stop_condition": "{{ not response.next }}",
                    },
                },
            },
        }
    ],
    "spec": {
        "type": "Spec",
        "connection_specification": {"type": "object", "properties": {"token": {"type": "string", "airbyte_secret": True}}},
    },
}
source = airbyte.get_source("source-bench", source_manifest=manifest, config={"token": token})
source.select_all_streams()
source.read(cache=DuckDBCache(db_path=path))
