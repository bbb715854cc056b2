// A CA and a server certificate for a provider that runs alone. Needs openssl.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Paths of `ca`, `cert` and `key` for `host` and the loopback names; removed when the process ends. */
export function certificate(host) {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-provider-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const file = (name) => join(folder, name);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const names = new Set(['DNS:localhost', 'IP:127.0.0.1', 'IP:::1', `${isIP(host) ? 'IP' : 'DNS'}:${host}`]);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

  openssl('req', '-x509', ...key, '-days', '2', '-subj', '/CN=Sluice test provider CA',
    '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-keyout', file('ca.key'), '-out', file('ca.crt'));
  openssl('req', ...key, '-subj', '/CN=provider', '-keyout', file('server.key'), '-out', file('server.csr'));
  writeFileSync(file('extensions'), [
    `subjectAltName=${[...names].join(',')}`,
    'extendedKeyUsage=serverAuth',
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    'authorityKeyIdentifier=keyid',
  ].join('\n'));
  openssl('x509', '-req', '-in', file('server.csr'), '-CA', file('ca.crt'), '-CAkey', file('ca.key'),
    '-CAcreateserial', '-days', '2', '-extfile', file('extensions'), '-out', file('server.crt'));
  return { ca: file('ca.crt'), cert: file('server.crt'), key: file('server.key') };
}
