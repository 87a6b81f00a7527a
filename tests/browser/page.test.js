/** The page when something goes wrong, and its use without a mouse. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
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

/** Measured values of this suite, printed as one line of JSON at the end. */
const figures = { suite: 'page' };
after(() => console.log(JSON.stringify(figures)));

/** Runs in the page before its scripts: `opened` has every device that was opened. */
function keepTracks() {
  globalThis.opened = [];
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const stream = await native(constraints);
    globalThis.opened.push(...stream.getTracks());
    return stream;
  };
}

/** A token of the local `up`. */
const token = (...args) => spillway.mint(...args);

const isJoined = (page) => page.evaluate(() => globalThis.spillway?.room?.state === 'connected' && !document.getElementById('call').hidden);
const toasts = (page) => page.evaluate(() => document.getElementById('toasts').innerText);

test('the join form works by keyboard alone and remembers', async () => {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument(keepTracks);
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
  await until(() => page.$eval('#left', (left) => !left.hidden), 'the page that says one left', 5_000);
  assert.match(await page.$eval('#left-title', (title) => title.textContent), /^You left /);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'rejoin');
  const states = await page.evaluate(() => globalThis.opened.map((track) => track.readyState));
  assert.ok(states.length >= 2 && states.every((state) => state === 'ended'), `no device stays on, nor is one opened: ${states}`);
  await page.keyboard.press('Enter');
  await until(() => isJoined(page), 'the call again', 15_000);
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
  const say = (name) => page.evaluate(async (kind) => (await import('/app/words.js')).deviceMessage('camera', new DOMException('x', kind)), name);
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
  // With a host name other than localhost, plain HTTP is not a secure context.
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
  await until(async () => /Connecting again/.test(await banner()), 'the banner', 5_000);
  await spillway.launch();
  await until(async () => /Connected again/.test(await banner()), 'the good news', 15_000);
  await until(async () => (await banner()) === '', 'the banner to go', 5_000);
  await page.close();
});

test('rooms with names of six scripts are six rooms', async () => {
  const names = ['Συμβούλιο', 'Совещание', '会議室', 'غرفة الاجتماع', 'बैठक', 'חדר ישיבות'];
  const pages = [];
  for (const room of names) {
    const page = await browser.newPage();
    await page.goto(`${spillway.url}/?${new URLSearchParams({ room, name: 'Ζωή', autojoin: 1, height: 180 })}`);
    await until(() => isJoined(page), `the call in ${room}`, 20_000);
    pages.push(page);
  }
  const shown = await Promise.all(pages.map((page) => page.$eval('#call-room', (title) => title.textContent)));
  const others = await Promise.all(pages.map((page) => page.evaluate(() => spillway.room.participants.size)));
  Object.assign(figures, { rooms: new Set(shown).size, strangers: others.reduce((sum, count) => sum + count, 0) });
  assert.deepEqual(shown, names);
  assert.deepEqual(others, names.map(() => 0), 'nobody meets strangers');
  await Promise.all(pages.map((page) => page.close()));
});

test('a name that is none is refused in words, and is no other room', async () => {
  const page = await browser.newPage();
  await page.goto(spillway.url);
  await page.waitForSelector('#room', { visible: true });
  await page.$eval('#room', (input) => (input.value = 'a\u202eb'));
  await page.type('#name', 'Zoë');
  await page.click('#join-button');
  await until(() => page.$eval('#join-message', (message) => !message.hidden && /U\+202E/.test(message.textContent)), 'the refusal', 10_000);
  assert.ok(await page.$eval('#call', (call) => call.hidden));
  await page.close();
});

test('after a refused camera the microphone works, and so does whatever is tried again', async () => {
  const page = await browser.newPage();
  await page.goto(spillway.url);
  const outcome = await page.evaluate(async (given) => {
    const { Room } = await import('/spillway.js');
    const room = new Room();
    await room.join(given);
    // Without permissions from the token, the client asks the server.
    room.permissions = { publish: ['camera', 'microphone'], subscribe: true, message: true };
    const tried = [];
    const publish = async (what) => {
      const local = await room.publish(what).catch((error) => error);
      tried.push(local instanceof Error ? `${what}: ${local.name} ${local.code}` : `${what}: published`);
      return local;
    };
    await publish('camera');
    const microphone = await publish('microphone');
    await publish('camera');
    await microphone.unpublish();
    await Promise.all([publish('camera'), publish('microphone')]);
    await room.leave();
    return tried;
  }, await token('--room', 'strict', '--identity', 'mia', '--publish-sources', 'microphone'));
  figures.refused_and_published = outcome;
  assert.deepEqual(outcome, [
    'camera: SpillwayError not_permitted', 'microphone: published', 'camera: SpillwayError not_permitted',
    'camera: SpillwayError not_permitted', 'microphone: published',
  ]);
  await page.close();
});

