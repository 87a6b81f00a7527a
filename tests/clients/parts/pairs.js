/** Each client publishes once, and all others view: video and audio arrive soon and without freezes. */
import { freezes, rounded } from '../rig/figures.js';
import { printTable } from '../rig/table.js';
import { ranMs } from '../../browser/rig/clock.js';
import { sleep } from '../../browser/rig/wait.js';

const JOIN_WITHIN_MS = 30_000;
const PLAY_WITHIN_MS = 15_000;
/** A pair plays after this many complete frames, and this much audio above silence. */
const FRAMES = 15;
const SOUNDS = 4;
/** Time of observation after that. */
const WATCH_MS = 2_000;

/**
 * @param {import('../rig/stage.js').Stage} stage
 * @param {{kinds: string[], only: (publisher: string, viewer: string) => boolean}} what available clients, and the
 *   pairs to test
 */
export function pairs(stage, checks, { kinds, only }) {
  return everyPair(stage, checks, { kinds, only, codec: 'vp8' });
}

/** The same with H.264, for clients that support it. */
export function h264(stage, checks, { kinds, only }) {
  return everyPair(stage, checks, { kinds: kinds.filter((kind) => kind !== 'firefox'), only, codec: 'h264' });
}

async function everyPair(stage, checks, { kinds, only, codec }) {
  const rows = [];
  for (const kind of kinds) {
    const watching = kinds.filter((viewer) => only(kind, viewer));
    if (watching.length === 0) continue;
    const room = `pairs-${kind}-${codec}`;
    const publisher = await stage.join({ kind, room, publish: codec });
    const published = await publisher.tracks();
    const tracks = published ?? new Map();
    const found = await Promise.all(watching.map((viewer) => watch(stage, { kind: viewer, room, tracks, publisher })));
    for (const row of found) rows.push({ publisher: kind, codec, ...row });
    for (const row of found) judge(checks, { publisher, kind, codec, row, isPublished: published !== null });
    await publisher.leave();
    await stage.end(kind, 'sfu');
  }
  return rows.map(({ trouble, ...row }) => row);
}

async function watch(stage, { kind, room, tracks, publisher }) {
  const viewer = await stage.join({ kind, room });
  const [audio, video] = [tracks.get('audio'), tracks.get('video')];
  const loud = () => viewer.all('sound', audio).filter((each) => each.loud);
  const plays = () => viewer.frames(video).length >= FRAMES && loud().length >= SOUNDS;
  const joining = await viewer.first('joining', JOIN_WITHIN_MS);
  const sinceMs = Date.now();
  const isHopeless = () => tracks.size === 0 || publisher.hasFailed || viewer.hasFailed;
  while (!plays() && !isHopeless() && ranMs(sinceMs) < PLAY_WITHIN_MS) await sleep(20);
  const fromMs = Date.now();
  if (plays()) await sleep(WATCH_MS);
  const frames = viewer.frames(video);
  const sounds = viewer.all('sound', audio);
  const after = (times) => (joining && times.length > 0 ? rounded(ranMs(joining.at, times[0])) : null);
  const frozen = frames.length > 0 ? freezes(frames, frames[0], Math.max(fromMs, frames.at(-1))) : null;
  const row = {
    viewer: kind,
    frames: tracks.has('video') ? frames.length : 0,
    audio_packets: sounds.reduce((sum, { packets }) => sum + packets, 0),
    heard: tracks.has('audio') && loud().length >= SOUNDS,
    seen: tracks.has('video') && frames.length >= FRAMES,
    first_video_ms: after(frames),
    first_audio_ms: after(sounds.map(({ at }) => at)),
    longest_freeze_ms: frozen?.longest_ms ?? null,
    frozen: rounded(frozen?.frozen, 4),
    trouble: viewer.trouble,
  };
  await viewer.leave();
  return row;
}

function judge(checks, { publisher, kind, codec, row, isPublished }) {
  const pair = `${kind} -> ${row.viewer} (${codec})`;
  const why = isPublished ? `viewer: ${row.trouble}; publisher: ${publisher.trouble}` : `not published: ${publisher.trouble}`;
  checks.expect(row.seen, `${pair}: complete frames`, row.frames, `at least ${FRAMES}`, why);
  checks.expect(row.heard, `${pair}: audio`, `${row.audio_packets} packets, ${row.heard ? 'heard' : 'silence'}`, 'sound', why);
}

/** Table of publishers and viewers: the longest freeze, and the time from join to the first frame. */
export function printPairs(rows) {
  const sees = ({ seen, heard }) => (seen && heard ? 'sees and hears' : seen ? 'sees only' : heard ? 'hears only' : 'NOTHING');
  const cells = rows.map((row) => [row.publisher, row.codec, row.viewer, sees(row), row.frames, row.audio_packets, row.first_video_ms ?? '-', row.first_audio_ms ?? '-', row.longest_freeze_ms ?? '-', row.frozen === null ? '-' : `${rounded(row.frozen * 100, 1)} %`].map(String));
  printTable(['publisher', 'codec', 'viewer', '', 'frames', 'audio packets', 'first frame ms', 'first sound ms', 'longest freeze ms', 'frozen'], cells);
}
