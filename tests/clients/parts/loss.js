/** Length of freezes with packet loss to the viewer, compared with no loss. */
import { sleep } from '../../browser/rig/wait.js';
import { freezes, rounded } from '../rig/figures.js';
import { printTable } from '../rig/table.js';

const VIEWERS = ['firefox', 'chromium', 'pion'];
const LOSS_PERCENT = 5;
const WATCH_MS = 20_000;
const PLAY_WITHIN_MS = 15_000;
/** Margin after loss was switched on or off. */
const SETTLE_MS = 1_000;
const MAX_FROZEN = { control: 0.002, loss: 0.02 };

/** @param {import('../rig/stage.js').Stage} stage */
export async function loss(stage, checks, { kinds, only }) {
  const rows = [];
  const room = 'loss';
  // pion sends a constant 300 kbit/s, independent of CPU load.
  const kind = kinds.includes('pion') ? 'pion' : 'chromium';
  const publisher = await stage.join({ kind, room, publish: 'vp8' });
  const video = (await publisher.tracks())?.get('video');
  for (const viewer of VIEWERS.filter((each) => kinds.includes(each) && only(kind, each))) {
    const watcher = await stage.join({ kind: viewer, room });
    const isThere = video && (await watcher.first('frame', PLAY_WITHIN_MS, ({ track }) => track === video));
    const row = { publisher: kind, viewer, control: null, loss: null, lost_packets: null, resent: null, refused: null };
    if (isThere) {
      row.control = await look(watcher, video);
      const before = await repairs(stage);
      await stage.lab.loss(LOSS_PERCENT);
      row.loss = await look(watcher, video);
      const { lost, met } = await stage.lab.counts();
      row.lost_packets = `${lost} of ${met}`;
      await stage.lab.loss(0);
      const after = await repairs(stage);
      row.resent = after.resent - before.resent;
      row.refused = after.refused - before.refused;
    }
    rows.push(row);
    for (const [when, limit] of Object.entries(MAX_FROZEN)) {
      const frozen = row[when]?.frozen ?? 1;
      const what = `${kind} -> ${viewer}: part of the time frozen ${when === 'loss' ? `with ${LOSS_PERCENT} % loss` : 'without loss'}`;
      checks.expect(frozen < limit, what, rounded(frozen, 4), `under ${limit}`, isThere ? `longest freeze ${row[when].longest_ms} ms, ${row[when].frames} frames; lost ${row.lost_packets} packets, resent ${row.resent}, refused to resend ${row.refused}` : `no frame: ${watcher.trouble}`);
    }
    await watcher.leave();
    await stage.end(viewer, 'world');
  }
  await publisher.leave();
  return rows;
}

/** Packets that the data plane resent, and requested packets that it did not resend. */
async function repairs(stage) {
  const resent = await stage.counter('spillway_dataplane_resent_packets_total');
  return { resent, refused: await stage.counter('spillway_dataplane_drops_total', 'reason="not_resent"') };
}

async function look(watcher, video) {
  await sleep(SETTLE_MS);
  const fromMs = Date.now();
  await sleep(WATCH_MS);
  const toMs = Date.now();
  const times = watcher.frames(video);
  const { longest_ms: longest, frozen } = freezes(times, fromMs, toMs);
  return { frozen: rounded(frozen, 4), longest_ms: longest, frames: times.filter((at) => at > fromMs && at < toMs).length };
}

export function printLoss(rows) {
  const cells = ({ frozen, longest_ms: longest, frames } = {}) => [frozen === undefined ? '-' : `${rounded(frozen * 100, 2)} %`, longest ?? '-', frames ?? '-'];
  printTable(
    ['publisher', 'viewer', 'frozen without loss', 'longest ms', 'frames', `frozen with ${LOSS_PERCENT} %`, 'longest ms', 'frames', 'packets lost', 'resent', 'refused'],
    rows.map((row) => [row.publisher, row.viewer, ...cells(row.control ?? {}), ...cells(row.loss ?? {}), row.lost_packets ?? '-', row.resent ?? '-', row.refused ?? '-'].map(String)),
  );
}