test('a page of another origin imports the client, which finds the way back by itself', async () => {
  const elsewhere = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>'));
  await new Promise((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
  const outcome = await page.evaluate(async (client, given) => {
    const { LocalTrack, Room, SpillwayError } = await import(client);
    const room = new Room();
    await room.join(given);
    const { state } = room;
    await room.leave();
    return [state, typeof LocalTrack, typeof SpillwayError];
  }, `${spillway.url}/spillway.js`, await token('--room', 'strict', '--identity', 'noa'));
  assert.deepEqual(outcome, ['connected', 'function', 'function']);
  await page.close();
  elsewhere.close();
});

test('with a token that only watches or only speaks, just these controls are there', async () => {
  const controls = (page) => page.evaluate(() => [...document.querySelectorAll('.bar button')].filter((button) => !button.hidden).map((button) => button.id));
  const enter = async (...args) => {
    const page = await browser.newPage();
    await page.evaluateOnNewDocument(keepTracks);
    await page.goto(`${spillway.url}/#token=${await token(...args)}`);
    await until(() => page.$eval('#join-title', (title) => title.textContent === 'Join hall'), 'the invitation', 10_000);
    await page.click('#join-button');
    await until(() => isJoined(page), 'the call', 15_000);
    return page;
  };
  const watcher = await enter('--room', 'hall', '--identity', 'wim', '--no-publish');
  assert.deepEqual(await controls(watcher), ['toggle-stats', 'open-settings', 'leave']);
  assert.deepEqual(await watcher.evaluate(() => globalThis.opened.length), 0, 'no device is opened');
  const speaker = await enter('--room', 'hall', '--identity', 'sam', '--no-subscribe', '--publish-sources', 'microphone');
  await until(() => speaker.evaluate(() => spillway.room.localTracks.filter((track) => track.id).length === 1), 'the microphone', 15_000);
  assert.deepEqual(await controls(speaker), ['toggle-microphone', 'toggle-stats', 'open-settings', 'leave']);
  assert.equal(await speaker.$eval('#copy-link', (button) => button.hidden), true, 'a link without a token would be of no use');
  await watcher.close();
  await speaker.close();
});

test('a smaller camera is not sent smaller still', async () => {
  const [ann, bob] = [await joinPage(browser, { url: spillway.url, room: 'small', name: 'Ann', height: 720 }), await joinPage(browser, { url: spillway.url, room: 'small', name: 'Bob' })];
  await ann.evaluate(async () => {
    const camera = spillway.room.localTracks.find((track) => track.source === 'camera');
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 180 } });
    await camera.replaceTrack(stream.getVideoTracks()[0]);
  });
  const seen = () => bob.evaluate(async () => {
    const [participant] = spillway.room.participants.values();
    const camera = [...participant.tracks.values()].find((track) => track.kind === 'video');
    const stats = await spillway.room.getStats(camera.track);
    return `${stats?.width}x${stats?.height}`;
  });
  await until(async () => (await seen()) === '320x180', 'the picture as it is captured', 20_000);
  figures.replaced_320x180_arrives_as = await seen();
  await ann.close();
  await bob.close();
});

test('while the server is gone the page says what is measured, and offers a way out', async () => {
  const [ann, bob] = [await joinPage(browser, { url: spillway.url, room: 'gone', name: 'Ann' }), await joinPage(browser, { url: spillway.url, room: 'gone', name: 'Bob' })];
  const banner = () => bob.$eval('#banner', (element) => (element.hidden ? '' : element.innerText.replace(/\s+/g, ' ').trim()));
  const arrived = () => bob.evaluate(() => spillway.room.received());
  await until(async () => (await arrived()).frames > 10, 'the picture of the other one', 20_000);
  await spillway.killControl();
  await until(async () => /still arrive/.test(await banner()), 'what still arrives', 15_000);
  const before = await arrived();
  await until(async () => (await arrived()).frames > before.frames, 'more frames', 5_000);
  const whileMediaLives = await banner();
  await spillway.killMedia();
  await until(async () => /No sound and no picture arrive/.test(await banner()), 'that nothing arrives', 10_000);
  const last = await arrived();
  const whileNothingLives = await banner();
  await until(async () => /Try again.*Leave/.test(await banner()), 'the way out', 30_000);
  assert.deepEqual(await arrived(), last, 'and nothing does');
  await bob.click('#banner-retry');
  assert.doesNotMatch(await banner(), /Try again/);
  await spillway.launch();
  await until(async () => /Connected again/.test(await banner()) || (await banner()) === '', 'the call', 30_000);
  Object.assign(figures, { says_while_media_lives: whileMediaLives, says_while_nothing_lives: whileNothingLives });
  await ann.close();
  await bob.close();
});
