/** spillway.js against a simulated server: its messages, and its behaviour after failures. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { FakePeer, FakeSocket, loadPage, sockets } from './rig/client.js';
import { sleep, until } from './rig/wait.js';

let page, Room;
let told, room, socket;

before(async () => {
  globalThis.WebSocket = FakeSocket;
  globalThis.RTCPeerConnection = FakePeer;
  globalThis.RTCRtpReceiver = {};
  page = await loadPage();
  ({ Room } = await page.load('spillway.js'));
});

after(() => page.unload());

const CAMERA = { track: 'TR_camera', kind: 'video', source: 'camera', muted: false, layers: [] };
const BOB = { participant: 'PA_bob', identity: 'bob', name: 'Bob', tracks: [CAMERA] };
const EVENTS = ['statechange', 'participantjoined', 'participantleft', 'trackpublished', 'trackunpublished', 'trackmuted', 'tracksubscribed', 'trackunsubscribed', 'message', 'layer', 'error'];

function joined(fields = {}) {
  return {
    type: 'joined', mode: 'new', room: 'r', participant: 'PA_me', identity: 'me', epoch: 'e1', offset: 7, resume_key: 'k1',
    participants: [BOB], ice_servers: [], limits: {}, ...fields,
  };
}

beforeEach(async () => {
  await room?.leave().catch(() => {});
  sockets.length = 0;
  FakePeer.all.length = 0;
  room = new Room({ url: 'ws://test/v1/signal' });
  told = [];
  for (const name of EVENTS) room.on(name, (detail) => told.push(`${name} ${detail.state ?? detail.track?.track ?? detail.participant?.participant ?? detail.payload ?? detail.error?.message}`));
  const done = room.join('token-1');
  socket = await until(() => sockets[0], 'a socket', 1_000);
  const { id, ...fields } = await socket.heard('join');
  assert.deepEqual(fields, { type: 'join', token: 'token-1', auto_subscribe: true });
  socket.say(joined({ id }));
  await done;
});

after(() => room.leave());

/** Waits until the client has opened its socket number `count`, and returns the `join` that it sends. */
async function comesBack(count = 2) {
  socket = await until(() => sockets[count - 1], 'a new socket', 6_000);
  return socket.heard('join');
}

const event = (offset, fields) => socket.say({ type: 'event', offset, event: fields });
const left = { kind: 'participant_left', participant: 'PA_bob', identity: 'bob', reason: 'left' };
const video = () => Object.assign(new EventTarget(), { kind: 'video', enabled: true, getSettings: () => ({ width: 1280, height: 720 }), stop() {} });

const relay = (number) => [{ urls: ['turn:192.0.2.1:3478?transport=tcp'], username: `${number}:PA_me`, credential: 'c' }];
/** Number of unanswered requests for new credentials. */
const asked = () => socket.sent.filter((message) => message.type === 'ice_servers').length;

const realNow = Date.now;
/** Advances the clock for the rest of a test. */
function pass(t, ms) {
  const before = Date.now;
  Date.now = () => before() + ms;
  t.after(() => (Date.now = realNow));
}

async function publishCamera() {
  const done = room.publish(video(), { source: 'camera' });
  const offer = await socket.heard('offer');
  socket.say({ type: 'answer', id: offer.id, sdp: 'v=0\r\n', tracks: [{ mid: '0', track: 'TR_mine' }] });
  return { offer, local: await done };
}

test('joining tells who is there and what they publish', () => {
  assert.deepEqual(told, ['statechange connecting', 'participantjoined PA_bob', 'trackpublished TR_camera', 'statechange connected']);
  assert.equal(room.participants.get('PA_bob').name, 'Bob');
  assert.equal(room.name, 'r');
});

test('an offer names its m-lines and layers, and the answer gives the id', async () => {
  const { offer, local } = await publishCamera();
  assert.deepEqual(offer.tracks, [{
    mid: '0', kind: 'video', source: 'camera',
    layers: [{ rid: 'q', height: 180 }, { rid: 'h', height: 360 }, { rid: 'f', height: 720 }],
  }]);
  assert.equal(local.id, 'TR_mine');
  await local.mute();
  const mute = await socket.heard('mute');
  assert.deepEqual({ track: mute.track, muted: mute.muted }, { track: 'TR_mine', muted: true });
});

