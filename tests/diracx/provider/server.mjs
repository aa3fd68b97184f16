// An OpenID provider for tests, shaped like EGI Check-in, on the loopback interface only: on plain http, or on https
// with the certificate and key in the file TLS; then clients' own tokens are JSON Web Tokens, as for computing elements.
//   PORT=18800 REDIRECT_URIS=http://127.0.0.1:18000/cb CLIENT_SECRET=... node server.mjs
// All in memory: a restart forgets logins, changed memberships and keys.
import { Provider } from 'oidc-provider';
import { generateKeyPairSync } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';

const PORT = Number(process.env.PORT ?? 18800);
const { TLS } = process.env;
const ISSUER = TLS ? `https://localhost:${PORT}` : `http://127.0.0.1:${PORT}`;
const REDIRECT_URIS = (process.env.REDIRECT_URIS ?? 'http://127.0.0.1:18000/cb').split(',');
const { CLIENT_SECRET } = process.env;
if (!CLIENT_SECRET) throw new Error('CLIENT_SECRET is not set: the secret of the client "spinor"');

// Memberships are written VO/ROLE. Everyone's password is accepted.
const users = {
  alice: { name: 'Alice Member', memberships: ['vo.spinor.test/member'] },
  anna: { name: 'Anna Member', memberships: ['vo.spinor.test/member'] },
  adam: { name: 'Adam Admin', memberships: ['vo.spinor.test/member', 'vo.spinor.test/admin'] },
  bob: { name: 'Bob Other', memberships: ['other.spinor.test/member'] },
  mallory: { name: 'Mallory Outsider', memberships: [] },
};
for (const [name, user] of Object.entries(users)) {
  Object.assign(user, { sub: `${Buffer.from(name.padEnd(16, '_')).toString('hex')}@egi.eu`, blocked: false });
}
const activeUser = (sub) => Object.entries(users).find(([, user]) => user.sub === sub && !user.blocked);

function claimsOf(name, user) {
  const pairs = user.memberships.map((membership) => membership.split('/'));
  const urns = (space) => pairs.map(([vo, role]) => `${space}:group:${vo}:role=${role}#aai.egi.eu`);
  return {
    sub: user.sub,
    name: user.name,
    preferred_username: name,
    email: `${name}@example.org`,
    email_verified: true,
    eduperson_entitlement: urns('urn:mace:egi.eu'), // Check-in's older form
    entitlements: urns('urn:geant:egi.eu'), // and its newer one (AARC-G069)
    'wlcg.groups': [...new Set(pairs.flatMap(([vo, role]) => [`/${vo}`, `/${vo}/${role}`]))],
  };
}

