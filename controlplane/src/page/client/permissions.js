/** Permissions in a token, which the client reads for display. The server enforces them. */
import { SOURCES } from './options.js';

/**
 * @typedef {object} Permissions
 * @property {string[]} publish sources that may be published
 * @property {boolean} subscribe
 * @property {boolean} message
 */

const EVERYTHING = { publish: SOURCES, subscribe: true, message: true };

/**
 * @param {string} token
 * @returns {Permissions} all permissions if the token cannot be read
 */
export function permissionsOf(token) {
  const claims = claimsOf(token);
  if (!claims) return EVERYTHING;
  const { canPublish, canPublishSources, canSubscribe, canPublishData, hidden } = claims.video ?? {};
  const named = Array.isArray(canPublishSources) && canPublishSources.length > 0 ? canPublishSources : SOURCES;
  const sources = named.map((source) => String(source).toLowerCase().replace('screen_share', 'screen'));
  return {
    publish: canPublish === false || hidden === true ? [] : SOURCES.filter((source) => sources.includes(source)),
    subscribe: canSubscribe !== false,
    message: canPublishData !== false,
  };
}

/** @returns {object | null} the claims of a JWT, unverified */
export function claimsOf(token) {
  try {
    const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}
