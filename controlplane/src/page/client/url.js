/** The default signaling URL. */

/** Below the path of `spillway.js` if a Spillway server delivered it, otherwise at the page's own host. */
export function defaultUrl() {
  const beside = new URL('../v1/signal', import.meta.url);
  const page = new URL('/v1/signal', globalThis.location?.href.startsWith('http') ? globalThis.location.href : 'http://localhost');
  const url = /^https?:.*\/client\/url\.js$/.test(import.meta.url) ? beside : page;
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return String(url);
}
