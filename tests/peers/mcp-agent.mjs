#!/usr/bin/env node
// The official SDK's client of integ's MCP server: `mcp-agent.mjs stdio PROGRAM [ARGUMENT]...`, or `mcp-agent.mjs http URL TOKEN`.
// Prints one JSON object: the server, its tools and resources, and what the tool TOOL of the environment returns for ARGUMENTS.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const [kind, ...words] = process.argv.slice(2);
const transport = kind === 'stdio'
  ? new StdioClientTransport({ command: words[0], args: words.slice(1), env: process.env, stderr: 'inherit' })
  : new StreamableHTTPClientTransport(new URL(words[0]), { requestInit: { headers: { authorization: `Bearer ${words[1]}` } } });
const client = new Client({ name: 'typescript', version: '1.0.0' });
await client.connect(transport);
const tools = (await client.listTools()).tools;
const resources = (await client.listResources()).resources;
const result = await client.callTool({ name: process.env.TOOL, arguments: JSON.parse(process.env.ARGUMENTS) });
const status = await client.readResource({ uri: 'integ://status' });
console.log(JSON.stringify({
  server: client.getServerVersion().name,
  tools: tools.map((tool) => tool.name),
  resources: resources.map((resource) => resource.uri),
  is_error: result.isError ?? false,
  text: result.content[0].text,
  status: JSON.parse(status.contents[0].text),
}));
await client.close();
