/** Checks the options of an application. Errors name the correct option. */
import { VIDEO_CODECS } from './encodings.js';
import { SpillwayError } from './errors.js';

export const EVENTS = [
  'statechange', 'participantjoined', 'participantleft', 'trackpublished', 'trackunpublished', 'trackmuted', 'tracksubscribed',
  'trackunsubscribed', 'speakers', 'layer', 'message', 'localtrackended', 'error',
];
export const DEVICES = ['camera', 'microphone', 'screen'];
export const ROOM_OPTIONS = ['url', 'autoSubscribe'];
export const PUBLISH_OPTIONS = [
  'source', 'deviceId', 'height', 'codec', 'simulcast', 'maxBitrate', 'audio', 'dtx', 'red', 'muted', 'recapture',
];
export const SOURCES = ['camera', 'microphone', 'screen', 'screen_audio', 'other'];
export const WISHES = ['paused', 'maxHeight', 'priority'];

/** Names of other libraries for the same options. */
const SYNONYMS = {
  uri: 'url', server: 'url', serverurl: 'url', address: 'url', host: 'url',
  webcam: 'camera', video: 'camera', cam: 'camera', mic: 'microphone', audio: 'microphone', screenshare: 'screen', display: 'screen',
  bitrate: 'maxBitrate', videocodec: 'codec', device: 'deviceId', trackadded: 'tracksubscribed', trackremoved: 'trackunsubscribed',
  connected: 'statechange', disconnected: 'statechange', connectionstatechanged: 'statechange', activespeakers: 'speakers',
  activespeakerschanged: 'speakers', datareceived: 'message', participantconnected: 'participantjoined',
  participantdisconnected: 'participantleft', localtrackunpublished: 'localtrackended',
};

/**
 * Throws unless `name` is one of `known`.
 * @param {string} what for the message, such as "event"
 */
export function checkName(what, name, known) {
  if (known.includes(name)) return;
  const near = nearest(String(name), known);
  const hint = near ? `did you mean '${near}'? ` : '';
  throw new SpillwayError('bad_option', `${what} '${String(name)}' is unknown: ${hint}there are ${known.join(', ')}`);
}

/** Throws unless `options` is an object with no names but `known` ones. */
export function checkOptions(what, options, known) {
  if (options === null || typeof options !== 'object') {
    throw new SpillwayError('bad_option', `${what} are an object, got ${options === null ? 'null' : typeof options}`);
  }
  for (const name of Object.keys(options)) checkName(`one of ${what},`, name, known);
}

/** Throws unless `join` accepts the argument. */
export function checkToken(token) {
  if (typeof token === 'function' || (typeof token === 'string' && token)) return;
  const got = token === '' ? 'an empty text' : typeof token;
  throw new SpillwayError('bad_option', `join takes a token or a function that gets one, got ${got}`);
}

/** Throws unless `publish` accepts the arguments. */
export function checkPublish(what, options) {
  checkOptions('the options of publish', options, PUBLISH_OPTIONS);
  if (typeof what === 'string') checkName('device', what, DEVICES);
  else if (what?.kind !== 'audio' && what?.kind !== 'video') {
    throw new SpillwayError('bad_option', `publish takes a MediaStreamTrack or one of ${DEVICES.join(', ')}, got ${what === null ? 'null' : typeof what}`);
  }
  if (options.codec !== undefined) checkName('codec', options.codec, VIDEO_CODECS);
  if (options.source !== undefined) checkName('source', options.source, SOURCES);
}

function nearest(name, known) {
  const plain = (text) => text.toLowerCase().replace(/[^a-z]/g, '');
  const wanted = plain(name);
  const same = known.find((word) => plain(word) === wanted);
  if (same) return same;
  if (known.includes(SYNONYMS[wanted])) return SYNONYMS[wanted];
  const [best] = known.map((word) => [distance(wanted, plain(word)), word]).sort(([a], [b]) => a - b);
  return best && best[0] <= Math.max(1, Math.floor(wanted.length / 3)) ? best[1] : null;
}

/** Levenshtein distance. */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
