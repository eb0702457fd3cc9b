"""dlt's REST source into PostgreSQL.

    dlt_postgres.py URL TOKEN DATABASE FOLDER
"""

import sys

# It turns telemetry off, before anything of dlt is read.
from dlt_tickets import tickets

import dlt

url, token, database, folder = sys.argv[1:]
pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(database), dataset_name="bench", pipelines_dir=folder)
pipeline.run(tickets(url, token)).raise_on_failed_jobs()