test('offers of the server are answered one at a time, and mids become tracks', async () => {
  socket.say({ type: 'offer', revision: 1, sdp: 'o1', tracks: [{ mid: '0', track: 'TR_camera' }] });
  socket.say({ type: 'offer', revision: 2, sdp: 'o2', tracks: [] });
  const first = await socket.heard('answer');
  assert.deepEqual([first.revision, first.sdp], [1, 'answer to o1']);
  assert.equal(socket.sent.filter((message) => message.type === 'answer').length, 0, 'the second waits for the first');
  assert.ok(room.participants.get('PA_bob').tracks.get('TR_camera').mediaStreamTrack);
  socket.say({ type: 'ok', id: first.id });
  const second = await socket.heard('answer');
  assert.equal(second.revision, 2);
  assert.deepEqual(told.slice(-2), ['tracksubscribed TR_camera', 'trackunsubscribed TR_camera']);
});

test('recovered: missed events are applied in order, peer connections untouched', async () => {
  const { local } = await publishCamera();
  event(8, { kind: 'message', participant: 'PA_bob', identity: 'bob', topic: 't', payload: 'eight' });
  socket.breakDown();
  assert.equal(room.state, 'reconnecting');
  const { id, resume } = await comesBack();
  assert.deepEqual(resume, { participant: 'PA_me', epoch: 'e1', offset: 8, key: 'k1' });
  socket.say(joined({ id, mode: 'recovered', offset: 10, resume_key: 'k2', participants: undefined }));
  await sleep(0); // in a browser, each message is a separate task
  event(8, { kind: 'message', participant: 'PA_bob', identity: 'bob', topic: 't', payload: 'eight again' });
  event(9, { kind: 'private' });
  event(10, left);
  await until(() => room.participants.size === 0, 'Bob to be gone', 1_000);
  assert.equal(room.state, 'connected');
  assert.ok(!told.includes('message eight again'), 'an event known already is not told twice');
  assert.equal(FakePeer.all.length, 1);
  assert.equal(local.id, 'TR_mine');

  socket.breakDown();
  assert.deepEqual((await comesBack(3)).resume, { participant: 'PA_me', epoch: 'e1', offset: 10, key: 'k2' });
});

test('resync: the snapshot is the whole truth, told as differences', async () => {
  await publishCamera();
  socket.breakDown();
  const { id } = await comesBack();
  told.length = 0;
  const eve = { participant: 'PA_eve', identity: 'eve', name: 'Eve', tracks: [] };
  socket.say(joined({ id, mode: 'resync', epoch: 'e2', offset: 3, participants: [{ ...BOB, tracks: [{ ...CAMERA, muted: true }] }, eve] }));
  await until(() => room.state === 'connected', 'the room to be back', 1_000);
  assert.deepEqual(told, ['trackmuted TR_camera', 'participantjoined PA_eve', 'statechange connected']);
  assert.equal(FakePeer.all.length, 1);
  event(4, left);
  assert.equal(room.participants.size, 1);
});

test('new after a break: new peer connections, tracks are published as new ones', async () => {
  await publishCamera();
  socket.breakDown();
  const { id } = await comesBack();
  socket.say(joined({ id, mode: 'new', participant: 'PA_me2', participants: [] }));
  const offer = await socket.heard('offer');
  assert.equal(offer.tracks[0].track, undefined);
  assert.equal(FakePeer.all.length, 2);
  assert.equal(FakePeer.all[0].connectionState, 'closed');
  assert.equal(room.participant, 'PA_me2');
});

test('a gap in the offsets is repaired by coming back, never passed over', async () => {
  event(9, left);
  assert.equal(room.participants.size, 1, 'an event out of order is not applied');
  assert.equal((await comesBack()).resume.offset, 7);
});

test('media lost and ready: both peer connections are new, tracks keep their ids', async () => {
  await publishCamera();
  socket.say({ type: 'offer', revision: 5, sdp: 'o5', tracks: [{ mid: '0', track: 'TR_camera' }] });
  socket.say({ type: 'ok', id: (await socket.heard('answer')).id });
  socket.say({ type: 'media', state: 'lost' });
  assert.equal(room.state, 'media-lost');
  assert.ok(FakePeer.all.every((peer) => peer.connectionState === 'closed'));
  assert.equal(room.participants.get('PA_bob').tracks.get('TR_camera').mediaStreamTrack, null);
  await sleep(50);
  assert.ok(!socket.sent.some((message) => message.type === 'offer'), 'no offer while media is lost');

  socket.say({ type: 'media', state: 'ready' });
  const offer = await socket.heard('offer');
  assert.equal(offer.tracks[0].track, 'TR_mine');
  assert.equal(room.state, 'connected');
  socket.say({ type: 'offer', revision: 1, sdp: 'o1', tracks: [{ mid: '0', track: 'TR_camera' }] });
  assert.equal((await socket.heard('answer')).revision, 1);
  assert.equal(FakePeer.all.length, 4);
});

