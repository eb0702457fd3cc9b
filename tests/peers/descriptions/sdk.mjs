// What the vendors' own TypeScript SDKs say of their operations, by the TypeScript compiler.
//
//     node sdk.mjs github|notion|slack|stripe|typeform
//
// Prints {"version", "roots", "operations"} as one JSON line, operations as recorded/*.json writes them.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import ts from 'typescript';

const require = createRequire(import.meta.url);

function folder(name) {
  for (let at = import.meta.dirname; ; at = dirname(at)) {
    const found = join(at, 'node_modules', name);
    if (existsSync(join(found, 'package.json'))) return found;
    if (at === dirname(at)) throw new Error(`${name} is not installed`);
  }
}

function version(name) {
  return JSON.parse(readFileSync(join(folder(name), 'package.json'))).version;
}

let checker;

function program(files) {
  const made = ts.createProgram(files, {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    lib: ['lib.es2022.d.ts'],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.Node16,
    moduleResolution: ts.ModuleResolutionKind.Node16,
  });
  checker = made.getTypeChecker();
  return (file) => {
    const symbol = checker.getSymbolAtLocation(made.getSourceFile(file));
    return new Map(checker.getExportsOfModule(symbol).map((one) => [one.name, one]));
  };
}

const absent = (type) => (type.flags & (ts.TypeFlags.Never | ts.TypeFlags.Undefined | ts.TypeFlags.Null)) !== 0;
const parts = (type) => (type.isUnion() ? type.types : [type]).filter((one) => !absent(one));
const typeOf = (symbol) => checker.getTypeOfSymbol(symbol);
const member = (type, name) => parts(type).map((one) => one.getProperty(name)).find(Boolean);

/** Name to whether it is required, for each way of writing an object. */
function ways(type) {
  return parts(type)
    .filter((one) => one.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection))
    .filter((one) => !checker.isArrayType(one))
    .map((one) => {
      const known = one.getProperties().filter((property) => parts(typeOf(property)).length > 0);
      return new Map(known.map((property) => [property.name, !(property.flags & ts.SymbolFlags.Optional)]));
    });
}

function body(type) {
  const found = ways(type);
  const known = [...new Set(found.flatMap((way) => [...way.keys()]))].sort();
  const required = found.map((way) => [...way].filter(([, needed]) => needed).map(([name]) => name).sort());
  return { known: known.length ? known : null, required: required.length ? distinct(required) : [[]] };
}

const distinct = (lists) => [...new Map(lists.map((list) => [list.join(), list])).values()];

/** Names of a query: required where every way wants them. */
function query(type) {
  const found = ways(type);
  const names = new Set(found.flatMap((way) => [...way.keys()]));
  return Object.fromEntries([...names].sort().map((name) => [name, found.every((way) => way.get(name) === true)]));
}

function mediaKind(media) {
  if (media.includes('json')) return 'json';
  if (media.includes('x-www-form-urlencoded')) return 'form';
  return media.includes('multipart') ? 'multipart' : 'other';
}

/** openapi-typescript's shape of an OpenAPI document. */
function github() {
  const name = '@octokit/openapi-types';
  const file = join(folder(name), 'types.d.ts');
  const paths = declaredBy(program([file])(file).get('paths'));
  const operations = [];
  for (const path of paths.getProperties()) {
    for (const method of ['get', 'post', 'put', 'patch', 'delete']) {
      const symbol = member(typeOf(path), method);
      if (!symbol || parts(typeOf(symbol)).length === 0) continue;
      const operation = { method: method.toUpperCase(), path: path.name };
      const all = member(typeOf(symbol), 'parameters');
      for (const place of ['query', 'header']) {
        const params = all && member(typeOf(all), place);
        if (params) operation[place] = query(typeOf(params));
      }
      const request = member(typeOf(symbol), 'requestBody');
      const content = request && member(typeOf(request), 'content');
      if (content) {
        const optional = request.flags & ts.SymbolFlags.Optional;
        operation.bodies = {};
        for (const media of typeOf(content).getProperties()) {
          const found = body(typeOf(media));
          operation.bodies[mediaKind(media.name)] ??= optional ? { ...found, required: [[]] } : found;
        }
      }
      operations.push(operation);
    }
  }
  return { version: version(name), roots: ['https://api.github.com'], operations };
}

function declaredBy(symbol) {
  return checker.getDeclaredTypeOfSymbol(symbol);
}

function notion() {
  const name = '@notionhq/client';
  const at = join(folder(name), 'build', 'src', 'api-endpoints');
  const modules = readdirSync(at).filter((file) => file.endsWith('.d.ts'));
  const exported = program(modules.map((file) => join(at, file)));
  const operations = [];
  for (const file of modules) {
    const types = exported(join(at, file));
    for (const [key, endpoint] of Object.entries(require(join(at, file.replace('.d.ts', '.js'))))) {
      if (typeof endpoint?.path !== 'function') continue;
      const names = new Proxy({}, { get: (_, param) => `{${String(param)}}` });
      const symbol = types.get(`${key[0].toUpperCase()}${key.slice(1)}Parameters`);
      const found = symbol ? ways(declaredBy(symbol)) : [];
      const needed = (param) => found.length > 0 && found.every((way) => way.get(param) === true);
      const operation = { method: endpoint.method.toUpperCase(), path: `/v1/${endpoint.path(names)}` };
      operation.query = Object.fromEntries((endpoint.queryParams ?? []).map((param) => [param, needed(param)]));
      for (const [kind, params] of [['json', endpoint.bodyParams], ['multipart', endpoint.formDataParams]]) {
        if (!params?.length) continue;
        const required = found.map((way) => params.filter((param) => way.get(param) === true).sort());
        operation.bodies ??= {};
        operation.bodies[kind] = { known: [...params].sort(), required: required.length ? distinct(required) : [[]] };
      }
      operations.push(operation);
    }
  }
  return { version: version(name), roots: ['https://api.notion.com'], operations };
}

