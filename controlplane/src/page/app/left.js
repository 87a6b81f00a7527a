/** The view after the call: the reason of its end, and a button to rejoin. No device is open. */

export class LeftView {
  #view = element('left');
  #onRejoin;
  #onOther;

  /** @param {{onRejoin: () => void, onOther: () => void}} owner */
  constructor({ onRejoin, onOther }) {
    this.#onRejoin = onRejoin;
    this.#onOther = onOther;
    element('rejoin').addEventListener('click', () => this.#go(this.#onRejoin));
    element('other-room').addEventListener('click', () => this.#go(this.#onOther));
  }

  /** @param {string} room @param {string} message reason of the end; empty if the user left */
  open(room, message) {
    element('left-title').textContent = message ? 'The call is over' : `You left ${room}`;
    element('left-message').textContent = message || 'Your camera and microphone are off.';
    element('rejoin').textContent = `Rejoin ${room}`;
    this.#view.hidden = false;
    element('rejoin').focus();
  }

  #go(where) {
    this.#view.hidden = true;
    where();
  }
}

function element(id) {
  return document.getElementById(id);
}
