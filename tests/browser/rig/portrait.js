/** Draws a person for the simulated camera, for the picture in the documentation. */
import { writeFile } from 'node:fs/promises';

const WIDTH = 1280;
const HEIGHT = 720;
const FRAMES = 10;

/**
 * Writes a YUV4MPEG2 file for Chromium's --use-file-for-fake-video-capture.
 * @param {string} path
 * @param {[number, number, number][]} colours RGB of the background's upper left, its lower right, and the person
 */
export async function writePortrait(path, colours) {
  const chunks = [Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F20:1 Ip A1:1 C420jpeg\n`)];
  for (let frame = 0; frame < FRAMES; frame++) chunks.push(Buffer.from('FRAME\n'), paint(frame, colours));
  await writeFile(path, Buffer.concat(chunks));
}

function paint(frame, [from, to, person]) {
  const sway = Math.sin((frame / FRAMES) * 2 * Math.PI) * 6;
  const size = WIDTH * HEIGHT;
  const yuv = Buffer.alloc((size * 3) / 2);
  for (let y = 0; y < HEIGHT; y++) {
    for (let x = 0; x < WIDTH; x++) {
      const head = Math.hypot((x - WIDTH / 2 - sway) / 0.82, y - 290) < 130;
      const shoulders = Math.hypot((x - WIDTH / 2 - sway / 2) / 1.25, y - 790) < 300;
      const [r, g, b] = head || shoulders ? person : mix(from, to, (x / WIDTH + y / HEIGHT) / 2);
      yuv[y * WIDTH + x] = 0.299 * r + 0.587 * g + 0.114 * b;
      if (x % 2 || y % 2) continue;
      const at = size + ((y / 2) * WIDTH) / 2 + x / 2;
      yuv[at] = 128 - 0.169 * r - 0.331 * g + 0.5 * b;
      yuv[at + size / 4] = 128 + 0.5 * r - 0.419 * g - 0.081 * b;
    }
  }
  return yuv;
}

function mix(from, to, share) {
  return from.map((value, index) => value + (to[index] - value) * share);
}