/** Every method takes a form, JSON or a query, by POST or GET. */
function slack() {
  const name = '@slack/web-api';
  const file = join(folder(name), 'dist', 'methods.d.ts');
  const methods = declaredBy(program([file])(file).get('Methods'));
  const operations = [];
  const walk = (type, path) => {
    for (const property of type.getProperties()) {
      const inner = typeOf(property);
      const signature = inner.getCallSignatures()[0];
      const at = [...path, property.name];
      if (!signature) {
        if (inner.flags & ts.TypeFlags.Object && at.length < 6) walk(inner, at);
      } else if (at.length > 1) {
        const options = signature.getParameters()[0];
        const bodies = options ? { json: body(typeOf(options)) } : {};
        for (const method of ['GET', 'POST']) {
          operations.push({ method, path: `/${at.join('.')}`, bodies, anywhere: true });
        }
      }
    }
  };
  walk(methods, []);
  return { version: version(name), roots: ['https://slack.com/api'], operations };
}

/** The URLs are in the code, the parameters in the types beside it. */
function stripe() {
  const name = 'stripe';
  const at = join(folder(name), 'cjs', 'resources');
  const files = readdirSync(at, { recursive: true }).filter((file) => file.endsWith('.d.ts'));
  const exported = program(files.map((file) => join(at, file)));
  const operations = [];
  for (const file of files) {
    const source = readFileSync(join(at, file.replace('.d.ts', '.js')), 'utf8');
    const types = exported(join(at, file));
    for (const [, klass, code] of source.matchAll(/^class (\w+) extends [^{]*\{\n(.*?)^\}/gms)) {
      const declared = types.get(klass) && declaredBy(types.get(klass));
      const call = /^    (\w+)\([^)]*\) \{\n(?:(?!^    \}).)*?_makeRequest\('(\w+)', [`']([^`']*)[`']/gms;
      for (const [, key, method, url] of code.matchAll(call)) {
        const signature = declared && member(declared, key) && typeOf(member(declared, key)).getCallSignatures()[0];
        const params = signature?.getParameters().find((param) => param.name === 'params');
        const found = params ? body(typeOf(params)) : { known: null, required: [[]] };
        const operation = { method, path: url.replace(/\$\{[^}]*?(\w+)\)?\}/g, '{$1}') };
        if (method === 'GET') operation.query = params ? query(typeOf(params)) : {};
        else operation.bodies = { form: found };
        if (method === 'DELETE') operation.anywhere = true;
        operations.push(operation);
      }
    }
  }
  return { version: version(name), roots: ['https://api.stripe.com'], operations };
}

/** Plain code: a request's method, URL and the names of its parameters. It requires nothing. */
function typeform() {
  const name = '@typeform/api-client';
  const source = readFileSync(join(folder(name), 'dist', 'index.esm.js'), 'utf8');
  const tree = ts.createSourceFile('index.js', source, ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
  const operations = [];
  const text = (node) => {
    if (ts.isStringLiteralLike(node)) return node.text;
    const concat = ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression);
    if (concat && node.expression.name.text === 'concat') {
      return text(node.expression.expression) + node.arguments.map(text).join('');
    }
    return ts.isIdentifier(node) ? `{${node.text}}` : '{}';
  };
  const names = (node) => (ts.isObjectLiteralExpression(node) ? node.properties.map((one) => one.name?.text) : null);
  const visit = (node) => {
    if (ts.isObjectLiteralExpression(node)) {
      const assigned = node.properties.filter(ts.isPropertyAssignment);
      const has = new Map(assigned.map((one) => [one.name.text, one.initializer]));
      if (has.has('method') && has.has('url')) {
        const url = text(has.get('url'));
        const methods = ts.isStringLiteral(has.get('method')) ? [has.get('method').text] : ['put', 'patch'];
        for (const method of url.startsWith('/') ? methods : []) {
          const operation = { method: method.toUpperCase(), path: url };
          const params = has.has('params') ? names(has.get('params')) : [];
          if (params) operation.query = Object.fromEntries(params.map((param) => [param, false]));
          else operation.open_query = true;
          const data = has.has('data') && names(has.get('data'));
          if (has.has('data')) operation.bodies = { json: { known: data || null, required: [[]] } };
          const twin = operations.find((one) => one.method === operation.method && one.path === url);
          if (twin) merge(twin, operation);
          else operations.push(operation);
        }
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  const roots = ['https://api.typeform.com', 'https://api.eu.typeform.com', 'https://api.typeform.eu'];
  return { version: version(name), roots, operations };
}

function merge(operation, other) {
  Object.assign((operation.query ??= {}), other.query);
  const [mine, further] = [operation.bodies?.json, other.bodies?.json];
  if (mine?.known && further?.known) mine.known = [...new Set([...mine.known, ...further.known])].sort();
  else if (further) operation.bodies = { json: { known: null, required: [[]] } };
}

const vendors = { github, notion, slack, stripe, typeform };
const found = vendors[process.argv[2]]?.();
if (!found) {
  console.error(`usage: node sdk.mjs ${Object.keys(vendors).join('|')}`);
  process.exit(2);
}
process.stdout.write(`${JSON.stringify(found)}\n`);
