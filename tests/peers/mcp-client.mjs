#!/usr/bin/env node
// The official SDK's client over stdio: `mcp-client.mjs PROGRAM [ARGUMENT]...` starts that program, and uses mcp-server.mjs
// through it. stdout carries one JSON object a step; a step that fails is an object with "error", and exit code 1.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { ElicitRequestSchema, ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

const [command, ...args] = process.argv.slice(2);
const print = (step, value) => process.stdout.write(`${JSON.stringify({ step, ...value })}\n`);
const text = (result) => result.content[0].text;

try {
  const transport = new StdioClientTransport({ command, args, env: process.env, stderr: 'inherit' });
  const client = new Client({ name: 'peer', version: '1.0.0' }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { name: 'Ada' } }));
  const changed = new Promise((resolve) => client.setNotificationHandler(ToolListChangedNotificationSchema, resolve));
  await client.connect(transport);
  print('connect', { server: client.getServerVersion().name });
  print('list', { tools: (await client.listTools()).tools.map((tool) => tool.name) });
  print('call', { text: text(await client.callTool({ name: 'echo', arguments: { text: 'hello' } })) });
  const progress = [];
  await client.callTool({ name: 'count_to', arguments: { steps: 3 } }, undefined,
    { onprogress: (step) => progress.push(step.progress) });
  print('progress', { progress });
  print('elicitation', { text: text(await client.callTool({ name: 'ask', arguments: {} })) });
  const abort = new AbortController();
  const waiting = client.callTool({ name: 'wait', arguments: {} }, undefined,
    { signal: abort.signal, onprogress: () => abort.abort('enough') });
  print('cancellation', { error_message: await waiting.then(() => 'none', (error) => String(error.message ?? error)) });
  // A server that has no stream open for its own messages drops them: the proxy may be about to open it.
  const second = () => new Promise((resolve) => setTimeout(resolve, 1000, 'again'));
  do await client.callTool({ name: 'grow', arguments: {} });
  while ((await Promise.race([changed, second()])) === 'again');
  print('list_changed', { tools: (await client.listTools()).tools.length });
  await client.close();
  print('close', {});
} catch (error) {
  print('failed', { error: String(error?.stack ?? error) });
  process.exit(1);
}
