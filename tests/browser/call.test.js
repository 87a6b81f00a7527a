/** A call of two participants in Chromium. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launchChromium } from './rig/browsers.js';
import { joinBare, joinPage, received, seesAndHears } from './rig/people.js';
import { writePortrait } from './rig/portrait.js';
import { Spillway } from './rig/server.js';
import { writeVoice } from './rig/voice.js';
import { sleep, until } from './rig/wait.js';

const ROOM = 'design-review';
const IMAGES = new URL('../../docs/images/', import.meta.url).pathname;

const PORTRAITS = {
  ada: [[34, 52, 84], [98, 128, 150], [222, 196, 176]],
  grace: [[70, 44, 66], [170, 116, 96], [214, 178, 150]],
};

let spillway, ada, grace, adasBrowser, gracesBrowser, recordings;

before(async () => {
  spillway = await Spillway.start();
  recordings = await mkdtemp(join(tmpdir(), 'spillway-recordings-'));
  const voice = join(recordings, 'voice.wav');
  await writeVoice(voice);
  [adasBrowser, gracesBrowser] = await Promise.all([
    launchChromium({ args: [...(await camera('ada')), `--use-file-for-fake-audio-capture=${voice}`] }),
    launchChromium({ args: await camera('grace') }),
  ]);
  const height = process.env.SCREENSHOT ? 720 : undefined;
  [ada, grace] = await Promise.all([
    joinPage(adasBrowser, { url: spillway.url, room: ROOM, name: 'Ada', height }),
    joinPage(gracesBrowser, { url: spillway.url, room: ROOM, name: 'Grace', height }),
  ]);
});

after(async () => {
  await Promise.allSettled([adasBrowser?.close(), gracesBrowser?.close()]);
  await spillway?.stop();
  await rm(recordings, { recursive: true, force: true });
});

/** A camera that shows a person, for the picture in the documentation. */
async function camera(who) {
  if (!process.env.SCREENSHOT) return [];
  const file = join(recordings, `${who}.y4m`);
  await writePortrait(file, PORTRAITS[who]);
  return [`--use-file-for-fake-video-capture=${file}`];
}

const speaks = (page, name) => page.evaluate((who) => [...document.querySelectorAll('.tile.is-speaking .name')].some((label) => label.textContent === who), name);

test('both see and hear each other', async () => {
  await Promise.all([seesAndHears(ada, ['Grace']), seesAndHears(grace, ['Ada'])]);
});

test('each remote track is an element with the data attributes, and the video plays', async () => {
  const elements = await until(
    () =>
      ada.evaluate(() => {
        const list = [...document.querySelectorAll('[data-participant][data-track][data-kind]')];
        const found = list.map((media) => ({ tag: media.localName, ...media.dataset, timeS: media.currentTime, width: media.videoWidth ?? 0 }));
        return found.length === 2 && found.every((media) => media.timeS > 0) ? found : null;
      }),
    'two playing elements',
    10_000,
  );
  for (const media of elements) {
    assert.equal(media.tag, media.kind);
    assert.match(media.participant, /^PA_.{16}$/);
    assert.match(media.track, /^TR_.{16}$/);
  }
  assert.deepEqual(elements.map((media) => media.kind).sort(), ['audio', 'video']);
  assert.ok(elements.find((media) => media.kind === 'video').width > 0);
});

test('the control commands show the room, its people and tracks, and packets', async () => {
  const rooms = await spillway.cli('room', 'ls');
  const room = (rooms.rooms ?? rooms).find((entry) => (entry.room ?? entry.name) === ROOM);
  assert.ok(room, `no room ${ROOM} in ${JSON.stringify(rooms)}`);
  const count = Array.isArray(room.participants) ? room.participants.length : room.participants;
  assert.equal(count, 2);
  const shown = JSON.stringify(await spillway.cli('room', 'show', ROOM));
  for (const { track } of await received(ada)) assert.ok(shown.includes(track), `no track ${track} in ${shown}`);
  const nodes = await spillway.cli('node', 'ls');
  const [node] = nodes.nodes ?? nodes;
  assert.equal(node.shards.length, 2);
  const packets = node.shards.reduce((sum, shard) => sum + shard.packets_out, 0);
  assert.ok(packets > 100, `${packets} packets went out`);
});

