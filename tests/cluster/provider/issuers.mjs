// Entra's two issuers of one tenant, which share their keys.
import { OAuth2Issuer, OAuth2Service } from 'oauth2-mock-server';
import { randomUUID } from 'node:crypto';
import { claims } from './claims.mjs';
import { sign } from './sign.mjs';

export class Issuers {
  #versions = new Map();
  /** Public keys by id, in the order they were added. A withdrawn key is not in it but can still sign. */
  #published = new Map();
  #keys = new Map();
  #current;

  /** Version 1 is `URL/sts/TENANT/`, version 2 is `URL/TENANT/v2.0`. */
  static async create(url, tenant, audience) {
    const issuers = new Issuers();
    issuers.tenant = tenant;
    issuers.audience = audience;
    issuers.#add(1, `${url}/sts/${tenant}/`);
    issuers.#add(2, `${url}/${tenant}/v2.0`);
    await issuers.addKey({});
    return issuers;
  }

  #add(version, url) {
    const issuer = new OAuth2Issuer();
    issuer.url = url;
    this.#versions.set(version, { issuer, service: new OAuth2Service(issuer), path: new URL(url).pathname.replace(/\/$/, '') });
  }

  description() {
    return {
      issuer_v1: this.#versions.get(1).issuer.url,
      issuer_v2: this.#versions.get(2).issuer.url,
      tenant: this.tenant,
      audience: this.audience,
      keys: [...this.#published.keys()],
      signs_with: this.#current,
    };
  }

  /** The service that answers `path`, and the rest of the path; undefined for a path of no issuer. */
  route(path) {
    for (const { service, path: prefix } of this.#versions.values()) {
      if (path.startsWith(`${prefix}/`)) return { service, rest: path.slice(prefix.length) };
    }
    return undefined;
  }

  jwks() {
    return { keys: [...this.#published.values()] };
  }

  /** Makes a key. `publish: false` keeps it out of the key set, `use: false` leaves signing with the present one. */
  async addKey({ alg = 'RS256', kid = randomUUID(), publish = true, use = true }) {
    const { keys } = this.#versions.get(1).issuer;
    const key = await keys.generate(alg, { kid });
    this.#keys.set(kid, key);
    if (publish) this.#published.set(kid, { ...keys.toJSON().find((one) => one.kid === kid), use: 'sig' });
    if (use) this.#current = kid;
    return { kid };
  }

  /** Takes a key out of the key set; tokens can still be signed with it by naming it. */
  withdrawKey({ kid = this.#current }) {
    if (!this.#published.delete(kid)) throw new Error(`kid "${kid}" is not published`);
    if (kid === this.#current) this.#current = [...this.#published.keys()].at(-1) ?? kid;
    return { kid };
  }

  /** A token in Entra's shape; the request's fields are those of the command `token`. */
  token(request) {
    const version = request.version ?? 2;
    if (!this.#versions.has(version)) throw new Error(`version ${version} is neither 1 nor 2`);
    const { issuer } = this.#versions.get(version);
    return this.raw({
      ...request,
      claims: { ...claims(version, issuer.url, this, request), ...request.claims },
    });
  }

  /** A token of exactly these claims. `alg`, `header` and `kid` make forgeries. A null claim is left out. */
  raw({ claims: wanted = {}, header = {}, alg, kid = this.#current }) {
    const key = this.#keys.get(kid);
    if (!key) throw new Error(`kid "${kid}" is unknown; it has ${[...this.#keys.keys()].join(', ')}`);
    const payload = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== null));
    return { token: sign(key, alg ?? key.alg, header, payload), claims: payload };
  }
}
