"""The list of tickets as dlt's REST source reads it."""

import os
from urllib.parse import urljoin

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

from dlt.sources.rest_api import rest_api_source


def tickets(url, token):
    return rest_api_source(
        {
            "client": {"base_url": urljoin(url, "/"), "auth": {"type": "bearer", "token": token}, "paginator": "header_link"},
            "resources": [
                {
                    "name": "tickets",
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "endpoint": {"path": url, "data_selector": "$"},
                }
            ],
        }
    )
