// Routes: /test/… for tests, the rest for the issuers.

/** What a test can ask for, by `POST /test/NAME` with a JSON object; GET is for those without one. */
const CONTROLS = {
  'token': (issuers, _, body) => issuers.token(body),
  'token/raw': (issuers, _, body) => issuers.raw(body),
  'keys/add': (issuers, _, body) => issuers.addKey(body),
  'keys/withdraw': (issuers, _, body) => issuers.withdrawKey(body),
  'mode': (_, trouble, body) => trouble.set(body),
  'state': (issuers, trouble) => ({ ...issuers.description(), mode: trouble.mode, counts: trouble.counts }),
};

export async function handle(issuers, trouble, request, response) {
  const { pathname } = new URL(request.url, 'https://provider');
  // The socket listens a moment before the first key is made.
  if (!issuers) return json(response, 503, { error: 'starting' });
  if (pathname.startsWith('/test/')) return control(issuers, trouble, pathname.slice('/test/'.length), request, response);

  trouble.count(pathname);
  if (trouble.takes(request, response)) return undefined;
  const route = issuers.route(pathname);
  if (!route) return json(response, 404, { error: `no issuer has the path ${pathname}` });
  if (route.rest === '/jwks') return json(response, 200, issuers.jwks());
  if (route.rest === '/token') return json(response, 501, { error: 'ask POST /test/token' });
  request.url = route.rest;
  return route.service.requestHandler(request, response);
}

async function control(issuers, trouble, name, request, response) {
  const run = CONTROLS[name];
  if (!run) return json(response, 404, { error: `no such control: ${name}; there are ${Object.keys(CONTROLS).join(', ')}` });
  try {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    return json(response, 200, await run(issuers, trouble, body ? JSON.parse(body) : {}));
  } catch (error) {
    return json(response, 400, { error: error.message });
  }
}

function json(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
