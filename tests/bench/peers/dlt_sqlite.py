"""dlt's REST source into SQLite.

    dlt_sqlite.py URL TOKEN DATABASE
"""

import sys

# It turns telemetry off, before anything of dlt is read.
from dlt_tickets import tickets

import dlt

url, token, path = sys.argv[1:]
pipeline = dlt.pipeline(
    "bench",
    destination=dlt.destinations.sqlalchemy(f"sqlite:///{path}"),
    dataset_name="bench",
    pipelines_dir=f"{path}.pipelines",
)
pipeline.run(tickets(url, token)).raise_on_failed_jobs()
