// JSON Web Signatures, honest and forged. oauth2-mock-server signs only what is well-formed.
import { createHmac, createPrivateKey, createPublicKey, sign as signBytes } from 'node:crypto';

const DIGESTS = { RS256: 'sha256', RS384: 'sha384', RS512: 'sha512', ES256: 'sha256' };

/**
 * A compact token. `alg` "none" has no signature; "HS256" uses the public key's PEM as the secret; "garbage" has an
 * RS256 header and random bytes. `header` is merged over the usual one; a null field is left out.
 */
export function sign(key, alg, header, payload) {
  const usual = { alg: alg === 'garbage' ? key.alg : alg, kid: key.kid, typ: 'JWT', ...header };
  const wanted = Object.fromEntries(Object.entries(usual).filter(([, value]) => value !== null));
  const body = [wanted, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${body}.${signature(key, alg, body).toString('base64url')}`;
}

function signature(key, alg, body) {
  if (alg === 'none') return Buffer.alloc(0);
  if (alg === 'garbage') return Buffer.alloc(256, 7);
  const secret = createPrivateKey({ key, format: 'jwk' });
  if (alg === 'HS256') {
    const pem = createPublicKey(secret).export({ type: 'spki', format: 'pem' });
    return createHmac('sha256', pem).update(body).digest();
  }
  const digest = DIGESTS[alg];
  if (!digest) throw new Error(`alg "${alg}" is none of ${Object.keys(DIGESTS).join(', ')}, HS256, none, garbage`);
  return signBytes(digest, Buffer.from(body), { key: secret, dsaEncoding: 'ieee-p1363' });
}
