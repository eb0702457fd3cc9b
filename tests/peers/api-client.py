#!/usr/bin/env python3
"""A client of integ's HTTP API that openapi-python-client generates from /openapi.json, and a full life with it.

    api-client.py URL TOKEN FOLDER

Generates the package `integ_client` in FOLDER, then connects a sandbox account by following the redirects of its consent
page, tests it, syncs, reads records, simulates a webhook, retries its event, and disconnects. Prints a JSON object of what it
saw. Any warning of the generator and any response that does not parse ends it with exit 1.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx

URL, TOKEN, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])


def generate():
    document, package, config = FOLDER / "openapi.json", FOLDER / "integ_client", FOLDER / "config.yml"
    document.write_bytes(httpx.get(f"{URL}/openapi.json", trust_env=False).raise_for_status().content)
    # What it runs afterwards only formats, and of texts it knows a few types.
    config.write_text("post_hooks: []\ncontent_type_overrides:\n  application/x-ndjson: text/plain\n")
    program = Path(sys.executable).with_name("openapi-python-client")
    command = [program, "generate", "--path", document, "--output-path", package, "--meta", "none"]
    run = subprocess.run([*command, "--config", config, "--overwrite", "--fail-on-warning"], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"the generator: {run.stdout}{run.stderr}")
    sys.path.insert(0, str(FOLDER))
    return len(list(package.glob("api/*/[a-z]*.py"))), len(list(package.glob("models/[a-z]*.py")))


def main():
    modules, models = generate()
    from integ_client import AuthenticatedClient
    from integ_client import models as of
    from integ_client.api.connections import (
        create_connections,
        delete_connection,
        get_connection,
        get_sign_in,
        list_connections,
        post_connection_test,
    )
    from integ_client.api.sync import get_job, list_connection_stream_records, list_jobs, post_connection_sync
    from integ_client.api.webhooks import get_event, list_events, post_connection_simulate, post_event_retry

    client = AuthenticatedClient(base_url=URL, token=TOKEN, timeout=httpx.Timeout(60), httpx_args={"trust_env": False})

    def ask(operation, *values, expected=200, **named):
        """Calls an operation, whose response must have the expected status and a type of the client."""
        response = operation.sync_detailed(*values, client=client, **named)
        if response.status_code != expected or isinstance(response.parsed, of.ProblemView) or response.parsed is None:
            sys.exit(f"{operation.__name__}: {response.status_code} {response.content.decode(errors='replace')}")
        return response.parsed

    # Connect: the consent page's Allow leads back to the server.
    wanted = of.CreateConnectionsRequest(connector="github", is_sandbox=True, user="u_1")
    started = ask(create_connections, body=wanted, expected=201)
    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        page = browser.get(started.authorization_url)
        allowed = browser.get(page.url.copy_set_param("sandbox_decision", "allow"))
        assert allowed.status_code == 200 and str(allowed.url).startswith(URL), (allowed.url, allowed.text)
    sign_in = ask(get_sign_in, started.sign_in)
    assert sign_in.status == "done", sign_in
    name = sign_in.connection

    shown = ask(get_connection, name)
    listed = ask(list_connections, user="u_1")
    tested = ask(post_connection_test, name)

    synced = ask(post_connection_sync, name, body=of.PostConnectionSyncRequest(streams=["repositories"]), expected=202)
    jobs = ask(list_jobs, connection=name)
    job = ask(get_job, jobs.data[0].id)
    records = ask(list_connection_stream_records, name, "repositories", limit=3)

    for _ in range(300):
        simulated = ask(post_connection_simulate, name, body=of.PostConnectionSimulateRequest(event="push"))
        if simulated.unexpected == 0:
            break
        # A server looks for the webhook URLs of new connections now and then.
        time.sleep(0.1)
    events = ask(list_events, connection=name).data
    event = ask(get_event, events[0].id)
    retried = ask(post_event_retry, event.id)

    removed = ask(delete_connection, name)
    missing = get_connection.sync(name, client=client)
    assert isinstance(missing, of.ProblemView) and missing.code == "unknown_connection", missing
    print(json.dumps({
        "modules": modules, "models": models, "connection": name, "status": str(shown.status), "listed": len(listed.data),
        "healthy": tested.healthy, "sync": str(job.status), "records": len(records.data), "sent": simulated.sent,
        "unexpected": simulated.unexpected, "event": event.type_, "retried": len(retried.to_dict()) > 0,
        "synced": len(synced.to_dict()) > 0, "disconnected": removed.connection,
    }))


if __name__ == "__main__":
    main()
