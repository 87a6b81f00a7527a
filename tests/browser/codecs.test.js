/** Every codec that browsers send is forwarded; RED reaches receivers with and without support for it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from './rig/browsers.js';
import { joinBare, received, seesAndHears } from './rig/people.js';
import { Spillway } from './rig/server.js';
import { sleep } from './rig/wait.js';

let spillway, sender, receiver;

before(async () => {
  spillway = await Spillway.start();
  [sender, receiver] = await Promise.all([launchChromium(), launchChromium()]);
});

after(async () => {
  await Promise.allSettled([sender?.close(), receiver?.close()]);
  await spillway?.stop();
});

/** True if the page's browser can send the codec with this MIME type. */
const sends = (page, kind, mimeType) =>
  page.evaluate(
    (of, wanted) => RTCRtpSender.getCapabilities(of).codecs.some(({ mimeType: type }) => type.toLowerCase() === wanted),
    kind,
    mimeType,
  );

for (const codec of ['vp8', 'vp9', 'h264', 'av1']) {
  test(`${codec} is decoded on the other side`, async (t) => {
    const publish = [['microphone', {}], ['camera', { codec, height: 180 }]];
    const [anna, ben] = await Promise.all([
      joinBare(sender, { url: spillway.url, room: codec, name: 'Anna', publish }),
      joinBare(receiver, { url: spillway.url, room: codec, name: 'Ben' }),
    ]);
    if (!(await sends(anna, 'video', `video/${codec}`))) return t.skip(`this browser sends no ${codec}`);
    await seesAndHears(ben, ['Anna']);
    const video = (await received(ben)).find((track) => track.kind === 'video');
    assert.equal(video.codec.toLowerCase(), `video/${codec}`);
    await Promise.all([anna.close(), ben.close()]);
  });
}

test('redundant audio is passed on and heard', async () => {
  const microphone = (red) => ['microphone', { red }];
  const camera = ['camera', { height: 180 }];
  const [anna, paul, ben] = await Promise.all([
    joinBare(sender, { url: spillway.url, room: 'red', name: 'Anna', publish: [microphone(true), camera] }),
    joinBare(sender, { url: spillway.url, room: 'red', name: 'Paul', publish: [microphone(false), camera] }),
    joinBare(receiver, { url: spillway.url, room: 'red', name: 'Ben' }),
  ]);
  await seesAndHears(ben, ['Anna', 'Paul']);
  // Statistics name the codec inside RED, so the test measures the rate at the receiver.
  await received(ben);
  await sleep(3_000);
  const audio = (await received(ben)).filter((track) => track.kind === 'audio');
  const kbps = (name) => audio.find((track) => track.name === name).kbps;
  assert.ok(kbps('Anna') > 1.4 * kbps('Paul'), `${kbps('Anna')} kbit/s with redundancy, ${kbps('Paul')} without`);
});
