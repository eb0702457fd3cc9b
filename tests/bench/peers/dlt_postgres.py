"""dlt's REST source into PostgreSQL.

    dlt_postgres.py URL TOKEN DATABASE FOLDER
"""

import os
import sys
from urllib.parse import urljoin

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt
from dlt.sources.rest_api import rest_api_source

url, token, database, folder = sys.argv[1:]
source = rest_api_source(
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
pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(database), dataset_name="bench", pipelines_dir=folder)
pipeline.run(source).raise_on_failed_jobs()
