/**
 * The line above a call with a problem: describes the problem and the media that still arrives. After some time it
 * offers to retry or to leave.
 */
import { Pulse } from './pulse.js';
import { arrivalMessage, stateMessage } from './words.js';

/** Time for which a solved problem is shown. */
const GOOD_NEWS_MS = 2_500;
/** Time until the user can retry or leave. */
const OFFER_AFTER_MS = 20_000;

export class Banner {
  #room;
  #pulse;
  #timer = 0;
  #box = element('banner');
  #trouble = null;

  /** @param {import('../spillway.js').Room} room @param {AbortSignal} signal removes the listeners of the buttons */
  constructor(room, signal) {
    this.#room = room;
    this.#pulse = new Pulse(room);
    element('banner-retry').addEventListener('click', () => this.#retry(), { signal });
    element('banner-leave').addEventListener('click', () => room.leave(), { signal });
  }

  /** @param {{state: string, previous: string, error?: Error}} change */
  show({ state, previous, error }) {
    const trouble = stateMessage(state, error);
    if (trouble) return this.#print_error(trouble);
    const wasInTrouble = this.#trouble !== null;
    this.close();
    if (state !== 'connected' || !wasInTrouble || previous === 'closed') return;
    element('banner-text').textContent = 'Connected again.';
    this.#box.classList.add('is-good');
    this.#box.hidden = false;
    this.#timer = setTimeout(() => (this.#box.hidden = true), GOOD_NEWS_MS);
  }

  close() {
    clearTimeout(this.#timer);
    this.#pulse.stop();
    this.#trouble = null;
    this.#box.hidden = true;
    element('banner-actions').hidden = true;
  }

  #print_error(trouble) {
    const isNew = this.#trouble === null;
    this.#trouble = trouble;
    this.#box.classList.remove('is-good');
    this.#box.hidden = false;
    if (!isNew) return;
    element('banner-text').textContent = trouble;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (element('banner-actions').hidden = false), OFFER_AFTER_MS);
    this.#pulse.start((beat) => this.#print_line(beat));
  }

  /** Updates the text of the line. Only media of the last second counts as arriving. */
  #print_line(beat) {
    const text = `${this.#trouble} ${arrivalMessage(beat, this.#expected())}`.trim();
    // Screen readers read the line when it changes, not every second.
    if (element('banner-text').textContent !== text) element('banner-text').textContent = text;
  }

  /** Media that other participants publish without mute. */
  #expected() {
    const tracks = [...this.#room.participants.values()].flatMap((participant) => [...participant.tracks.values()]);
    const has = (kind) => tracks.some((track) => track.kind === kind && !track.muted);
    return { sound: has('audio'), picture: has('video') };
  }

  #retry() {
    element('banner-actions').hidden = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (element('banner-actions').hidden = false), OFFER_AFTER_MS);
    this.#room.reconnect();
  }
}

function element(id) {
  return document.getElementById(id);
}
