/** Generates sound for the simulated microphone that a voice detector classifies as speech. */
import { writeFile } from 'node:fs/promises';

const RATE = 48_000;
const SECONDS = 4;
/** Formants of an open vowel: centre frequency and bandwidth in Hz. */
const FORMANTS = [[700, 110], [1_220, 120], [2_600, 160]];
const SYLLABLES_PER_SECOND = 4;

/** Writes a WAV file for Chromium's --use-file-for-fake-audio-capture, which plays it in a loop. */
export async function writeVoice(path) {
  const samples = Buffer.alloc(RATE * SECONDS * 2);
  let phase = 0;
  for (let index = 0; index < RATE * SECONDS; index++) {
    const timeS = index / RATE;
    const pitch = 130 + 25 * Math.sin(2 * Math.PI * 0.75 * timeS);
    phase += (2 * Math.PI * pitch) / RATE;
    const syllable = 0.15 + 0.85 * Math.abs(Math.sin(Math.PI * SYLLABLES_PER_SECOND * timeS));
    samples.writeInt16LE(Math.round(9_000 * syllable * vowel(phase, pitch)), index * 2);
  }
  await writeFile(path, Buffer.concat([header(samples.length), samples]));
}

function vowel(phase, pitch) {
  let sum = 0;
  for (let harmonic = 1; harmonic * pitch < 4_000; harmonic++) {
    const near = ([centre, width]) => 1 / (1 + ((harmonic * pitch - centre) / width) ** 2);
    sum += Math.sin(harmonic * phase) * FORMANTS.reduce((total, formant) => total + near(formant), 0.02);
  }
  return Math.tanh(sum / 2);
}

function header(bytes) {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + bytes, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20); // PCM
  head.writeUInt16LE(1, 22); // mono
  head.writeUInt32LE(RATE, 24);
  head.writeUInt32LE(RATE * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(bytes, 40);
  return head;
}
