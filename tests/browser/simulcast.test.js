/** Subscription parameters select the layer. The decoded layer and the reported layer are equal. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from './rig/browsers.js';
import { joinBare, received } from './rig/people.js';
import { Spillway } from './rig/server.js';
import { until } from './rig/wait.js';

const CAMERA_HEIGHT = 720;
/** Bandwidth estimation starts low and needs time to rise. */
const RAMP_WITHIN_MS = 60_000;
const SWITCH_WITHIN_MS = 15_000;

let spillway, browser, sender, receiver;

before(async () => {
  spillway = await Spillway.start();
  browser = await launchChromium();
  const common = { url: spillway.url, room: 'layers' };
  sender = await joinBare(browser, { ...common, name: 'sender', publish: [['camera', { height: CAMERA_HEIGHT }]] });
  receiver = await joinBare(browser, { ...common, name: 'receiver' });
});

after(async () => {
  await browser?.close();
  await spillway?.stop();
});

const picture = async () => (await received(receiver)).find((track) => track.kind === 'video');
const lastLayer = () => receiver.evaluate(() => events.filter(({ event }) => event === 'layer').map(({ detail }) => ({ rid: detail.rid, active: detail.active })).pop());
const wish = (wanted) => receiver.evaluate((options) => room.subscribe([...room.participants.values()][0].tracks.keys().next().value, options), wanted);

async function decodes(rid, isHeight, withinMs) {
  let last;
  const settled = async () => {
    last = { ...(await picture()), told: await lastLayer() };
    return last.height && isHeight(last.height) && last.layer === rid && last.told?.rid === rid;
  };
  try {
    await until(settled, 'the layer', withinMs);
  } catch {
    assert.fail(`layer ${rid} did not come within ${withinMs} ms: ${JSON.stringify(last)}`);
  }
  return last.height;
}

test('three layers are announced, lowest first', async () => {
  const layers = await until(() => receiver.evaluate(() => [...room.participants.values()][0]?.tracks.values().next().value?.layers), 'the track', 10_000);
  assert.deepEqual(layers.map(({ rid }) => rid), ['q', 'h', 'f']);
  assert.deepEqual(layers.map(({ height }) => height), [180, 360, 720]);
});

test('without a limit the highest layer comes when bandwidth allows', async () => {
  await decodes('f', (height) => height >= 540, RAMP_WITHIN_MS);
});

test('a low limit brings the low layer', async () => {
  await wish({ maxHeight: 180 });
  await decodes('q', (height) => height <= 180, SWITCH_WITHIN_MS);
});

test('a middle limit brings the middle layer', async () => {
  await wish({ maxHeight: 360 });
  await decodes('h', (height) => height > 180 && height <= 360, SWITCH_WITHIN_MS);
});

test('paused stops the frames, and says so', async () => {
  await wish({ paused: true, maxHeight: 180 });
  await until(async () => (await lastLayer())?.active === false, 'the layer event', SWITCH_WITHIN_MS);
  const before = (await picture()).frames;
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const after = (await picture()).frames;
  assert.ok(after - before <= 2, `${after - before} frames came while paused`);
});

test('lifting the limit brings the highest layer back', async () => {
  await wish({ maxHeight: 0 });
  await decodes('f', (height) => height >= 540, RAMP_WITHIN_MS);
});
