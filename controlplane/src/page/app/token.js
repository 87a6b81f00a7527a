/** Gets the page's token: from the demo endpoint, or from the user. */
import { SpillwayError } from '../spillway.js';
import { permissionsOf } from '../client/permissions.js';

/** Characters that an identity may not contain, and maximum length of the part from the name. */
const NOT_ALLOWED = /[^A-Za-z0-9_.-]+/g;
const NAME_PART = 24;

/** Each tab has its own identity: two tabs of one user are two participants. */
export function newIdentity(name) {
  const words = name.normalize('NFKD').replace(NOT_ALLOWED, '-').replace(/^-+|-+$/g, '').toLowerCase();
  const random = crypto.getRandomValues(new Uint32Array(1))[0].toString(36).padStart(7, '0').slice(-6);
  return `${words.slice(0, NAME_PART) || 'guest'}-${random}`;
}

/** The room name without white space at its ends. The server checks the name. */
export function roomName(text) {
  return text.trim();
}

/** @param {{room: string, name: string, identity: string}} who @returns {Promise<string>} */
export async function ask({ room, name, identity }) {
  const query = new URLSearchParams({ room, identity, name });
  let reply;
  try {
    reply = await fetch(`v1/demo/token?${query}`);
  } catch {
    throw new SpillwayError('unreachable', 'the server does not answer', true);
  }
  if (reply.status === 404) {
    throw new SpillwayError('no_demo_tokens', 'This server hands out no demo tokens. Paste the token you were given.');
  }
  const body = await reply.json().catch(() => ({}));
  // Errors of a proxy while the server is restarting are temporary.
  const mayPass = reply.status >= 500 || reply.status === 429;
  if (!reply.ok) {
    const [code, message] = [body.code ?? 'token_refused', body.message ?? `the server answered ${reply.status}`];
    throw new SpillwayError(mayPass ? 'unreachable' : code, message, mayPass);
  }
  return body.token;
}

/** True if the server issues demo tokens, or does not answer. */
export async function givesTokens() {
  const reply = await fetch('v1/demo/token?room=lobby&identity=probe').catch(() => null);
  return reply?.status !== 404;
}

/** Accepts a token, or a link that contains one. */
export function tokenOf(text) {
  return text.trim().replace(/^.*#token=/, '');
}

/** Room and name in the token, unverified, for display only. */
export function readToken(token) {
  const { publish } = permissionsOf(tokenOf(token));
  try {
    const payload = tokenOf(token).split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return { room: claims.video?.room ?? '', name: claims.name || claims.sub || '', publish };
  } catch {
    return { room: '', name: '', publish };
  }
}
