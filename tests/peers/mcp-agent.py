#!/usr/bin/env python3
"""The official Python SDK's client of integ's MCP server: `stdio PROGRAM [ARGUMENT]...`, or `http URL TOKEN`.

Prints one JSON object, as mcp-agent.mjs does.
"""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

import httpx2
from mcp import ClientSession, StdioServerParameters
from mcp.types import Implementation
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


@asynccontextmanager
async def transport(kind, words):
    if kind == "stdio":
        async with stdio_client(StdioServerParameters(command=words[0], args=words[1:], env=dict(os.environ))) as streams:
            yield streams
    else:
        headers = {"authorization": f"Bearer {words[1]}"}
        async with httpx2.AsyncClient(headers=headers) as http:
            async with streamable_http_client(words[0], http_client=http) as streams:
                yield streams


async def main(kind, words):
    async with transport(kind, words) as (read, write, *_):
        async with ClientSession(read, write, client_info=Implementation(name="python", version="1.0.0")) as session:
            server = await session.initialize()
            tools = (await session.list_tools()).tools
            resources = (await session.list_resources()).resources
            result = await session.call_tool(os.environ["TOOL"], json.loads(os.environ["ARGUMENTS"]))
            status = await session.read_resource("integ://status")
            document = {
                "server": server.server_info.name,
                "tools": [tool.name for tool in tools],
                "resources": [str(resource.uri) for resource in resources],
                "is_error": bool(result.is_error),
                "text": result.content[0].text,
                "status": json.loads(status.contents[0].text),
            }
            print(json.dumps(document))


asyncio.run(main(sys.argv[1], sys.argv[2:]))
