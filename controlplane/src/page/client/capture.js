/** Opens cameras, microphones and screens; the browser asks the user for permission. */
import { deviceError } from './errors.js';

/** @param {'camera'|'microphone'} what @returns {Promise<MediaStreamTrack>} rejects with a SpillwayError */
export async function capture(what, options) {
  const constraints = what === 'camera' ? cameraConstraints(options) : microphoneConstraints(options);
  try {
    const stream = await navigator.mediaDevices.getUserMedia(constraints);
    return stream.getTracks()[0];
  } catch (error) {
    throw deviceError(error, what);
  }
}

/** @returns {Promise<MediaStream>} rejects with a SpillwayError */
export async function captureScreen(options) {
  try {
    return await navigator.mediaDevices.getDisplayMedia(screenConstraints(options));
  } catch (error) {
    throw deviceError(error, 'screen');
  }
}

/** Constraints of the capture shortcuts. */
function cameraConstraints({ deviceId, height = 720 } = {}) {
  const size = { width: { ideal: Math.round((height * 16) / 9) }, height: { ideal: height }, frameRate: { ideal: 30, max: 30 } };
  return { video: { ...size, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) } };
}

/** The sound of a screen is not speech: it keeps its channels, without echo cancellation and noise suppression. */
function screenConstraints({ audio = false } = {}) {
  const sound = { channelCount: { ideal: 2 }, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  return { video: true, audio: audio ? sound : false };
}

function microphoneConstraints({ deviceId } = {}) {
  const cleaning = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  return { audio: { ...cleaning, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) } };
}
