/** The call: events of the room update tiles and sounds, buttons call the room's methods. */
import { Room } from '../spillway.js';
import { canChooseSpeaker, choose, chosen, fillSelect, openCamera, openMicrophone } from './devices.js';
import { Floor } from './floor.js';
import { icon } from './icons.js';
import { toast } from './toast.js';
import { Banner } from './banner.js';
import { deviceMessage } from './words.js';

const COPIED_MS = 2_000;

const OPEN = { camera: openCamera, microphone: openMicrophone };

export class Call {
  room = new Room();
  #wish;
  #ended;
  #floor;
  #local = {};
  #busy = new Set();
  #listening = new AbortController();
  #banner;

  /**
   * @param {import('./join.js').Wish} wish
   * @param {{ended: (error: Error | undefined, devices: {camera: boolean, microphone: boolean}) => void}} owner `ended`
   *   says which devices were on
   */
  constructor(wish, { ended }) {
    this.#wish = wish;
    this.#ended = ended;
    this.#floor = new Floor(this.room, wish.name);
    this.#banner = new Banner(this.room, this.#listening.signal);
    this.room.on('statechange', (change) => this.#stateChanged(change));
    this.room.on('localtrackended', ({ track }) => this.#localEnded(track));
    this.room.on('error', ({ error }) => console.warn('spillway:', error.message));
  }

  /** Joins; rejects when the server refuses. @param {string | (() => Promise<string>)} token */
  async start(token) {
    await this.room.join(token);
    element('call-room').textContent = this.room.name;
    element('call').hidden = false;
    this.#floor.open();
    this.#wire();
    for (const what of ['microphone', 'camera', 'screen']) this.#showButton(what);
    this.#showPermissions();
    // For screen readers: the current view.
    element('call-room').focus({ preventScroll: true });
  }

  /** Publishes the chosen devices. If a device is refused, a message is shown and the call continues. */
  async publishDevices() {
    const wanted = ['microphone', 'camera'].filter((what) => this.#wish[what] && this.#mayPublish(what));
    for (const what of Object.keys(this.#wish.tracks)) if (!wanted.includes(what)) this.#wish.tracks[what].stop();
    await Promise.all(wanted.map((what) => this.#publish(what, this.#wish.tracks[what])));
  }

  close() {
    this.#listening.abort();
    this.#banner.close();
    for (const track of Object.values(this.#wish.tracks)) track.stop();
    this.#floor.close();
    element('call').hidden = true;
    if (element('settings').open) element('settings').close();
    this.room.leave();
  }

  // ---- own devices

  async #publish(what, opened) {
    await this.#exclusively(what, async () => {
      const mediaStreamTrack = opened ?? (await OPEN[what]());
      // The call may have ended while the browser asked for permission.
      if (this.room.state === 'closed') return mediaStreamTrack.stop();
      try {
        this.#local[what] = await this.room.publish(mediaStreamTrack, { source: what, recapture: OPEN[what] });
      } catch (error) {
        mediaStreamTrack.stop();
        throw error;
      }
    });
  }

  async #toggle(what) {
    const local = this.#local[what];
    if (!local) return this.#publish(what);
    await this.#exclusively(what, () => (local.muted ? local.unmute() : local.mute()));
  }

  async #toggleScreen() {
    if (this.#local.screen) return this.#stopScreen();
    await this.#exclusively('screen', async () => {
      this.#local.screen = await this.room.publish('screen', { audio: true });
    });
  }

  #stopScreen() {
    const shared = this.room.localTracks.filter((track) => track.source.startsWith('screen'));
    shared.forEach((track) => track.unpublish());
    delete this.#local.screen;
    this.#showButton('screen');
  }

  async #exclusively(what, act) {
    if (this.#busy.has(what)) return;
    this.#busy.add(what);
    this.#showButton(what);
    try {
      await act();
    } catch (error) {
      // The user closed the browser's screen share dialog: not an error.
      const isCancelled = what === 'screen' && error.code === 'device_refused';
      if (!isCancelled && this.room.state !== 'closed') toast(deviceMessage(what, error));
    }
    this.#busy.delete(what);
    this.#showButton(what);
  }

  #mayPublish(what) {
    return this.room.permissions.publish.includes(what);
  }

  /** Hides the buttons of actions that the token does not permit. */
  #showPermissions() {
    const { subscribe } = this.room.permissions;
    element('open-settings').hidden = !this.#mayPublish('camera') && !this.#mayPublish('microphone') && !subscribe;
    for (const what of ['camera', 'microphone']) element(`settings-${what}`).closest('.field').classList.toggle('is-barred', !this.#mayPublish(what));
    element('settings-height').closest('.field').hidden = !this.#mayPublish('camera');
    // A link without a token does not work if the server gives no tokens.
    const canInvite = !this.#wish.token;
    element('copy-link').hidden = !canInvite;
    element('alone').textContent = canInvite
      ? 'You are the only one here. Send the invite link to somebody.'
      : 'You are the only one here.';
    element('watch-note').hidden = subscribe;
  }

  #showButton(what) {
    const button = element(`toggle-${what}`);
    const local = this.#local[what];
    button.disabled = this.#busy.has(what);
    button.hidden = !this.#mayPublish(what);
    if (what === 'screen') {
      button.hidden ||= !navigator.mediaDevices?.getDisplayMedia;
      button.setAttribute('aria-pressed', String(Boolean(local)));
    } else {
      const isOn = Boolean(local && !local.muted);
      button.replaceChildren(icon(isOn ? what : `${what}-off`));
      button.classList.toggle('is-off', !isOn);
      button.setAttribute('aria-label', `${what === 'camera' ? 'Camera' : 'Microphone'}: ${isOn ? 'on' : 'off'}`);
    }
    this.#floor.showSelf(this.#local);
  }

