// The claims of Entra's access tokens, version 1 and 2.
import { createHash, randomBytes } from 'node:crypto';

/** Claims for `request` ({upn, oid, groups, roles, audience, tid, app, expires_in, starts_in}); times in seconds. */
export function claims(version, iss, { tenant, audience }, request) {
  const now = Math.floor(Date.now() / 1000);
  const start = now + (request.starts_in ?? 0);
  const who = request.upn ?? request.app ?? 'nobody';
  const client = request.app ?? '80faf920-1908-4b52-b5ef-a8e7bedfc67a';
  return {
    aud: request.audience ?? audience,
    iss,
    iat: start,
    nbf: start,
    exp: now + (request.expires_in ?? 3600),
    oid: request.oid ?? stableId(who),
    sub: createHash('sha256').update(`subject of ${who}`).digest('base64url'),
    tid: request.tid ?? tenant,
    uti: randomBytes(16).toString('base64url'),
    ...(request.groups && { groups: request.groups }),
    ...(request.roles && { roles: request.roles }),
    ...(version === 1 ? versionOne(request, client) : versionTwo(request, client)),
  };
}

function versionOne({ upn }, client) {
  const person = upn && { amr: ['pwd', 'mfa'], scp: 'user.read', unique_name: upn, upn };
  return { ver: '1.0', appid: client, appidacr: upn ? '0' : '1', ...(person ?? { idtyp: 'app' }) };
}

function versionTwo({ upn }, client) {
  const person = upn && { name: upn.split('@')[0], preferred_username: upn, scp: 'user.read', upn };
  return { ver: '2.0', azp: client, azpacr: upn ? '0' : '1', ...(person ?? { idtyp: 'app' }) };
}

/** The same object id for the same name, in every provider. */
function stableId(name) {
  const hex = createHash('sha256').update(`object id of ${name}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join('-');
}
