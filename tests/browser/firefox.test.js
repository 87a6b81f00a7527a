/** A call between Chromium and Firefox. */
import { after, before, test } from 'node:test';
import { launchChromium, launchFirefox } from './rig/browsers.js';
import { joinPage, seesAndHears } from './rig/people.js';
import { Spillway, hostAddresses } from './rig/server.js';

let spillway, chromium, firefox, cora, fiona;

before(async () => {
  // Firefox gathers no loopback candidates if there are others, and pairs loopback only with
  // loopback.
  spillway = await Spillway.start({ advertise: ['127.0.0.1', ...hostAddresses()] });
  [chromium, firefox] = await Promise.all([launchChromium(), launchFirefox()]);
  [cora, fiona] = await Promise.all([
    joinPage(chromium, { url: spillway.url, room: 'mixed', name: 'Cora' }),
    joinPage(firefox, { url: spillway.url, room: 'mixed', name: 'Fiona' }),
  ]);
});

after(async () => {
  await Promise.allSettled([chromium?.close(), firefox?.close()]);
  await spillway?.stop();
});

test('Chromium sees and hears Firefox', () => seesAndHears(cora, ['Fiona']));

test('Firefox sees and hears Chromium', () => seesAndHears(fiona, ['Cora']));

test('Firefox renegotiates when somebody else comes', async () => {
  const carl = await joinPage(chromium, { url: spillway.url, room: 'mixed', name: 'Carl', height: 180 });
  await Promise.all([seesAndHears(fiona, ['Cora', 'Carl']), seesAndHears(carl, ['Cora', 'Fiona'])]);
});
