/** One tile of the grid: a participant or a shared screen. Only displays. */
import { icon } from './icons.js';

/** Background colours of the initials. */
const HUES = [200, 168, 258, 24, 320, 96, 224, 46];

export class Tile {
  element = document.createElement('article');
  #picture = document.createElement('div');
  #avatar = document.createElement('div');
  #muted = document.createElement('span');
  #label = document.createElement('span');
  #stats = document.createElement('dl');
  #video = null;

  /** @param {{name: string, isSelf?: boolean, isScreen?: boolean}} who */
  constructor({ name, isSelf = false, isScreen = false }) {
    const text = isScreen ? `${name}, screen` : isSelf ? `${name} (you)` : name;
    this.element.className = 'tile';
    this.element.classList.toggle('is-self', isSelf && !isScreen);
    this.element.classList.toggle('is-screen', isScreen);
    this.element.setAttribute('aria-label', text);
    this.#picture.className = 'picture';
    this.#avatar.className = 'avatar';
    this.#avatar.textContent = initials(name);
    this.#avatar.setAttribute('aria-hidden', 'true');
    this.#avatar.style.setProperty('--hue', HUES[hash(name) % HUES.length]);
    const plate = document.createElement('footer');
    plate.className = 'nameplate';
    this.#muted.className = 'muted';
    this.#muted.append(icon('microphone-off'));
    this.#muted.title = 'Microphone off';
    this.#label.className = 'name';
    this.#label.textContent = text;
    plate.append(this.#muted, this.#label);
    this.#stats.className = 'stats';
    this.#stats.hidden = true;
    this.element.append(this.#avatar, this.#picture, this.#stats, plate);
    this.setMuted(false);
  }

  /** @param {HTMLVideoElement | null} video */
  setVideo(video) {
    if (video === this.#video) return;
    this.#video = video;
    this.#picture.replaceChildren(...(video ? [video] : []));
    this.setPictureShown(video !== null);
  }

  get video() {
    return this.#video;
  }

  setPictureShown(shown) {
    this.element.classList.toggle('has-picture', shown);
  }

  setMuted(muted) {
    this.#muted.hidden = !muted;
  }

  /** @param {number} level 0 to 1; 0 is silent */
  setLevel(level) {
    this.element.classList.toggle('is-speaking', level > 0);
  }

  /** @param {[string, string][] | null} rows */
  setStats(rows) {
    this.#stats.hidden = !rows;
    if (!rows) return;
    this.#stats.replaceChildren(
      ...rows.flatMap(([term, value]) => {
        const dt = document.createElement('dt');
        const dd = document.createElement('dd');
        dt.textContent = term;
        dd.textContent = value;
        return [dt, dd];
      }),
    );
  }
}

function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0]).join('').toUpperCase() || '?';
}

function hash(text) {
  let value = 7;
  for (const character of text) value = (value * 31 + character.codePointAt(0)) >>> 0;
  return value;
}
