// An OpenID provider for the tests: other people's code, with our people and clients in it.
// Usage: node provider.mjs PORT PEOPLE.json   (PEOPLE.json: {"clients": […], "people": {login: {"acr": …, "claims": {…}}}, "claims": {scope: [claim…]}})
// Whoever gives a login is that person: the page stands for whatever a real provider asks.
import { readFileSync } from 'node:fs';
import { generateKeyPair, exportJWK } from 'jose';
import { Provider } from 'oidc-provider';

const [port, file] = [Number(process.argv[2]), process.argv[3]];
const { clients, people, claims } = JSON.parse(readFileSync(file, 'utf8'));
const issuer = `http://127.0.0.1:${port}`;

async function key(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: `${alg}-${process.pid}` };
}

const provider = new Provider(issuer, {
  clients,
  claims: { ...claims, acr: null, auth_time: null, iss: null, sid: null },
  scopes: ['openid', 'offline_access', ...Object.keys(claims)],
  acrValues: ['eidas1', 'eidas2'],
  jwks: { keys: [await key('RS256'), await key('ES256')] },
  cookies: { keys: ['for the tests alone'] },
  features: {
    devInteractions: { enabled: false },
    claimsParameter: { enabled: true },
    jwtUserinfo: { enabled: true },
  },
  pkce: { required: () => true, methods: ['S256'] },
  ttl: { Interaction: 600, Session: 600, Grant: 600, IdToken: 300, AccessToken: 300 },
  interactions: { url: (ctx, interaction) => `/who/${interaction.uid}` },
  findAccount: (ctx, login) => (people[login] ? { accountId: login, claims: () => ({ sub: login, ...people[login].claims }) } : undefined),
  loadExistingGrant: async (ctx) => {
    const { client, session, params } = ctx.oidc;
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(params.scope);
    await grant.save();
    return grant;
  },
});

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/who/')) return next();
  if (ctx.method === 'GET') {
    await provider.interactionDetails(ctx.req, ctx.res);
    ctx.type = 'html';
    ctx.body = `<!doctype html><html lang="en"><title>Who are you?</title><form method="post">
      <label>Login <input name="login" autofocus></label><button>I am</button><button name="refuse" value="1">Cancel</button></form></html>`;
    return undefined;
  }
  let body = '';
  for await (const chunk of ctx.req) body += chunk;
  const form = new URLSearchParams(body);
  const login = form.get('login');
  const result = form.get('refuse') || !people[login]
    ? { error: 'access_denied', error_description: 'cancelled' }
    : { login: { accountId: login, acr: people[login].acr, remember: false } };
  ctx.respond = false;
  return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
});

provider.listen(port, '127.0.0.1', () => console.log(`listening at ${issuer}`));
