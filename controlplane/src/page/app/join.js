/** The form before the call: name, room, and a preview of the camera. */
import { choose, fillSelect, openCamera, openMicrophone, recall, remember } from './devices.js';
import { icon } from './icons.js';
import { newIdentity, readToken, roomName } from './token.js';
import { deviceMessage } from './words.js';

const REMEMBERED = { room: 'spillway.room', name: 'spillway.name' };

/**
 * @typedef {object} Wish
 * @property {string} room
 * @property {string} name
 * @property {string} identity
 * @property {string} token empty: ask the server for one
 * @property {boolean} camera
 * @property {boolean} microphone
 * @property {{camera?: MediaStreamTrack, microphone?: MediaStreamTrack}} tracks already opened for the preview
 */

export class JoinView {
  #view = element('join');
  #onJoin;
  #tracks = {};
  #wanted = { camera: true, microphone: true };
  #meter = null;
  #busy = {};
  #isSent = false;
  #invited = false;

  constructor({ room, name, token, onJoin }) {
    this.#onJoin = onJoin;
    const claims = token ? readToken(token) : {};
    element('room').value = claims.room || room || recall(REMEMBERED.room) || '';
    element('name').value = claims.name || name || recall(REMEMBERED.name) || '';
    element('token').value = token ?? '';
    if (token) this.#invite(claims);
    element('join-form').addEventListener('submit', (event) => this.#submit(event));
    element('token').addEventListener('input', () => {
      this.#print_line('');
      this.#showClaims();
    });
    for (const what of ['camera', 'microphone']) {
      element(`preview-${what}`).addEventListener('click', () => this.#toggle(what));
      element(`preview-${what}-select`).addEventListener('change', ({ target }) => this.#switchTo(what, target.value));
    }
    navigator.mediaDevices?.addEventListener('devicechange', () => !this.#view.hidden && this.#fillSelects());
  }

  async open(message) {
    this.#view.hidden = false;
    this.#print_line(message);
    this.#setBusy(false);
    this.#isSent = false;
    const empty = ['room', 'name'].map(element).find((input) => !input.value && !input.closest('.field').hidden);
    (empty ?? element('join-button')).focus();
    await Promise.all(['camera', 'microphone'].map((what) => this.#wanted[what] && this.#start(what)));
    await this.#fillSelects();
  }

  /** Hides the form. Devices that the call uses stay open. */
  close() {
    this.#view.hidden = true;
    this.#stopMeter();
    element('preview-video').srcObject = null;
  }

  /** The link contains a token: the form has no fields to fill in. */
  #invite({ room, name, publish }) {
    if (!room) return this.askForToken();
    this.#invited = true;
    element('room-field').hidden = true;
    element('name-field').hidden = true;
    element('join-title').textContent = `Join ${room}`;
    const may = ['camera', 'microphone'].filter((what) => publish.includes(what));
    const what = may.length > 0 ? `with your ${may.join(' and ')}` : 'to watch and listen';
    element('join-lead').textContent = `You are invited as ${name}, ${what}.`;
  }

  /** The server issues no tokens: the user must enter one. */
  askForToken() {
    if (this.#invited) return;
    element('token-field').hidden = false;
    element('token-help').hidden = Boolean(readToken(element('token').value).room);
    element('room-field').hidden = true;
    element('name-field').hidden = true;
  }

  /** The values of the form. @returns {Wish} */
  wish(devices) {
    const hasToken = this.#invited || !element('token-field').hidden;
    const token = hasToken ? element('token').value.trim() : '';
    const room = roomName(element('room').value) || 'lobby';
    const name = element('name').value.trim() || 'Guest';
    return { room, name, identity: newIdentity(name), token, tracks: {}, ...devices };
  }

  async #submit(event) {
    event.preventDefault();
    const missing = ['room', 'name', 'token'].map(element).filter((input) => !input.closest('.field').hidden && !input.value.trim());
    for (const id of ['room', 'name', 'token']) element(id).toggleAttribute('aria-invalid', false);
    if (missing.length > 0) {
      missing.forEach((input) => input.setAttribute('aria-invalid', 'true'));
      missing[0].focus();
      return this.#print_line(`Please fill in: ${missing.map((input) => input.closest('.field').textContent.trim().toLowerCase()).join(', ')}.`);
    }
    remember(REMEMBERED.room, element('room').value.trim());
    remember(REMEMBERED.name, element('name').value.trim());
    this.#print_line('');
    this.#setBusy(true);
    this.#isSent = true;
    const wish = this.wish({ ...this.#wanted, tracks: this.#tracks });
    this.#tracks = {};
    this.#stopMeter();
    await this.#onJoin(wish);
  }

  #setBusy(busy) {
    element('join-button').disabled = busy;
    if (busy) element('join-button').textContent = 'Joining…';
    else this.#showClaims();
  }

  #showClaims() {
    const { room, name, publish } = readToken(element('token').value);
    element('token-help').hidden = element('token-field').hidden || Boolean(room);
    for (const what of ['camera', 'microphone']) this.#bar(what, !publish.includes(what));
    element('join-button').textContent = room ? `Join ${room}${name ? ` as ${name}` : ''}` : 'Join';
  }

  #print_line(message) {
    element('join-message').hidden = !message;
    element('join-message').textContent = message;
  }

  /** Devices that the token does not permit are not opened and not shown. */
  #bar(what, isBarred) {
    if (isBarred && this.#tracks[what]) this.#stop(what);
    if (isBarred) this.#wanted[what] = false;
    element(`preview-${what}`).hidden = isBarred;
    element(`preview-${what}-select`).closest('.field').classList.toggle('is-barred', isBarred);
    const mayPublish = ['camera', 'microphone'].some((other) => !element(`preview-${other}`).hidden);
    this.#view.querySelector('.preview').hidden = !mayPublish;
    this.#view.querySelector('.join-body').classList.toggle('is-alone', !mayPublish);
  }

  async #toggle(what) {
    this.#wanted[what] = !this.#tracks[what];
    if (this.#wanted[what]) await this.#start(what);
    else this.#stop(what);
    await this.#fillSelects();
  }

  async #switchTo(what, deviceId) {
    choose(what, deviceId);
    this.#stop(what);
    await this.#start(what);
  }

  async #start(what) {
    if (this.#busy[what] || this.#tracks[what]) return;
    this.#busy[what] = true;
    let problem = '';
    try {
      const track = await (what === 'camera' ? openCamera() : openMicrophone());
      // A device that opens after the form was sent is closed.
      if (this.#view.hidden || this.#isSent) track.stop();
      else this.#tracks[what] = track;
    } catch (error) {
      problem = deviceMessage(what, error);
      this.#wanted[what] = false;
    }
    this.#busy[what] = false;
    this.#show(what, problem);
  }

  #stop(what) {
    this.#tracks[what]?.stop();
    delete this.#tracks[what];
    this.#show(what, '');
  }

  #show(what, problem) {
    const track = this.#tracks[what];
    const button = element(`preview-${what}`);
    button.replaceChildren(icon(track ? what : `${what}-off`));
    button.classList.toggle('is-off', !track);
    button.setAttribute('aria-pressed', String(Boolean(track)));
    if (what === 'camera') {
      element('preview-video').srcObject = track ? new MediaStream([track]) : null;
      this.#view.querySelector('.preview-frame').classList.toggle('has-picture', Boolean(track));
      element('preview-note').textContent = problem || 'Camera is off';
    } else {
      this.#stopMeter();
      if (track) this.#meter = meter(track, element('preview-level'));
      if (problem) this.#print_line(problem);
    }
    button.title = problem;
  }

  #stopMeter() {
    this.#meter?.();
    this.#meter = null;
    element('preview-level').style.setProperty('--level', 0);
  }

  async #fillSelects() {
    await fillSelect(element('preview-camera-select'), 'camera');
    await fillSelect(element('preview-microphone-select'), 'microphone');
  }
}

/** Shows the level of a microphone. @returns {() => void} stops it */
function meter(track, bar) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 512;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    bar.style.setProperty('--level', Math.min(1, Math.sqrt(power) * 5).toFixed(2));
  }, 80);
  return () => {
    clearInterval(timer);
    context.close();
  };
}

function element(id) {
  return document.getElementById(id);
}
