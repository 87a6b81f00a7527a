/** Cameras, microphones and screens, opened with the browser's question to the user. */
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

/** What is heard of a screen is no voice: it keeps its channels, and is not cleaned. */
function screenConstraints({ audio = false } = {}) {
  const sound = { channelCount: { ideal: 2 }, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  return { video: true, audio: audio ? sound : false };
}

function microphoneConstraints({ deviceId } = {}) {
  const cleaning = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  return { audio: { ...cleaning, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) } };
}
