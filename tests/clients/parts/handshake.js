/** Duration of DTLS after ICE with packet loss to the client. It must succeed; the duration has no limit. */
import { median, rounded } from '../rig/figures.js';

const JOINS = 50;
const LOSS_PERCENT = 5;
const CONNECT_WITHIN_MS = 30_000;

/** @param {import('../rig/stage.js').Stage} stage */
export async function handshake(stage, checks, { kinds, only }) {
  const kind = kinds.includes('pion') ? 'pion' : 'chromium';
  if (!only(kind, kind)) return null;
  const room = 'handshake';
  const publisher = await stage.join({ kind, room, publish: 'vp8' });
  await publisher.tracks();
  await stage.client(kind, 'world');
  await stage.lab.loss(LOSS_PERCENT);
  const times = [];
  for (let index = 0; index < JOINS; index++) {
    const viewer = await stage.join({ kind, room });
    const [ice, dtls] = await Promise.all(['ice', 'dtls'].map((event) => viewer.first(event, CONNECT_WITHIN_MS, ({ pc }) => pc === 'subscribe')));
    if (ice && dtls) times.push(dtls.at - ice.at);
    await viewer.leave();
  }
  await stage.lab.loss(0);
  await publisher.leave();
  checks.expect(times.length === JOINS, `${kind} with ${LOSS_PERCENT} % loss: connected joins`, times.length, JOINS);
  return { viewer: kind, joins: times.length, median_ms: rounded(median(times), 1), worst_ms: rounded(Math.max(...times)) };
}

export function printHandshake({ viewer, joins, median_ms: middle, worst_ms: worst }) {
  console.log(`DTLS after ICE with ${LOSS_PERCENT} % loss, ${joins} joins of ${viewer}: median ${middle} ms, worst ${worst} ms`);
}
