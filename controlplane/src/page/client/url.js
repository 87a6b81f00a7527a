/** Where signaling is, unless the application says so. */

/** Beside `spillway.js` where a Spillway serves it, which may be under a path; at the page's own host otherwise. */
export function defaultUrl() {
  const beside = new URL('../v1/signal', import.meta.url);
  const page = new URL('/v1/signal', globalThis.location?.href.startsWith('http') ? globalThis.location.href : 'http://localhost');
  const url = /^https?:.*\/client\/url\.js$/.test(import.meta.url) ? beside : page;
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return String(url);
}
