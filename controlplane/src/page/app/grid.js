/** Layout of the tiles: as large as the space permits, or around a shared screen. */

const GAP_PX = 10;
const LANDSCAPE = 16 / 9;
const SQUARE = 1;
/** Minimum width: below it the tiles scroll. */
const MIN_WIDTH_PX = 150;
/** Heights in which pictures are requested, in pixels. Larger tiles request full resolution. */
const HEIGHT_STEPS_PX = [180, 360, 720];

/**
 * The arrangement with the largest tiles.
 * @param {number} count tiles
 * @param {{width: number, height: number}} space pixels
 * @param {number} [ratio] of a tile, width to height; default by the form of the space
 * @returns {{columns: number, width: number, height: number}} of one tile, pixels
 */
export function arrange(count, { width, height }, ratio = width < height * 0.85 ? SQUARE : LANDSCAPE) {
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(count / columns);
    const byWidth = (width - GAP_PX * (columns - 1)) / columns;
    const byHeight = ((height - GAP_PX * (rows - 1)) / rows) * ratio;
    const tileWidth = Math.floor(Math.min(byWidth, byHeight));
    if (tileWidth > best.width) best = { columns, width: tileWidth, height: Math.floor(tileWidth / ratio) };
  }
  if (best.width >= MIN_WIDTH_PX) return best;
  const columns = Math.max(1, Math.floor((width + GAP_PX) / (MIN_WIDTH_PX + GAP_PX)));
  const tileWidth = Math.floor((width - GAP_PX * (columns - 1)) / columns);
  return { columns, width: tileWidth, height: Math.floor(tileWidth / ratio) };
}

/** The `maxHeight` for a tile of this height; 0: no limit. */
export function wantedHeight(tileHeightPx, pixelRatio = 1) {
  return HEIGHT_STEPS_PX.find((step) => tileHeightPx * Math.min(pixelRatio, 2) <= step) ?? 0;
}

export class Grid {
  #stage;
  #tiles;
  #resized;
  #queued = false;
  #observer = new ResizeObserver(() => this.layout());

  /** @param {HTMLElement} stage for shared screens @param {HTMLElement} tiles for people @param {() => void} resized */
  constructor(stage, tiles, resized) {
    this.#stage = stage;
    this.#tiles = tiles;
    this.#resized = resized;
    this.#observer.observe(tiles);
  }

  add(tile, { isScreen = false, first = false } = {}) {
    if (isScreen) this.#stage.append(tile.element);
    else if (first) this.#tiles.prepend(tile.element);
    else this.#tiles.append(tile.element);
    this.layout();
  }

  remove(tile) {
    tile.element.remove();
    this.layout();
  }

  close() {
    this.#observer.disconnect();
  }

  layout() {
    if (this.#queued) return;
    this.#queued = true;
    queueMicrotask(() => {
      this.#queued = false;
      this.#apply();
    });
  }

  #apply() {
    const screens = this.#stage.childElementCount;
    this.#stage.hidden = screens === 0;
    this.#stage.parentElement.classList.toggle('has-stage', screens > 0);
    const { clientWidth, clientHeight } = this.#tiles;
    if (clientWidth === 0) return;
    const space = { width: clientWidth, height: clientHeight };
    const ratio = screens > 0 ? LANDSCAPE : undefined;
    const { width, height } = arrange(this.#tiles.childElementCount, space, ratio);
    this.#tiles.style.setProperty('--tile-width', `${width}px`);
    this.#tiles.style.setProperty('--tile-height', `${height}px`);
    this.#resized();
  }
}
