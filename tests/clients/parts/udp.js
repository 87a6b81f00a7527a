/**
 * If UDP works, media does not use TCP. Browsers have candidates of both, and Firefox nominates each working pair. The
 * nominated pair with the highest priority is selected (RFC 5245 section 8.1.1.2).
 */
import { sleep } from '../../browser/rig/wait.js';
import { rounded } from '../rig/figures.js';
import { printTable } from '../rig/table.js';

const VIEWERS = ['firefox', 'chromium'];
const PLAY_WITHIN_MS = 15_000;
/** Checks of TCP candidates start later than those of UDP. */
const SETTLE_MS = 2_000;
const WATCH_MS = 4_000;
/** Maximum fraction of the bytes that may arrive over TCP: signaling. */
const MAX_TCP_PART = 0.1;

/** @param {import('../rig/stage.js').Stage} stage */
export async function udp(stage, checks, { kinds, only }) {
  const rows = [];
  const kind = kinds.includes('pion') ? 'pion' : 'chromium';
  const room = 'udp';
  const publisher = await stage.join({ kind, room, publish: 'vp8' });
  const video = (await publisher.tracks())?.get('video');
  for (const by of VIEWERS.filter((each) => kinds.includes(each) && only(kind, each))) {
    const viewer = await stage.join({ kind: by, room });
    const isThere = video && (await viewer.first('frame', PLAY_WITHIN_MS, ({ track }) => track === video));
    await sleep(SETTLE_MS);
    await stage.lab.count();
    await sleep(WATCH_MS);
    const { udp_bytes: udpBytes, tcp_bytes: tcpBytes } = await stage.lab.counts();
    const part = tcpBytes / Math.max(1, udpBytes + tcpBytes);
    rows.push({ publisher: kind, viewer: by, udp_bytes: udpBytes, tcp_bytes: tcpBytes });
    checks.expect(isThere && part < MAX_TCP_PART, `${kind} -> ${by}: part of the bytes that came over TCP`, rounded(part, 2), `under ${MAX_TCP_PART}`, viewer.trouble);
    await viewer.leave();
    await stage.end(by, 'world');
  }
  await stage.lab.loss(0);
  await publisher.leave();
  return rows;
}

export function printUdp(rows) {
  printTable(['publisher', 'viewer', 'bytes over UDP', 'bytes over TCP'], rows.map((row) => Object.values(row).map(String)));
}
