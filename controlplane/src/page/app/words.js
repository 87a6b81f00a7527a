/** Texts that the page shows when something goes wrong. */

const DEVICE_NAMES = { camera: 'camera', microphone: 'microphone', screen: 'screen' };

const DEVICE_ERRORS = {
  NotAllowedError: (device) =>
    `The browser does not let this page use your ${device}. Allow it with the icon in the address bar, then switch it on again.`,
  SecurityError: (device) => `The browser's settings forbid this page to use your ${device}.`,
  NotFoundError: (device) => `No ${device} was found. Connect one, then switch it on again.`,
  OverconstrainedError: (device) => `The chosen ${device} is not connected any more. Choose another one in the settings.`,
  NotReadableError: (device) => `Your ${device} is busy: another program may be using it. Close that, then switch it on again.`,
  AbortError: (device) => `Your ${device} stopped while it was starting. Try to switch it on again.`,
};

/** @param {'camera'|'microphone'|'screen'} device @param {Error} error */
export function deviceMessage(device, error) {
  const name = DEVICE_NAMES[device];
  if (!globalThis.isSecureContext || !navigator.mediaDevices) return insecureMessage();
  const refusal = error.cause ?? error;
  if (DEVICE_ERRORS[refusal.name]) return DEVICE_ERRORS[refusal.name](name);
  if (error.code === 'not_permitted') return `You may not publish your ${name} in this room.`;
  if (error.code === 'node_full') return `Your ${name} cannot be published now: the media server is full. Try again in a while.`;
  return `Your ${name} could not be published: ${error.message || error.name}.`;
}

export function insecureMessage() {
  return 'This page was not opened over HTTPS, so the browser gives it no camera and no microphone. You can join and watch; to be seen and heard, open it over https:// or on localhost.';
}

const ROOM_ERRORS = {
  unreachable: 'The server does not answer. Check the network connection and try again.',
  timeout: 'The server took too long to answer. Try again.',
  token_invalid: 'The server does not accept this token.',
  token_expired: 'This token has expired. Ask for a new one.',
  token_wrong_room: 'This token is for another room.',
  replaced: 'You joined this room from another tab or device, so this one was disconnected.',
  too_many_participants: 'This room is full.',
  store_unavailable: 'The room cannot be reached right now. Try again in a moment.',
  node_full: 'The media server is full. Try again in a while.',
  media_unavailable: 'The media server is not ready yet. Try again in a moment.',
};

/** @param {Error & {code?: string}} error */
export function roomMessage(error) {
  if (error.code === 'bad_message') return `The server cannot use that: ${error.message}.`;
  return ROOM_ERRORS[error.code] ?? `You were disconnected: ${error.message}.`;
}

/**
 * Text about a problem of the call; null if there is none.
 * @param {import('../spillway.js').RoomState} state
 * @param {Error & {code?: string}} [error]
 */
export function stateMessage(state, error) {
  switch (state) {
    case 'reconnecting':
      return 'The connection to the server broke. Connecting again.';
    case 'media-lost':
      if (error?.code === 'node_full') return 'The media server is full. You are in the room, and will see and hear the others as soon as there is space.';
      return 'The media server is away. Waiting for it to come back.';
    default:
      return null;
  }
}

/**
 * Text about the media of other participants that arrived in the last second, or did not arrive although it was
 * expected; empty if none is expected.
 * @param {import('./pulse.js').Beat} beat
 * @param {{sound: boolean, picture: boolean}} expected
 */
export function arrivalMessage({ packets, frames }, { sound, picture }) {
  const arrives = [sound && packets > 0 && 'sound', picture && frames > 0 && 'picture'].filter(Boolean);
  const missing = [sound && packets === 0 && 'sound', picture && frames === 0 && 'picture'].filter(Boolean);
  if (arrives.length === 0 && missing.length === 0) return '';
  if (missing.length === 0) return `${capital(arrives.join(' and '))} of the others still ${arrives.length > 1 ? 'arrive' : 'arrives'}.`;
  if (arrives.length === 0) return `No ${missing.join(' and no ')} ${missing.length > 1 ? 'arrive' : 'arrives'}.`;
  return `${capital(arrives[0])} of the others still arrives, no ${missing[0]} does.`;
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