  async #localEnded(track) {
    if (track.source.startsWith('screen')) return this.#stopScreen();
    delete this.#local[track.source];
    await track.unpublish();
    this.#showButton(track.source);
    toast(`Your ${track.source} was disconnected.`);
  }

  // ---- the room's state

  #stateChanged(change) {
    this.#banner.show(change);
    if (change.state !== 'closed' || element('call').hidden) return;
    const isOn = (what) => Boolean(this.#local[what] && !this.#local[what].muted);
    const devices = { camera: isOn('camera'), microphone: isOn('microphone') };
    this.close();
    this.#ended(change.error, devices);
  }

  // ---- buttons

  #wire() {
    const { signal } = this.#listening;
    const click = (id, act) => element(id).addEventListener('click', act, { signal });
    click('toggle-microphone', () => this.#toggle('microphone'));
    click('toggle-camera', () => this.#toggle('camera'));
    click('toggle-screen', () => this.#toggleScreen());
    click('toggle-stats', () => this.#toggleStats());
    click('open-settings', () => this.#openSettings());
    click('copy-link', () => this.#copyLink());
    click('leave', () => this.room.leave());
    document.addEventListener('keydown', (event) => this.#key(event), { signal });
    addEventListener('pagehide', () => this.room.leave(), { signal });
    const change = (id, act) => element(id).addEventListener('change', ({ target }) => act(target.value), { signal });
    change('settings-camera', (id) => this.#switchTo('camera', 'camera', id));
    change('settings-height', (height) => this.#switchTo('camera', 'height', Number(height)));
    change('settings-microphone', (id) => this.#switchTo('microphone', 'microphone', id));
    change('settings-speaker', (id) => {
      choose('speaker', id);
      this.#floor.useSpeaker(id);
    });
    navigator.mediaDevices?.addEventListener('devicechange', () => element('settings').open && this.#fillSettings(), { signal });
  }

  #key(event) {
    const isTyping = event.target.closest('input, select, textarea, dialog');
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key === 'm' && this.#mayPublish('microphone')) this.#toggle('microphone');
    else if (event.key === 'c' && this.#mayPublish('camera')) this.#toggle('camera');
    else if (event.key === 'i') this.#toggleStats();
  }

  #toggleStats() {
    const button = element('toggle-stats');
    const shown = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(shown));
    this.#floor.showStats(shown);
  }

  async #openSettings() {
    await this.#fillSettings();
    element('settings').showModal();
  }

  async #fillSettings() {
    await fillSelect(element('settings-camera'), 'camera');
    await fillSelect(element('settings-microphone'), 'microphone');
    await fillSelect(element('settings-speaker'), 'speaker');
    element('settings-height').value = String(chosen.height);
    if (!canChooseSpeaker) element('settings-speaker').closest('.field').hidden = true;
  }

  async #switchTo(what, setting, value) {
    choose(setting, value);
    const local = this.#local[what];
    if (!local || local.muted) return;
    await this.#exclusively(what, async () => local.replaceTrack(await OPEN[what]()));
  }

  async #copyLink() {
    const link = String(new URL(`?${new URLSearchParams({ room: this.room.name })}`, location.href));
    const text = element('copy-link').querySelector('.text');
    try {
      await navigator.clipboard.writeText(link);
      text.textContent = 'Link copied';
      setTimeout(() => (text.textContent = 'Copy invite link'), COPIED_MS);
    } catch {
      toast(`The browser does not let this page copy. The link is ${link}`);
    }
  }
}

function element(id) {
  return document.getElementById(id);
}