test('a failed publish connection restarts ICE', async () => {
  await publishCamera();
  const [peer] = FakePeer.all;
  peer.connectionState = 'failed';
  peer.onconnectionstatechange();
  await socket.heard('offer');
  assert.equal(peer.offers[peer.offers.length - 1].iceRestart, true);
});

test('a failed subscribe connection is repaired by coming back, and in the end by joining anew', async () => {
  socket.say({ type: 'offer', revision: 1, sdp: 'o1', tracks: [] });
  socket.say({ type: 'ok', id: (await socket.heard('answer')).id });
  const [peer] = FakePeer.all;
  peer.connectionState = 'failed';
  peer.onconnectionstatechange();
  const { id, resume } = await comesBack();
  assert.equal(resume.participant, 'PA_me');
  socket.say(joined({ id, mode: 'recovered', participants: undefined }));
  const again = await until(() => sockets[2], 'the join anew', 7_000);
  assert.equal((await again.heard('join')).resume, undefined);
});

test('credentials that became old are renewed before a connection is made or ICE restarted', async (t) => {
  socket.say(joined({ mode: 'resync', ice_servers: relay(1), ice_ttl_s: 300 }));
  const { local } = await publishCamera();
  const [publishing] = FakePeer.all;
  assert.deepEqual([publishing.configuration.iceServers, asked()], [relay(1), 0], 'new ones are good enough');

  pass(t, 271_000);
  socket.say({ type: 'offer', revision: 1, sdp: 'o1', tracks: [] });
  const first = await socket.heard('ice_servers');
  assert.equal(FakePeer.all.length, 1, 'the connection waits for the answer');
  socket.say({ type: 'ice_servers', id: first.id, ice_servers: relay(2), ice_ttl_s: 300 });
  socket.say({ type: 'ok', id: (await socket.heard('answer')).id });
  const [, subscribing] = FakePeer.all;
  assert.deepEqual(subscribing.configuration.iceServers, relay(2));
  assert.deepEqual(publishing.configuration.iceServers, relay(1), 'or its next offer would restart ICE');

  pass(t, 271_000);
  await local.unpublish();
  socket.say({ type: 'answer', id: (await socket.heard('offer')).id, sdp: 'v=0\r\n', tracks: [] });
  assert.equal(asked(), 0, 'a connection that stands needs no new ones for another offer');
  publishing.connectionState = 'failed';
  publishing.onconnectionstatechange();
  const second = await socket.heard('ice_servers');
  assert.equal(publishing.offers.length, 2, 'the restart waits for the answer');
  socket.say({ type: 'ice_servers', id: second.id, ice_servers: relay(3), ice_ttl_s: 300 });
  await socket.heard('offer');
  assert.deepEqual(publishing.offers[2], { iceRestart: true, iceServers: relay(3) });
  for (const { configuration } of [publishing, subscribing]) {
    assert.deepEqual(configuration, { bundlePolicy: 'max-bundle', iceServers: relay(3) }, 'all else stays');
  }
});

test('tracks published while credentials are renewed share one offer, and those taken back are not in it', async (t) => {
  socket.say(joined({ mode: 'resync', ice_servers: relay(1), ice_ttl_s: 300 }));
  pass(t, 271_000);
  const takenBack = assert.rejects(room.publish(video(), { source: 'camera' }), { name: 'SpillwayError', code: 'unpublished' });
  const { id } = await socket.heard('ice_servers');
  const leftAlone = assert.rejects(room.publish(video(), { source: 'other' }), { name: 'SpillwayError', code: 'left' });
  await room.localTracks[0].unpublish();
  await takenBack;
  socket.say({ type: 'ice_servers', id, ice_servers: relay(2), ice_ttl_s: 300 });
  const { tracks } = await socket.heard('offer');
  assert.deepEqual(tracks.map(({ source }) => source), ['other']);
  assert.equal(asked(), 0);
  await room.leave();
  await leftAlone;
});

