// An OIDC provider for tests: oauth2-mock-server for keys, signing and discovery; around it Entra's two token
// versions under one key set, and the endpoints under /test/ with which a test asks for tokens and for trouble.
import { createServer } from 'node:https';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { certificate } from './certificate.mjs';
import { Issuers } from './issuers.mjs';
import { Trouble } from './trouble.mjs';
import { handle } from './handle.mjs';

const usage = `run [--host 127.0.0.1] [--port 0] [--url URL] [--tenant ID] [--audience ID]
    [--cert FILE --key FILE --ca FILE] [--exit-with-stdin]
  --url              how clients reach it (default: https://HOST:PORT)
  --cert, --key, --ca  PEM files; without them it makes a CA in a temporary folder and removes it at its end
  --exit-with-stdin  ends when standard input does, so that it cannot outlive the test that started it`;

const { values: options } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    url: { type: 'string' },
    tenant: { type: 'string', default: '7d0d4bb1-2c4e-4f0e-9a53-3f7b5a1c9e21' },
    audience: { type: 'string', default: '6dae42f8-4368-4678-94ff-3960e28e3630' },
    cert: { type: 'string' },
    key: { type: 'string' },
    ca: { type: 'string' },
    'exit-with-stdin': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(usage);
  process.exit(0);
}

const files = options.cert ? options : certificate(options.host);
const trouble = new Trouble();
let issuers;
const server = createServer({ key: readFileSync(files.key), cert: readFileSync(files.cert) }, (request, response) =>
  handle(issuers, trouble, request, response),
);
server.on('error', (error) => {
  console.error(`provider: cannot listen on ${options.host}:${options.port}: ${error.message}`);
  process.exit(1);
});
server.listen(Number(options.port), options.host, async () => {
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const url = options.url ?? `https://${host}:${server.address().port}`;
  issuers = await Issuers.create(url, options.tenant, options.audience);
  console.log(JSON.stringify({ url, ...issuers.description(), ca: files.ca, pid: process.pid }));
});

const stop = () => process.exit(0);
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
if (options['exit-with-stdin']) process.stdin.on('end', stop).on('error', stop).resume();
