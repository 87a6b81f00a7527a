/** Short messages over the page that disappear after some time or with a button. */
import { icon } from './icons.js';

const SHOWN_MS = 9_000;

export function toast(message) {
  const place = document.getElementById('toasts');
  for (const old of place.children) if (old.dataset.message === message) old.remove();
  const box = document.createElement('div');
  box.className = 'toast';
  box.dataset.message = message;
  const text = document.createElement('p');
  text.textContent = message;
  const close = document.createElement('button');
  close.type = 'button';
  close.setAttribute('aria-label', 'Dismiss');
  close.append(icon('close'));
  close.onclick = () => box.remove();
  box.append(icon('warning'), text, close);
  place.append(box);
  setTimeout(() => box.remove(), SHOWN_MS);
}