test('who is refused new credentials, or waits too long for them, connects with what there is', async (t) => {
  socket.say(joined({ mode: 'resync', ice_servers: relay(1), ice_ttl_s: 300 }));
  pass(t, 271_000);
  const since = performance.now();
  const published = publishCamera();
  const unanswered = await socket.heard('ice_servers');
  await published;
  const waitedMs = performance.now() - since;
  assert.ok(waitedMs > 2_900 && waitedMs < 6_000, `${waitedMs} ms`);
  assert.deepEqual(FakePeer.all[0].configuration.iceServers, relay(1));

  socket.say({ type: 'error', id: unanswered.id, code: 'too_fast', message: 'too fast', retry: true });
  await sleep(0);
  socket.say({ type: 'offer', revision: 1, sdp: 'o1', tracks: [] });
  const refused = await socket.heard('ice_servers');
  socket.say({ type: 'error', id: refused.id, code: 'too_fast', message: 'too fast', retry: true });
  await socket.heard('answer');
  assert.deepEqual(FakePeer.all[1].configuration.iceServers, relay(1));
  assert.ok(!told.some((line) => line.startsWith('error')), 'nobody is told');
});

test('without relays, or where a server does not say how long they are good, nothing is asked', async (t) => {
  await publishCamera();
  socket.say(joined({ mode: 'resync', ice_servers: relay(1) }));
  pass(t, 86_400_000);
  socket.say({ type: 'offer', revision: 1, sdp: 'o1', tracks: [] });
  await socket.heard('answer');
  assert.deepEqual(FakePeer.all.map(({ configuration }) => configuration.iceServers), [[], relay(1)]);
  assert.equal(asked(), 0);
});

test('an offer that a broken socket swallowed is sent again', async () => {
  const done = room.publish(video(), { source: 'camera' });
  await socket.heard('offer');
  socket.breakDown();
  const { id } = await comesBack();
  socket.say(joined({ id, mode: 'recovered', participants: undefined }));
  const offer = await socket.heard('offer');
  socket.say({ type: 'answer', id: offer.id, sdp: 'v=0\r\n', tracks: [{ mid: '0', track: 'TR_late' }] });
  assert.equal((await done).id, 'TR_late');
});

test('a refused offer rejects the publication and leaves the room', async () => {
  const done = room.publish(video(), { source: 'camera' });
  const offer = await socket.heard('offer');
  socket.say({ type: 'error', id: offer.id, code: 'not_permitted', message: 'canPublish is missing', retry: false });
  await assert.rejects(done, /canPublish is missing/);
  assert.equal(room.state, 'connected');
  assert.equal(room.localTracks.length, 0);
});

test('tracks that are refused together are offered one by one, and none falls with another', async () => {
  const camera = assert.rejects(room.publish(video(), { source: 'camera' }), { name: 'SpillwayError', code: 'not_permitted' });
  const other = room.publish(video(), { source: 'other' });
  const together = await socket.heard('offer');
  assert.deepEqual(together.tracks.map(({ source }) => source), ['camera', 'other']);
  socket.say({ type: 'error', id: together.id, code: 'not_permitted', message: 'no', retry: false });
  const first = await socket.heard('offer');
  assert.deepEqual(first.tracks.map(({ source }) => source), ['camera']);
  socket.say({ type: 'error', id: first.id, code: 'not_permitted', message: 'no', retry: false });
  await camera;
  const second = await socket.heard('offer');
  assert.deepEqual(second.tracks.map(({ source }) => source), ['other']);
  socket.say({ type: 'answer', id: second.id, sdp: 'v=0\r\n', tracks: [{ mid: second.tracks[0].mid, track: 'TR_other' }] });
  assert.equal((await other).id, 'TR_other');
  const again = room.publish(video(), { source: 'camera' });
  const third = await socket.heard('offer');
  assert.deepEqual(third.tracks.map(({ source }) => source), ['other', 'camera']);
  socket.say({ type: 'answer', id: third.id, sdp: 'v=0\r\n', tracks: third.tracks.map(({ mid, source }) => ({ mid, track: `TR_${source}` })) });
  assert.equal((await again).id, 'TR_camera');
});

test('a publication that the call ends before is rejected, not left open', async () => {
  const pending = assert.rejects(room.publish(video(), { source: 'camera' }), { name: 'SpillwayError', code: 'left' });
  await socket.heard('offer');
  await room.leave();
  await pending;
});

