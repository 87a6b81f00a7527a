/**
 * Profiles of H.264: a publisher offers one format, and each viewer accepts one format. Either the viewer decodes
 * frames, or its application gets the reason. aiortc publishes and views; its SDP is rewritten to contain the formats
 * (python/h264_formats.py). The stream is always constrained baseline with fragmented NAL units. So the suite tests
 * which viewers receive the stream, and which reason the others get. It does not test decoders. See run.sh.
 */
import { sleep, until } from '../browser/rig/wait.js';
import { Checks } from './rig/checks.js';
import { onStage } from './rig/stage.js';
import { printTable } from './rig/table.js';

const PUBLISH_WITHIN_MS = 30_000;
const SETTLE_WITHIN_MS = 20_000;
/** A viewer plays when it has decoded this many frames. */
const FRAMES = 15;
/** A viewer with a reason must receive no frame for this time. */
const NOTHING_FOR_MS = 1_000;

const FORMATS = [
  { profile: '42e01f', mode: 1 },
  { profile: '42001f', mode: 1 },
  { profile: '4d001f', mode: 1 },
  { profile: '64001f', mode: 1 },
  { profile: '42e01f', mode: 0 },
];
const PUBLISHERS = [...FORMATS.map((format) => ({ ...format, vp8: false })), { ...FORMATS[0], vp8: true }];
const VIEWERS = [...FORMATS.map((format) => ({ codec: 'h264', ...format })), { codec: 'h264', profile: null, mode: null }, { codec: 'vp8' }];
/** Profiles in order: the tools of each are a subset of the next (RFC 6184 section 8.1). */
const RANKS = { 42: 0, '4d': 1, 64: 2 };

const checks = new Checks();
const rows = [];
try {
  await onStage(async (stage) => {
    for (const offers of PUBLISHERS) rows.push(...(await watched(stage, offers)));
  });
} catch (error) {
  checks.expect(false, 'the suite', error.message, 'no error');
}
const count = (came) => rows.filter(({ came: other }) => other === came).length;
const silent = count('silence');
printTable(
  ['publisher', 'viewer', 'where it is not offered', 'expected', 'came', 'frames'],
  rows.map((row) => [row.publisher, row.viewer, row.otherwise ?? '-', row.expected, row.came, String(row.frames)]),
);
checks.expect(rows.length > 0 && silent === 0, 'viewers without frames and without a reason', silent, 0);
process.exit(checks.report('h264', { played: count('plays'), named: rows.length - count('plays') - silent, silent, rows }));

/** One publisher, with all its viewers at the same time. */
async function watched(stage, offers) {
  const room = `h264-${PUBLISHERS.indexOf(offers)}`;
  const publisher = await stage.join({ kind: 'aiortc', room, publish: 'h264', offers });
  const published = await publisher.first('published', PUBLISH_WITHIN_MS);
  const video = published?.tracks.find(({ kind }) => kind === 'video').track;
  checks.expect(Boolean(video), `${name(offers)}: published`, publisher.trouble, 'a track');
  const cases = VIEWERS.flatMap((takes) => answers(offers, takes));
  const found = await Promise.all(cases.map((each) => watch(stage, { room, video, publisher, offers, ...each })));
  await publisher.leave();
  return found;
}

/** Two ways for a viewer to answer if its format was not offered. */
function answers(offers, takes) {
  if (takes.codec === 'vp8' && offers.vp8) return [{ takes, expected: 'no_codec' }];
  if (takes.codec === 'h264' && (takes.profile === null || decodes(takes, offers))) return [{ takes, expected: 'plays' }];
  return [
    { takes: { ...takes, otherwise: 'reject' }, expected: 'rejected' },
    { takes: { ...takes, otherwise: 'name' }, expected: 'no_codec' },
  ];
}

/** RFC 6184 section 6.2: a receiver of mode 1 also accepts single NAL units. */
function decodes(decoder, stream) {
  const rank = ({ profile }) => RANKS[profile.slice(0, 2)];
  return decoder.mode >= stream.mode && rank(decoder) >= rank(stream);
}

async function watch(stage, { room, video, publisher, offers, takes, expected }) {
  const viewer = await stage.join({ kind: 'aiortc', room, takes });
  const frames = () => viewer.frames(video).length;
  // The last notice counts: earlier ones may be outdated.
  const reason = () => {
    const last = viewer.all('layer', video).at(-1);
    return last && !last.active ? last.reason : null;
  };
  const isOver = () => frames() >= FRAMES || reason() || hasFailed(publisher) || hasFailed(viewer);
  await until(isOver, 'frames or a reason', SETTLE_WITHIN_MS).catch(() => {});
  if (reason()) await sleep(NOTHING_FOR_MS);
  const came = frames() >= FRAMES ? 'plays' : (reason() ?? 'silence');
  const row = { publisher: name(offers), viewer: name(takes), otherwise: takes.otherwise ?? null, expected, came, frames: frames() };
  checks.expect(came === expected && (came === 'plays' || row.frames === 0), `${row.publisher} -> ${row.viewer} (${row.otherwise ?? 'offered'})`, `${came}, ${row.frames} frames`, expected, viewer.trouble);
  await viewer.leave();
  return row;
}

/** True if it had an error or has ended: waiting is useless. */
function hasFailed(participant) {
  return participant.hasFailed || participant.all('error').length > 0;
}

function name({ codec = 'h264', profile, mode, vp8 }) {
  if (codec === 'vp8') return 'vp8 alone';
  if (!profile) return 'no profile';
  return `${profile} mode ${mode}${vp8 ? ' + vp8' : ''}`;
}
