/**
 * Video does not stop after some time: each client publishes to pion and views pion, all at the same time, for longer
 * than the server keeps a session without connectivity checks.
 */
import { ranMs } from '../../browser/rig/clock.js';
import { sleep } from '../../browser/rig/wait.js';
import { printTable } from '../rig/table.js';

const STAY_MS = 25_000;
const PLAY_WITHIN_MS = 15_000;
/** Only the end of the observation counts. */
const LAST_MS = 3_000;
const FRAMES = 15;

/** @param {import('../rig/stage.js').Stage} stage */
export async function stay(stage, checks, { kinds, only }) {
  const other = kinds.includes('pion') ? 'pion' : 'chromium';
  const pairs = kinds.flatMap((kind) => (kind === other ? [[kind, kind]] : [[kind, other], [other, kind]])).filter(([of, by]) => only(of, by));
  const watched = await Promise.all(pairs.map(([publisher, viewer]) => start(stage, publisher, viewer)));
  const sinceMs = Date.now();
  const isOver = () => ranMs(sinceMs) >= STAY_MS || watched.every((pair) => pair.publisher.hasFailed || pair.viewer.hasFailed);
  while (!isOver()) await sleep(100);
  const untilMs = Date.now();
  const rows = [];
  for (const { publisher, viewer, video } of watched) {
    const times = video ? viewer.frames(video) : [];
    const frames = times.filter((at) => at > untilMs - LAST_MS).length;
    const [of, by] = [publisher.client.kind, viewer.client.kind];
    const row = { publisher: of, viewer: by, frames, last_frame_s: times.length > 0 ? Number(((times.at(-1) - times[0]) / 1_000).toFixed(1)) : null };
    rows.push(row);
    const why = `its last came ${row.last_frame_s} s after its first; viewer: ${viewer.trouble}; publisher: ${publisher.trouble}`;
    checks.expect(frames >= FRAMES, `${of} -> ${by}: complete frames in the last ${LAST_MS / 1_000} of ${STAY_MS / 1_000} s`, frames, `at least ${FRAMES}`, why);
  }
  await Promise.all(watched.flatMap(({ publisher, viewer }) => [publisher.leave(), viewer.leave()]));
  for (const kind of kinds) for (const side of ['sfu', 'world']) await stage.end(kind, side);
  return rows;
}

async function start(stage, of, by) {
  const room = `stay-${of}-${by}`;
  const publisher = await stage.join({ kind: of, room, publish: 'vp8' });
  const video = (await publisher.tracks())?.get('video');
  const viewer = await stage.join({ kind: by, room });
  if (video) await viewer.first('frame', PLAY_WITHIN_MS, ({ track }) => track === video);
  return { publisher, viewer, video };
}

export function printStay(rows) {
  printTable(['publisher', 'viewer', `frames in the last ${LAST_MS / 1_000} s`, 'last frame after s'], rows.map((row) => Object.values(row).map(String)));
}
