/** Cameras, microphones and speakers: lists them, remembers the choice, opens them. */

const REMEMBERED_AS = 'spillway.devices';
const KINDS = { camera: 'videoinput', microphone: 'audioinput', speaker: 'audiooutput' };
const FALLBACK_LABELS = { camera: 'Camera', microphone: 'Microphone', speaker: 'Speaker' };

/** Device ids by kind, and the requested height of the camera in pixels. */
export const chosen = { camera: '', microphone: '', speaker: '', height: 720, ...remembered() };

export function choose(what, value) {
  chosen[what] = value;
  remember(REMEMBERED_AS, chosen);
}

export const canChooseSpeaker = 'setSinkId' in HTMLMediaElement.prototype;

/** @returns {Promise<MediaStreamTrack>} */
export async function openCamera() {
  const size = { width: { ideal: Math.round((chosen.height * 16) / 9) }, height: { ideal: chosen.height }, frameRate: { ideal: 30, max: 30 } };
  return open('video', 'camera', size);
}

/** @returns {Promise<MediaStreamTrack>} */
export async function openMicrophone() {
  return open('audio', 'microphone', { echoCancellation: true, noiseSuppression: true, autoGainControl: true });
}

async function open(kind, what, wishes) {
  if (!navigator.mediaDevices) throw new DOMException('no devices outside secure contexts', 'SecurityError');
  const ask = async (deviceId) => {
    const stream = await navigator.mediaDevices.getUserMedia({ [kind]: { ...wishes, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) } });
    return stream.getTracks()[0];
  };
  try {
    return await ask(chosen[what]);
  } catch (error) {
    // A remembered device may have been removed; that must not prevent the join.
    if (!chosen[what] || error.name !== 'OverconstrainedError') throw error;
    choose(what, '');
    return ask('');
  }
}

/** Fills a select with the devices of one kind. Hides its row if there is no choice. */
export async function fillSelect(select, what) {
  const row = select.closest('.field') ?? select;
  const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const devices = all.filter((device) => device.kind === KINDS[what]);
  row.hidden = devices.length === 0 || (what === 'speaker' && !canChooseSpeaker);
  select.replaceChildren(
    ...devices.map((device, index) => {
      const label = device.label || `${FALLBACK_LABELS[what]} ${index + 1}`;
      return new Option(label, device.deviceId, false, device.deviceId === chosen[what]);
    }),
  );
}

export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(key, typeof value === 'string' ? value : JSON.stringify(value));
  } catch {
    // If storage is blocked, nothing is remembered.
  }
}

function remembered() {
  try {
    return JSON.parse(recall(REMEMBERED_AS) ?? '{}');
  } catch {
    return {};
  }
}
