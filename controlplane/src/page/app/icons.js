/** The page's icons: 24 px strokes in the colour of the text. */

const PATHS = {
  microphone: '<rect x="9" y="3" width="6" height="11" rx="3"/><path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3"/>',
  'microphone-off': '<path d="M9 9.5V11a3 3 0 0 0 4.6 2.5M15 11V6a3 3 0 0 0-5.6-1.5M5.5 11.5a6.5 6.5 0 0 0 10.2 5.3M18.5 11.5c0 .9-.2 1.7-.5 2.5M12 18v3M4 3.5l16 17"/>',
  camera: '<rect x="3" y="6.5" width="12" height="11" rx="2.5"/><path d="m15 10.5 5.2-3a.5.5 0 0 1 .8.4v8.2a.5.5 0 0 1-.8.4l-5.2-3"/>',
  'camera-off': '<path d="M8.5 6.5h4A2.5 2.5 0 0 1 15 9v1.5l5.2-3a.5.5 0 0 1 .8.4v8.2a.5.5 0 0 1-.8.4M15 15a2.5 2.5 0 0 1-2.5 2.5h-7A2.5 2.5 0 0 1 3 15V9c0-1 .6-1.9 1.5-2.3M4 3.5l16 17"/>',
  screen: '<rect x="3" y="4.5" width="18" height="12" rx="2"/><path d="M8.5 20h7M12 13.5V8m-2.5 2.3L12 7.8l2.5 2.5"/>',
  stats: '<path d="M4 20h16M7 16.5v-4M12 16.5v-10M17 16.5v-7"/>',
  settings: '<path d="M4 7h9M17 7h3M4 17h3M11 17h9"/><circle cx="15" cy="7" r="2"/><circle cx="9" cy="17" r="2"/>',
  link: '<path d="M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1"/>',
  leave: '<path d="M3.5 14.8c-.9-3.3 3.6-6.3 8.5-6.3s9.4 3 8.5 6.3c-.2.9-1 1.4-1.9 1.2l-2.3-.5c-.7-.2-1.3-.8-1.3-1.5v-1.5a10 10 0 0 0-6 0V14c0 .7-.6 1.3-1.3 1.5l-2.3.5c-.9.2-1.7-.3-1.9-1.2Z"/>',
  people: '<circle cx="9" cy="8.5" r="3.5"/><path d="M2.5 19.5a6.5 6.5 0 0 1 13 0M16 5.3a3.5 3.5 0 0 1 0 6.4M18 14a6.5 6.5 0 0 1 3.5 5.5"/>',
  check: '<path d="m5 12.5 4.5 4.5L19 7.5"/>',
  warning: '<path d="M12 4 2.8 19.5h18.4L12 4ZM12 10v4.5M12 17v.1"/>',
  close: '<path d="m6 6 12 12M18 6 6 18"/>',
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  const template = document.createElement('template');
  template.innerHTML =
    `<svg class="icon" viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" ` +
    `stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${PATHS[name]}</svg>`;
  return template.content.firstChild;
}

/** Fills every `data-icon` element below `root`. */
export function placeIcons(root) {
  for (const place of root.querySelectorAll('[data-icon]')) place.replaceChildren(icon(place.dataset.icon));
}
