/**
 * Settings of cameras and encoders: capture sizes, simulcast layers, codec order.
 * The functions depend only on their arguments and on the capabilities that the browser reports.
 */

/** Bits per second of a camera at full size, by its minimum height. */
const CAMERA_BITRATES = [
  [1080, 3_000_000],
  [720, 1_700_000],
  [480, 900_000],
  [360, 600_000],
  [240, 300_000],
  [0, 150_000],
];
const SCREEN_BITRATE = 2_500_000;
const SCREEN_MAX_FPS = 15;
const MICROPHONE_BITRATE = 32_000;
const SCREEN_AUDIO_BITRATE = 96_000;

/** Minimum lengths of the longer side for three and for two layers: libwebrtc drops further layers of smaller media. */
const THREE_LAYERS_FROM_PX = 960;
const TWO_LAYERS_FROM_PX = 480;

/** Lowest first, as the protocol requires. */
const LAYERS = [
  { rid: 'q', scaleResolutionDownBy: 4 },
  { rid: 'h', scaleResolutionDownBy: 2 },
  { rid: 'f', scaleResolutionDownBy: 1 },
];

/** Codecs whose simulcast some browsers do not support. They get one layer by default. */
const SINGLE_BY_DEFAULT = new Set(['vp9', 'av1']);

const MIME_TYPES = { vp8: 'video/vp8', vp9: 'video/vp9', h264: 'video/h264', av1: 'video/av1' };

/** Possible values of `codec`. */
export const VIDEO_CODECS = Object.keys(MIME_TYPES);

/** @param {number} height pixels */
export function cameraBitrate(height) {
  return CAMERA_BITRATES.find(([from]) => height >= from)[1];
}

/**
 * @param {{kind: string, source: string, width: number, height: number, codec: string, simulcast?: boolean,
 *   maxBitrate?: number}} what sizes in pixels, bitrate in bit/s
 * @returns {RTCRtpEncodingParameters[]}
 */
export function encodingsFor({ kind, source, width, height, codec, simulcast, maxBitrate }) {
  if (kind === 'audio') {
    return [{ maxBitrate: maxBitrate ?? (source === 'screen_audio' ? SCREEN_AUDIO_BITRATE : MICROPHONE_BITRATE) }];
  }
  if (source === 'screen') return [{ maxBitrate: maxBitrate ?? SCREEN_BITRATE, maxFramerate: SCREEN_MAX_FPS }];
  const longSide = Math.max(width, height);
  const shortSide = Math.min(width, height);
  const wanted = simulcast ?? !SINGLE_BY_DEFAULT.has(codec);
  const count = !wanted ? 1 : longSide >= THREE_LAYERS_FROM_PX ? 3 : longSide >= TWO_LAYERS_FROM_PX ? 2 : 1;
  const full = maxBitrate ?? cameraBitrate(shortSide);
  if (count === 1) return [{ maxBitrate: full }];
  return LAYERS.slice(-count).map((layer) => {
    const scaled = cameraBitrate(shortSide / layer.scaleResolutionDownBy);
    const encoding = { ...layer, active: true, maxBitrate: layer.rid === 'f' ? full : Math.min(full, scaled) };
    // Without its own mode for each layer, libwebrtc turns VP9 and AV1 simulcast into SVC.
    return SINGLE_BY_DEFAULT.has(codec) ? { ...encoding, scalabilityMode: 'L1T1' } : encoding;
  });
}

/**
 * The layers of an existing sender for another capture size. Layers can be scaled and deactivated, but their number
 * cannot change. If the new size needs fewer layers, the last ones are deactivated.
 * @param {RTCRtpEncodingParameters[]} encodings current layers of the sender
 * @param {RTCRtpEncodingParameters[]} wanted layers of a new sender for the new size
 */
export function refitted(encodings, wanted) {
  return encodings.map((encoding, index) => {
    const fit = wanted[index];
    if (!fit) return { ...encoding, active: false };
    const { scaleResolutionDownBy = 1, maxBitrate } = fit;
    return { ...encoding, active: true, scaleResolutionDownBy, maxBitrate };
  });
}