test('wrong options, devices and events are errors that name the right one', async () => {
  const wrong = [
    [() => new Room({ uri: 'ws://x' }), /'uri'.*did you mean 'url'/],
    [() => new Room('ws://x'), /are an object, got string/],
    [() => room.on('trackSubscribed', () => {}), /did you mean 'tracksubscribed'/],
    [() => room.on('disconnected', () => {}), /did you mean 'statechange'/],
    [() => room.on('frobnicate', () => {}), /there are statechange/],
    [() => room.on('message'), /no function/],
    [() => room.publish('webcam'), /did you mean 'camera'/],
    [() => room.publish('camera', { maxbitrate: 1 }), /did you mean 'maxBitrate'/],
    [() => room.publish(video(), { source: 'cam' }), /did you mean 'camera'/],
    [() => room.publish(video(), { codec: 'h265' }), /there are vp8, vp9, h264, av1/],
    [() => room.publish(null), /got null/],
    [() => room.subscribe('TR_camera', { max_height: 1 }), /did you mean 'maxHeight'/],
    [() => new Room().join(), /takes a token/],
  ];
  for (const [act, message] of wrong) await assert.rejects(async () => act(), { name: 'SpillwayError', code: 'bad_option', message });
  assert.equal(socket.sent.length, 0);
});

test('what the token does not let is refused before a device is opened', async () => {
  const { permissionsOf } = await page.load('client/permissions.js');
  const token = (videoGrant) => `x.${Buffer.from(JSON.stringify({ sub: 'Ζωή', video: videoGrant })).toString('base64url')}.x`;
  assert.deepEqual(permissionsOf(token({ canPublish: false })), { publish: [], subscribe: true, message: true });
  assert.deepEqual(permissionsOf(token({ canPublishSources: ['microphone', 'screen_share'] })).publish, ['microphone', 'screen']);
  assert.deepEqual(permissionsOf(token({ canSubscribe: false, canPublishData: false, hidden: true })), { publish: [], subscribe: false, message: false });
  assert.equal(permissionsOf('no token').publish.length, 5, 'what cannot be read is for the server to refuse');
  room.permissions = permissionsOf(token({ canPublishSources: ['microphone'] }));
  await assert.rejects(room.publish('camera'), { name: 'SpillwayError', code: 'not_permitted' });
});

test('a capture of another size gets other layers on the same sender', async () => {
  const { encodingsFor, refitted } = await page.load('client/encodings.js');
  const of = (width, height) => encodingsFor({ kind: 'video', source: 'camera', width, height, codec: 'vp8' });
  const small = refitted(of(1280, 720), of(320, 180));
  assert.deepEqual(small.map(({ rid, active, scaleResolutionDownBy }) => [rid, active, scaleResolutionDownBy]), [['q', true, 1], ['h', false, 2], ['f', false, 1]]);
  assert.deepEqual(refitted(small, of(1280, 720)).map(({ active, scaleResolutionDownBy }) => [active, scaleResolutionDownBy]), [[true, 4], [true, 2], [true, 1]]);
});

test('what arrives is counted over all m-lines, and said only where it is measured', async () => {
  const { arrivalMessage, stateMessage } = await page.load('app/words.js');
  const both = { sound: true, picture: true };
  assert.equal(arrivalMessage({ packets: 0, frames: 0 }, both), 'No sound and no picture arrive.');
  assert.equal(arrivalMessage({ packets: 50, frames: 30 }, both), 'Sound and picture of the others still arrive.');
  assert.equal(arrivalMessage({ packets: 50, frames: 0 }, both), 'Sound of the others still arrives, no picture does.');
  assert.equal(arrivalMessage({ packets: 0, frames: 0 }, { sound: false, picture: false }), '');
  assert.doesNotMatch(stateMessage('reconnecting'), /sound|picture/i);
});

test('wishes made while the socket is away are kept and repeated', async () => {
  socket.breakDown();
  await room.subscribe('TR_camera', { maxHeight: 180, priority: 3 });
  const { id } = await comesBack();
  socket.say(joined({ id, mode: 'recovered', participants: undefined }));
  const { tracks } = await socket.heard('subscribe');
  assert.deepEqual(tracks, [{ track: 'TR_camera', paused: false, max_height: 180, priority: 3 }]);
});

test('replaced by another join: closed for good, with the reason', async () => {
  let error;
  room.on('statechange', (change) => (error = change.error));
  socket.breakDown(4409, '');
  assert.equal(room.state, 'closed');
  assert.equal(error.code, 'replaced');
  await sleep(600);
  assert.equal(sockets.length, 1);
});

test('the server says when to come back', async () => {
  socket.say({ type: 'closing', code: 4503, reason: 'restarting', resume: true, after_ms: 400 });
  const since = Date.now();
  socket.breakDown(4503, 'restarting');
  await comesBack();
  assert.ok(Date.now() - since >= 400, `came after ${Date.now() - since} ms`);
});

