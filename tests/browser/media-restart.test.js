/** The data plane is killed during a call: users are informed, and media returns automatically. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from './rig/browsers.js';
import { ranMs } from './rig/clock.js';
import { joinPage, received, seesAndHears, watchStates } from './rig/people.js';
import { Spillway } from './rig/server.js';
import { until } from './rig/wait.js';

const BACK_WITHIN_MS = 5_000;

let spillway, browser, ada, grace;

before(async () => {
  spillway = await Spillway.start();
  browser = await launchChromium();
  ada = await joinPage(browser, { url: spillway.url, room: 'phoenix', name: 'Ada' });
  grace = await joinPage(browser, { url: spillway.url, room: 'phoenix', name: 'Grace' });
  await Promise.all([seesAndHears(ada, ['Grace']), seesAndHears(grace, ['Ada'])]);
});

after(async () => {
  await browser?.close();
  await spillway?.stop();
});

test('participants are told, and media is back within 5 s of the process being back', async () => {
  const people = [ada, grace];
  const ids = await Promise.all(people.map(identities));
  const states = await Promise.all(people.map(watchStates));

  const old = await spillway.killMedia();
  await Promise.all(states.map((seen) => until(async () => (await seen()).includes('media-lost'), 'media-lost', 5_000)));
  await spillway.mediaPid(old);
  const backAt = Date.now();

  await Promise.all(people.map((page) => until(() => plays(page), 'pictures and sound', 30_000)));
  const tookMs = ranMs(backAt);
  assert.ok(tookMs <= BACK_WITHIN_MS, `media took ${tookMs} ms`);
  assert.deepEqual(await Promise.all(people.map(identities)), ids, 'participants and tracks keep their ids');
  for (const seen of states) assert.deepEqual(await seen(), ['media-lost', 'connected']);
});

test('it goes on', () => Promise.all([seesAndHears(ada, ['Grace']), seesAndHears(grace, ['Ada'])]));

async function identities(page) {
  const { participant, local } = await page.evaluate(() => ({
    participant: spillway.room.participant,
    local: spillway.room.localTracks.map((track) => track.id).sort(),
  }));
  return { participant, local, remote: (await received(page)).map((track) => track.track).sort() };
}

async function plays(page) {
  const tracks = await received(page);
  return tracks.length === 2 && tracks.every((track) => (track.kind === 'video' ? track.frames > 0 : track.packets > 0));
}
