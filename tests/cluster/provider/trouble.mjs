// What a test may wish upon the issuers: being down in several ways. The endpoints under /test/ are spared.

const MODES = ['up', 'error', 'close', 'hang', 'garbage'];

export class Trouble {
  mode = 'up';
  /** How often discovery and the key set were asked for, failures included. */
  counts = { discovery: 0, jwks: 0 };

  /** `error` answers 503, `close` cuts the connection, `hang` never answers, `garbage` answers with no JSON. */
  set({ mode }) {
    if (!MODES.includes(mode)) throw new Error(`mode "${mode}" is none of ${MODES.join(', ')}`);
    this.mode = mode;
    return { mode };
  }

  count(path) {
    if (path.endsWith('/.well-known/openid-configuration')) this.counts.discovery += 1;
    if (path.endsWith('/jwks')) this.counts.jwks += 1;
  }

  /** True when it took the request. */
  takes(request, response) {
    switch (this.mode) {
      case 'up': return false;
      case 'error': response.writeHead(503, { 'content-type': 'text/plain' }).end('unavailable\n'); return true;
      case 'close': request.socket.destroy(); return true;
      case 'hang': return true;
      case 'garbage': response.writeHead(200, { 'content-type': 'application/json' }).end('{"keys": [{'); return true;
    }
  }
}