test('a refused token rejects join; a token function is asked again', async () => {
  const refused = new Room({ url: 'ws://test/' });
  const outcome = assert.rejects(refused.join('bad'), { code: 'token_expired' });
  let other = await until(() => sockets[1], 'a socket', 1_000);
  other.say({ type: 'error', id: (await other.heard('join')).id, code: 'token_expired', message: 'expired', retry: false });
  await outcome;
  assert.equal(refused.state, 'closed');

  let asked = 0;
  const renewed = new Room({ url: 'ws://test/' });
  const done = renewed.join(async () => `token-${++asked}`);
  other = await until(() => sockets[2], 'a socket', 1_000);
  other.say({ type: 'error', id: (await other.heard('join')).id, code: 'token_expired', message: 'expired', retry: false });
  other = await until(() => sockets[3], 'another try', 2_000);
  const again = await other.heard('join');
  assert.equal(again.token, 'token-2');
  other.say(joined({ id: again.id }));
  await done;
  await renewed.leave();
});

test('delays between attempts grow, are bounded and jittered', async () => {
  const { backoffMs } = await page.load('client/connection.js');
  const longest = [0, 1, 2, 3, 4, 50].map((attempt) => backoffMs(attempt, () => 1));
  const shortest = [0, 1, 2, 3, 4, 50].map((attempt) => backoffMs(attempt, () => 0));
  assert.deepEqual(longest, [250, 500, 1000, 2000, 4000, 4000]);
  assert.deepEqual(shortest, longest.map((ms) => ms / 2));
});

test('small captures get fewer layers, screens one', async () => {
  const { encodingsFor, layersOf } = await page.load('client/encodings.js');
  const rids = (width, height, more = {}) => encodingsFor({ kind: 'video', source: 'camera', codec: 'vp8', width, height, ...more }).map((encoding) => encoding.rid);
  assert.deepEqual(rids(1280, 720), ['q', 'h', 'f']);
  assert.deepEqual(rids(640, 480), ['h', 'f']);
  assert.deepEqual(rids(320, 180), [undefined]);
  assert.deepEqual(rids(720, 1280), ['q', 'h', 'f']);
  assert.deepEqual(rids(1280, 720, { codec: 'vp9' }), [undefined]);
  assert.deepEqual(rids(1280, 720, { source: 'screen' }), [undefined]);
  const encodings = encodingsFor({ kind: 'video', source: 'camera', codec: 'vp8', width: 1280, height: 720 });
  assert.ok(encodings.every((encoding, index) => index === 0 || encoding.maxBitrate > encodings[index - 1].maxBitrate));
  assert.equal(layersOf([{}], 720), undefined);
});

test('DTX is asked for in the named m-lines only, and the SDP stays well-formed', async () => {
  const { withOpusDtx } = await page.load('client/encodings.js');
  const section = (mid, format) => `m=audio 9 X 111\r\na=mid:${mid}\r\na=rtpmap:111 opus/48000/2\r\n${format}`;
  const sdp = `v=0\r\n${section('0', 'a=fmtp:111 useinbandfec=1\r\n')}${section('1', '')}${section('2', 'a=fmtp:111 useinbandfec=1\r\n')}`;
  const changed = withOpusDtx(sdp, new Set(['0', '1']));
  assert.equal(changed, `v=0\r\n${section('0', 'a=fmtp:111 useinbandfec=1;usedtx=1\r\n')}${section('1', 'a=fmtp:111 usedtx=1\r\n')}${section('2', 'a=fmtp:111 useinbandfec=1\r\n')}`);
});

test('tiles fill the space they are given', async () => {
  const { arrange, wantedHeight } = await page.load('app/grid.js');
  const space = { width: 1280, height: 620 };
  for (const count of [1, 2, 3, 4, 7, 16, 25]) {
    const { columns, width, height } = arrange(count, space);
    const rows = Math.ceil(count / columns);
    assert.ok(columns * width + (columns - 1) * 10 <= space.width && rows * height + (rows - 1) * 10 <= space.height, `${count} tiles fit`);
  }
  assert.equal(arrange(4, space).columns, 2);
  const crowd = arrange(500, space);
  assert.ok(crowd.width >= 150, 'a crowd scrolls');
  assert.deepEqual([wantedHeight(100), wantedHeight(200), wantedHeight(300, 3), wantedHeight(900)], [180, 360, 720, 0]);
});
