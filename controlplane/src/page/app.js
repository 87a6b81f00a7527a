/**
 * The page: shows the join form, then the call, then the view after the call. It uses the signaling
 * API only through spillway.js.
 */
import { Call } from './app/call.js';
import { JoinView } from './app/join.js';
import { LeftView } from './app/left.js';
import { chosen } from './app/devices.js';
import { placeIcons } from './app/icons.js';
import { insecureMessage, roomMessage } from './app/words.js';
import { ask, givesTokens, tokenOf } from './app/token.js';

const params = new URLSearchParams(location.search);
const givenToken = new URLSearchParams(location.hash.slice(1)).get('token');

placeIcons(document);
if (params.has('height')) chosen.height = Number(params.get('height')) || chosen.height;

const join = new JoinView({
  room: params.get('room') ?? undefined,
  name: params.get('name') ?? undefined,
  token: givenToken ?? undefined,
  onJoin: enter,
});
const left = new LeftView({ onRejoin: () => enter(again), onOther: () => show() });
/** Parameters of the last join. @type {import('./app/join.js').Wish} */
let again = null;

/** The current call, for the console and for tests. */
globalThis.spillway = { call: null, room: null };

// A name of white space only is not a room; then the form is shown.
if (params.get('autojoin') === '1' && params.get('room')?.trim() !== '') await enter(join.wish({ camera: true, microphone: true }));
else await show();

async function show(message = '') {
  document.title = 'Spillway';
  if (!givenToken) givesTokens().then((given) => given || join.askForToken());
  await join.open(message || (globalThis.isSecureContext ? '' : insecureMessage()));
}

/** @param {import('./app/join.js').Wish} wish */
async function enter(wish) {
  const call = new Call(wish, { ended: (error, devices) => leaveTo(wish, devices, error) });
  try {
    await call.start(await tokenSource(wish));
  } catch (error) {
    call.close();
    if (error.code === 'no_demo_tokens') join.askForToken();
    return show(error.code === 'no_demo_tokens' ? '' : roomMessage(error));
  }
  globalThis.spillway = { call, room: call.room };
  join.close();
  const query = new URLSearchParams({ room: call.room.name, ...(params.has('height') ? { height: chosen.height } : {}) });
  history.replaceState(null, '', `?${query}`);
  document.title = `${call.room.name} · Spillway`;
  await call.publishDevices();
}

/** The call closed the devices; they stay closed until the user opens them. */
function leaveTo(wish, devices, error) {
  const { name } = globalThis.spillway.room ?? { name: wish.room };
  globalThis.spillway = { call: null, room: null };
  document.title = 'Spillway';
  again = { ...wish, ...devices, tracks: {} };
  left.open(name, error ? roomMessage(error) : '');
}

/** A token, or a function that returns one, and a new one when the first has expired. */
async function tokenSource(wish) {
  if (wish.token) return tokenOf(wish.token);
  const first = await ask(wish);
  let isFirst = true;
  return async () => {
    if (!isFirst) return ask(wish);
    isFirst = false;
    return first;
  };
}