/**
 * The `layers` of an offer: rids with the height they have at full capture size.
 * @param {RTCRtpEncodingParameters[]} encodings
 * @param {number} height of the capture, pixels
 */
export function layersOf(encodings, height) {
  if (encodings.length < 2) return undefined;
  const heightOf = ({ active = true, scaleResolutionDownBy = 1 }) => (active ? Math.round(height / scaleResolutionDownBy) : 0);
  return encodings.map((encoding) => ({ rid: encoding.rid, height: heightOf(encoding) }));
}

/** Moves the preferred codec to the front and keeps the others as alternatives. */
export function preferVideoCodec(transceiver, codec) {
  const all = RTCRtpReceiver.getCapabilities?.('video')?.codecs;
  if (!all || !transceiver.setCodecPreferences) return;
  const wanted = all.filter((entry) => entry.mimeType.toLowerCase() === MIME_TYPES[codec]);
  if (wanted.length === 0) return;
  setPreferences(transceiver, [...wanted, ...all.filter((entry) => !wanted.includes(entry))]);
}

/**
 * Puts RED (RFC 2198) first if it is wanted: each audio packet repeats the previous one. Otherwise removes RED: an
 * answer may have another order than the offer, and a receiver without RED (Firefox) would hear nothing.
 */
export function chooseRed(transceiver, wanted) {
  const all = RTCRtpReceiver.getCapabilities?.('audio')?.codecs ?? [];
  const isRed = (entry) => entry.mimeType.toLowerCase() === 'audio/red';
  const others = all.filter((entry) => !isRed(entry));
  if (others.length === all.length) return;
  setPreferences(transceiver, wanted ? [...all.filter(isRed), ...others] : others);
}

function setPreferences(transceiver, codecs) {
  try {
    transceiver.setCodecPreferences(codecs);
  } catch {
    // The codec is only a preference: without support the browser's own order stays.
  }
}

/**
 * Enables Opus DTX, with which the encoder sends almost no packets during silence. The sender reads it from the answer.
 * @param {string} sdp an answer
 * @param {Set<string>} mids m-lines to change
 */
export function withOpusDtx(sdp, mids) {
  return withOpusParameter(sdp, mids, 'usedtx=1');
}

/**
 * Sets two Opus channels (RFC 7587 section 6.1): `sprop-stereo` for sent audio, `stereo` for received audio.
 * @param {string} sdp an offer or an answer
 * @param {Set<string>} mids m-lines to change
 */
export function withStereo(sdp, mids) {
  return withOpusParameter(withOpusParameter(sdp, mids, 'stereo=1'), mids, 'sprop-stereo=1');
}

/**
 * Sets `stereo` in the answer for each m-line whose offer has two channels: a browser decodes as many channels as its
 * own answer requests.
 * @param {string} answer
 * @param {string} offer
 */
export function withOfferedStereo(answer, offer) {
  const stereo = sections(offer).filter((section) => /^a=fmtp:.*\bsprop-stereo=1\b/m.test(section));
  return withOpusParameter(answer, new Set(stereo.map(midOf)), 'stereo=1');
}

const sections = (sdp) => sdp.split(/(?=^m=)/m);
const midOf = (section) => /^a=mid:(\S+)/m.exec(section)?.[1];

function withOpusParameter(sdp, mids, parameter) {
  const change = (section) => {
    const opus = /^a=rtpmap:(\d+) opus\//im.exec(section)?.[1];
    if (!opus || !mids.has(midOf(section))) return section;
    const format = new RegExp(`^a=fmtp:${opus} .*$`, 'm');
    const has = (line) => line.split(/[ ;]+/).includes(parameter);
    const name = parameter.split('=')[0];
    const others = (line) => line.replace(new RegExp(`([ ;])${name}=[^;]*(;|$)`), '$1').replace(/;$/, '');
    if (!format.test(section)) return section.replace(/^(a=rtpmap:\d+ opus\/.*)$/im, (line) => `${line}\r\na=fmtp:${opus} ${parameter}`);
    return section.replace(format, (line) => (has(line) ? line : `${others(line)};${parameter}`));
  };
  return sections(sdp).map(change).join('');
}
