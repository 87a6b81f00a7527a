/** The control plane is killed during a call: media is not affected. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from './rig/browsers.js';
import { joinPage, seesAndHears, watchPauses, watchStates } from './rig/people.js';
import { Spillway } from './rig/server.js';
import { sleep, until } from './rig/wait.js';

const LONGEST_PAUSE_MS = 1_000;

let spillway, browser, ada, grace, mediaPid;

before(async () => {
  spillway = await Spillway.start();
  mediaPid = await spillway.mediaPid();
  browser = await launchChromium();
  ada = await joinPage(browser, { url: spillway.url, room: 'steady', name: 'Ada' });
  grace = await joinPage(browser, { url: spillway.url, room: 'steady', name: 'Grace' });
  await Promise.all([seesAndHears(ada, ['Grace']), seesAndHears(grace, ['Ada'])]);
});

after(async () => {
  await browser?.close();
  await spillway?.stop();
});

test('media flows on while the control plane is killed and comes back', async () => {
  const people = [ada, grace];
  const ids = await Promise.all(people.map((page) => page.evaluate(() => spillway.room.participant)));
  const pauses = await Promise.all(people.map(watchPauses));
  const states = await Promise.all(people.map(watchStates));
  await sleep(1_000);

  await spillway.killControl();
  await Promise.all(people.map((page) => until(() => page.evaluate(() => !document.getElementById('banner').hidden), 'the banner', 5_000)));
  await sleep(2_000);
  await spillway.launch();
  await Promise.all(people.map((page) => until(() => page.evaluate(() => spillway.room.state === 'connected'), 'the page to be back', 15_000)));
  await sleep(3_000);

  for (const [index, name] of ['Ada', 'Grace'].entries()) {
    const longest = Object.values(await pauses[index]());
    assert.equal(longest.length, 1, `${name} had one remote video all the time: ${longest}`);
    assert.ok(longest[0] <= LONGEST_PAUSE_MS, `${name} saw nothing for ${Math.round(longest[0])} ms`);
    const seen = await states[index]();
    assert.deepEqual(seen, ['reconnecting', 'connected'], `states of ${name}`);
    assert.equal(await people[index].evaluate(() => spillway.room.participant), ids[index], `${name} is the same participant`);
  }
  assert.equal(await spillway.mediaPid(), mediaPid, 'the data plane is the same process');
});

test('somebody new joins the room and all see each other', async () => {
  const linus = await joinPage(browser, { url: spillway.url, room: 'steady', name: 'Linus' });
  await Promise.all([
    seesAndHears(linus, ['Ada', 'Grace']),
    seesAndHears(ada, ['Grace', 'Linus']),
    seesAndHears(grace, ['Ada', 'Linus']),
  ]);
});