// What the provider remembers, in a store of our own so that it outlives the provider that a key rotation replaces.
const stored = new Map();
class Store {
  constructor(model) { this.model = model; }
  async upsert(id, payload) { stored.set(`${this.model} ${id}`, payload); }
  async find(id) { return stored.get(`${this.model} ${id}`); }
  async findByUid(uid) { return [...stored.values()].find(({ kind, uid: its }) => kind === 'Session' && its === uid); }
  async consume(id) { (await this.find(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { stored.delete(`${this.model} ${id}`); }
  async revokeByGrantId(grantId) {
    for (const [key, payload] of stored) if (payload.grantId === grantId) stored.delete(key);
  }
}

// What a client's own tokens may be for, and for whom they were asked.
const STORAGE = ['storage.read:/', 'storage.modify:/scratch'];
const COMPUTE = ['read', 'create', 'modify', 'cancel'].map((what) => `compute.${what}`);
const audiences = [];
const tokensForElements = {
  enabled: Boolean(TLS),
  defaultResource: (ctx) => (ctx.oidc.body?.grant_type === 'client_credentials' ? 'urn:elements' : undefined),
  getResourceServerInfo: (ctx) => ({
    scope: COMPUTE.join(' '), audience: ctx.oidc.body?.audience, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
  }),
};

let keyNumber = 0;
function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: `key-${keyNumber += 1}` };
}

function newProvider(keys) {
  const client = { grant_types: ['authorization_code', 'refresh_token', 'client_credentials'], redirect_uris: REDIRECT_URIS };
  const provider = new Provider(ISSUER, {
    adapter: Store, jwks: { keys },
    clients: [
      { ...client, client_id: 'spinor', client_secret: CLIENT_SECRET },
      { ...client, grant_types: client.grant_types.slice(0, 2), client_id: 'spinor-public', token_endpoint_auth_method: 'none' },
    ],
    scopes: ['openid', 'offline_access', ...STORAGE],
    claims: {
      openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'],
      eduperson_entitlement: ['eduperson_entitlement'],
      entitlements: ['entitlements', 'wlcg.groups'],
    },
    conformIdTokenClaims: false, // the scopes' claims are in the ID token too, as at Check-in
    // Asked for at every use of a token: a blocked user's refreshes and userinfo fail from then on.
    findAccount: (ctx, sub) => {
      const found = activeUser(sub);
      return found && { accountId: sub, claims: () => claimsOf(...found) };
    },
    pkce: { required: () => true },
    issueRefreshToken: (ctx, oidcClient, code) => code.scopes.has('offline_access'),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    cookies: { keys: ['only for tests'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (ctx, caller, token) => !token.accountId || Boolean(activeUser(token.accountId)) },
      revocation: { enabled: true },
      resourceIndicators: tokensForElements,
    },
    extraTokenClaims: (ctx, token) => (TLS && token.kind === 'ClientCredentials' ? { 'wlcg.ver': '1.0' } : undefined),
    ttl: {
      AccessToken: 3600, ClientCredentials: Number(process.env.CLIENT_TTL ?? 600), Grant: 86400, IdToken: 3600, Interaction: 600,
      RefreshToken: 86400, Session: 86400,
    },
    renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
  });
  for (const event of ['server_error', 'authorization.error', 'grant.error']) {
    provider.on(event, (ctx, error) => console.error(event, error.message, error.error_description ?? ''));
  }
  // Some providers tell of memberships where tokens are looked up.
  provider.use(async (ctx, next) => {
    await next();
    const found = ctx.path === '/token/introspection' && ctx.body?.active && ctx.body.sub && activeUser(ctx.body.sub);
    if (found) ctx.body = { ...ctx.body, eduperson_entitlement: claimsOf(...found).eduperson_entitlement };
  });
  provider.on('grant.success', ({ oidc: { body } }) => { if (body.audience) audiences.push(body.audience); });
  return { provider, handle: provider.callback() };
}

let keys = [newKey()];
let { provider, handle } = newProvider(keys);

const answer = (response, status, type, body) => response.writeHead(status, { 'content-type': type }).end(body);

// The login page and the consent page: one form each, like any provider's.
async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    const fields = prompt.name === 'login'
      ? 'User <input type="text" name="login" required> Password <input type="password" name="password" required>'
      : `<p>${params.client_id} asks for: ${params.scope.replaceAll('<', '&lt;')}</p>`;
    const form = `<form method="post" action="${request.url}">${fields} <button>Continue</button></form>`;
    return answer(response, 200, 'text/html', `<!doctype html><title>${prompt.name}</title>${form}`);
  }
  if (prompt.name === 'login') {
    const user = users[new URLSearchParams(await text(request)).get('login')];
    if (!user || user.blocked) return answer(response, 403, 'text/html', '<h1>No such user, or blocked</h1>');
    return provider.interactionFinished(request, response, { login: { accountId: user.sub } });
  }
  const known = grantId && (await provider.Grant.find(grantId));
  const grant = known || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

// GET /test/audiences: for whom clients' own tokens were asked. GET /test/users; POST /test/users/NAME {"entitlements": ["VO/ROLE", ...], "blocked": bool};
// POST /test/rotate {"keep": bool} makes a new signing key and keeps the old ones in the JWKS unless keep is false.
async function control(request, response) {
  const [, , what, name] = request.url.split('/');
  const change = request.method === 'POST' ? JSON.parse((await text(request)) || '{}') : {};
  if (what === 'rotate' && request.method === 'POST') {
    keys = [newKey(), ...(change.keep === false ? [] : keys)];
    ({ provider, handle } = newProvider(keys));
    return answer(response, 200, 'application/json', JSON.stringify({ kids: keys.map((key) => key.kid) }));
  }
  if (what === 'audiences') return answer(response, 200, 'application/json', JSON.stringify(audiences));
  if (what !== 'users' || (name && !users[name])) return answer(response, 404, 'application/json', '{}');
  if (name) {
    users[name].memberships = change.entitlements ?? users[name].memberships;
    users[name].blocked = change.blocked ?? users[name].blocked;
  }
  return answer(response, 200, 'application/json', JSON.stringify(name ? users[name] : users));
}

const tls = TLS && { cert: readFileSync(TLS), key: readFileSync(TLS) };
(TLS ? https : http).createServer(tls || {}, (request, response) => {
  const own = { interaction: interact, test: control }[request.url.split('/')[1]];
  if (!own) return handle(request, response);
  return own(request, response).catch((error) => answer(response, 400, 'text/plain', String(error)));
}).listen(PORT, '127.0.0.1', () => console.log(`issuer ${ISSUER}`));
