/** What the page says and does when things are not as they should be, and without a mouse. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from './rig/browsers.js';
import { joinPage } from './rig/people.js';
import { Spillway } from './rig/server.js';
import { until } from './rig/wait.js';

let spillway, browser;

before(async () => {
  spillway = await Spillway.start();
  browser = await launchChromium();
});

after(async () => {
  await browser?.close();
  await spillway?.stop();
});

const isJoined = (page) => page.evaluate(() => globalThis.spillway?.room?.state === 'connected' && !document.getElementById('call').hidden);
const toasts = (page) => page.evaluate(() => document.getElementById('toasts').innerText);

test('the join form works by keyboard alone and remembers', async () => {
  const page = await browser.newPage();
  await page.goto(spillway.url);
  await until(() => page.evaluate(() => document.activeElement?.id === 'room'), 'the focus to be in the form', 10_000);
  await page.keyboard.press('Enter');
  await until(() => page.$eval('#join-message', (message) => /room, your name/.test(message.textContent)), 'the form to say what is missing', 5_000);
  await page.keyboard.type('Quiet Corner');
  await page.keyboard.press('Tab');
  await page.keyboard.type('Zoë Q.');
  await page.keyboard.press('Enter');
  await until(() => isJoined(page), 'the call', 15_000);
  assert.equal(await page.$eval('#call-room', (title) => title.textContent), 'Quiet Corner');
  assert.ok(await page.$eval('.tile .name', (name) => name.textContent.includes('Zoë Q.')));
  await until(() => page.evaluate(() => spillway.room.localTracks.filter((track) => track.id).length === 2), 'camera and microphone', 15_000);

  await page.keyboard.press('m');
  await until(() => page.$eval('#toggle-microphone', (button) => button.getAttribute('aria-label') === 'Microphone: off'), 'the microphone key', 5_000);
  await page.focus('#leave');
  await page.keyboard.press('Enter');
  await until(() => page.$eval('#join', (join) => !join.hidden), 'the form again', 5_000);
  await page.goto(spillway.url);
  assert.equal(await page.$eval('#name', (input) => input.value), 'Zoë Q.');
  assert.equal(await page.$eval('#room', (input) => input.value), 'Quiet Corner');
  await page.close();
});

test('a refused camera is said in words, and the call goes on without', async () => {
  const strict = await launchChromium({ camera: 'none', args: ['--use-fake-device-for-media-stream', '--deny-permission-prompts'] });
  try {
    const page = await strict.newPage();
    await page.goto(`${spillway.url}/?room=shy&name=Shy&autojoin=1`);
    await until(async () => /does not let this page use your camera/.test(await toasts(page)), 'the message', 15_000);
    assert.ok(await isJoined(page));
    assert.equal(await page.$eval('#toggle-camera', (button) => button.getAttribute('aria-label')), 'Camera: off');
    const seer = await joinPage(browser, { url: spillway.url, room: 'shy', name: 'Seer' });
    await until(() => page.evaluate(() => document.querySelectorAll('video[data-kind=video]').length === 1), 'the picture of the other one', 15_000);
    await seer.close();
  } finally {
    await strict.close();
  }
});

test('a missing or busy device is said in words', async () => {
  const page = await browser.newPage();
  await page.goto(spillway.url);
  const say = (name) => page.evaluate(async (kind) => (await import('/app-words.js')).deviceMessage('camera', new DOMException('x', kind)), name);
  assert.match(await say('NotFoundError'), /No camera was found/);
  assert.match(await say('NotReadableError'), /busy: another program/);
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      throw new DOMException('Could not start video source', 'NotReadableError');
    };
  });
  await page.type('#room', 'busy');
  await page.type('#name', 'Busy');
  await page.$eval('#preview-camera', (button) => button.click());
  await page.$eval('#preview-camera', (button) => button.click());
  await until(() => page.$eval('#preview-note', (note) => /busy: another program/.test(note.textContent)), 'the message in the preview', 5_000);
  await page.close();
});

test('a page outside a secure context says why there is no camera', async () => {
  // A name that is not localhost makes plain HTTP insecure.
  const insecure = await launchChromium({ args: ['--host-resolver-rules=MAP plain.test 127.0.0.1'] });
  try {
    const visitor = await insecure.newPage();
    await visitor.goto(spillway.url.replace('127.0.0.1', 'plain.test'));
    await until(() => visitor.$eval('#join-message', (message) => /HTTPS/.test(message.textContent)), 'the explanation', 10_000);
    await visitor.type('#room', 'plain');
    await visitor.type('#name', 'Plain');
    await visitor.click('#join-button');
    await until(() => isJoined(visitor), 'the call', 15_000);
  } finally {
    await insecure.close();
  }
});

test('a bad token is refused in words', async () => {
  const page = await browser.newPage();
  await page.goto(`${spillway.url}/#token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.AAAA`);
  await until(() => page.$eval('#token-field', (field) => !field.hidden), 'the token field', 10_000);
  await page.click('#join-button');
  await until(() => page.$eval('#join-message', (message) => /does not accept this token/.test(message.textContent)), 'the refusal', 10_000);
  await page.close();
});

test('the invite link is copied', async () => {
  const page = await joinPage(browser, { url: spillway.url, room: 'linked', name: 'Lina' });
  await browser.defaultBrowserContext().overridePermissions(spillway.url, ['clipboard-read', 'clipboard-sanitized-write']);
  await page.bringToFront();
  await page.click('#copy-link');
  await until(() => page.$eval('#copy-link', (button) => /Link copied/.test(button.innerText)), 'the confirmation', 5_000);
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${spillway.url}/?room=linked`);
  await page.close();
});

test('nothing on the page breaks its content security policy', async () => {
  const page = await browser.newPage();
  const complaints = [];
  page.on('console', (message) => /Content Security Policy|Refused to/.test(message.text()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  const reply = await page.goto(`${spillway.url}/?room=strict&name=Strict&autojoin=1`);
  assert.match(reply.headers()['content-security-policy'] ?? '', /script-src 'self';/);
  await until(() => isJoined(page), 'the call', 15_000);
  await page.click('#toggle-stats');
  await until(() => page.evaluate(() => [...document.querySelectorAll('.stats')].some((stats) => /kbit/.test(stats.innerText))), 'numbers', 10_000);
  assert.deepEqual(complaints, []);
  await page.close();
});

test('the banner tells of a broken connection and goes when it is back', async () => {
  const page = await joinPage(browser, { url: spillway.url, room: 'banner', name: 'Bea' });
  const banner = () => page.$eval('#banner', (element) => (element.hidden ? '' : element.textContent));
  assert.equal(await banner(), '');
  await spillway.killControl();
  await until(async () => /Reconnecting/.test(await banner()), 'the banner', 5_000);
  await spillway.launch();
  await until(async () => /Connected again/.test(await banner()), 'the good news', 15_000);
  await until(async () => (await banner()) === '', 'the banner to go', 5_000);
  await page.close();
});