test('a ring shows who speaks', async () => {
  await until(() => speaks(grace, 'Ada'), 'the ring around Ada', 15_000);
});

test('a picture of the page', { skip: !process.env.SCREENSHOT }, async () => {
  await mkdir(IMAGES, { recursive: true });
  await grace.setViewport({ width: 1280, height: 760 });
  await grace.click('#toggle-stats');
  await sleep(4_000);
  await until(() => speaks(grace, 'Ada'), 'the ring around Ada', 15_000);
  await grace.mouse.move(640, 640);
  await grace.screenshot({ path: `${IMAGES}two-participants.png` });
  await grace.click('#toggle-stats');
});

test('muting is shown to the other one, and ends', async () => {
  await ada.click('#toggle-microphone');
  const microphone = async () => (await received(grace)).find((track) => track.source === 'microphone');
  await until(async () => (await microphone()).muted, 'Ada to be muted at Grace', 5_000);
  await ada.click('#toggle-microphone');
  await until(async () => !(await microphone()).muted, 'Ada to be unmuted at Grace', 5_000);
});

test('a camera switched off and on again is seen again', async () => {
  const camera = async () => (await received(grace)).find((track) => track.source === 'camera');
  await ada.click('#toggle-camera');
  await until(async () => (await camera()).muted, 'the camera to be off', 5_000);
  await until(() => ada.evaluate(() => spillway.room.localTracks.find((track) => track.source === 'camera').mediaStreamTrack === null), 'the device to be released', 5_000);
  await ada.click('#toggle-camera');
  await until(async () => !(await camera()).muted, 'the camera to be on', 10_000);
  await seesAndHears(grace, ['Ada']);
});

test('the overlay shows numbers of each tile', async () => {
  await grace.click('#toggle-stats');
  const text = await until(
    () => grace.evaluate(() => [...document.querySelectorAll('.tile .stats')].map((stats) => stats.innerText).find((shown) => /kbit\/s/.test(shown) && /ms/.test(shown) && /%/.test(shown))),
    'layer, kbit/s, RTT and loss in the overlay',
    10_000,
  );
  for (const word of ['layer', 'size', 'video', 'audio', 'rtt', 'loss']) assert.match(text, new RegExp(word));
  await grace.click('#toggle-stats');
});

test('messages arrive, private ones only where they belong', async () => {
  const identity = await grace.evaluate(() => spillway.room.identity);
  const linus = await joinBare(adasBrowser, { url: spillway.url, room: ROOM, name: 'Linus' });
  await until(() => linus.evaluate(() => room.participants.size === 2), 'Linus to see both', 5_000);
  await grace.evaluate(() => {
    globalThis.heard = [];
    spillway.room.on('message', ({ topic, payload }) => globalThis.heard.push(`${topic}:${payload.text}`));
  });
  await linus.evaluate((to) => room.sendMessage('chat', { text: 'for Grace' }, [to]), identity);
  await linus.evaluate(() => room.sendMessage('chat', { text: 'for all' }));
  await until(() => grace.evaluate(() => globalThis.heard.length === 2), 'two messages', 5_000);
  assert.deepEqual(await grace.evaluate(() => globalThis.heard), ['chat:for Grace', 'chat:for all']);
  await linus.evaluate(() => room.leave());
  await linus.close();
  await until(() => grace.evaluate(() => spillway.room.participants.size === 1), 'Linus to be gone', 5_000);
});

test('a track unpublished and another one published in its place arrives', async () => {
  const before = (await received(grace)).find((track) => track.source === 'camera').track;
  await ada.evaluate(() => spillway.room.localTracks.find((track) => track.source === 'camera').unpublish());
  await until(async () => !(await received(grace)).some((track) => track.track === before), 'the camera to be unpublished', 5_000);
  const after = await ada.evaluate(async () => (await spillway.room.publish('camera', { height: 360 })).id);
  assert.notEqual(after, before);
  await seesAndHears(grace, ['Ada']);
});

test('who leaves is gone at once', async () => {
  await ada.click('#leave');
  await until(async () => (await received(grace)).length === 0, 'no tracks of Ada', 5_000);
  assert.equal(await grace.$eval('#call-count', (count) => count.textContent), '1');
  assert.ok(await ada.$eval('#left', (left) => !left.hidden));
});
