/** Which part of the image is seen: a centre and a zoom, shared by all panes. */

const LARGEST_SCALE = 40;
const SMALLEST_OF_FIT = 0.5;

/** The panes' common view. `zoom` is relative to fitting: 1 shows the whole image. */
export class Viewport {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.width = 1;
    this.height = 1;
    this.zoom = 1;
    this.row = 0.5;
    this.column = 0.5;
  }

  /**
   * Show an image of another size, whole.
   * @param {number} width
   * @param {number} height
   */
  reset(width, height) {
    [this.width, this.height] = [width, height];
    this.fit();
  }

  fit() {
    this.zoom = 1;
    [this.row, this.column] = [this.height / 2, this.width / 2];
    this.changed();
  }

  /**
   * Screen pixels an image pixel that fit the image into a pane.
   * @param {{width: number, height: number}} pane
   */
  fitting(pane) {
    return Math.max(1e-3, Math.min(pane.width / this.width, pane.height / this.height) * 0.98);
  }

  /**
   * Screen pixels an image pixel, and where the image's corner is in a pane.
   * @param {{width: number, height: number}} pane
   */
  transform(pane) {
    const scale = this.fitting(pane) * this.zoom;
    return {
      scale,
      x: pane.width / 2 - this.column * scale,
      y: pane.height / 2 - this.row * scale,
    };
  }

  /**
   * Zoom by a factor with one point of a pane held fast.
   * @param {number} factor
   * @param {{width: number, height: number}} pane
   * @param {number} x
   * @param {number} y
   */
  zoomAt(factor, pane, x, y) {
    const before = this.transform(pane);
    const largest = Math.max(1, LARGEST_SCALE / this.fitting(pane));
    this.zoom = Math.min(Math.max(this.zoom * factor, SMALLEST_OF_FIT), largest);
    const { scale } = this.transform(pane);
    this.column = (x - before.x) / before.scale + (pane.width / 2 - x) / scale;
    this.row = (y - before.y) / before.scale + (pane.height / 2 - y) / scale;
    this.bound();
  }

  /**
   * One image pixel on one screen pixel.
   * @param {{width: number, height: number}} pane
   */
  actualSize(pane) {
    this.zoomAt(1 / this.transform(pane).scale / devicePixelRatio, pane, pane.width / 2, pane.height / 2);
  }

  /**
   * @param {number} byX
   * @param {number} byY
   * @param {{width: number, height: number}} pane
   */
  pan(byX, byY, pane) {
    const { scale } = this.transform(pane);
    this.column -= byX / scale;
    this.row -= byY / scale;
    this.bound();
  }

  /**
   * Bring a point into view, with a margin.
   * @param {number} row
   * @param {number} column
   * @param {{width: number, height: number}} pane
   */
  reveal(row, column, pane) {
    const { scale, x, y } = this.transform(pane);
    const margin = 40;
    const [atX, atY] = [x + column * scale, y + row * scale];
    const byX = Math.max(0, margin - atX) - Math.max(0, atX - pane.width + margin);
    const byY = Math.max(0, margin - atY) - Math.max(0, atY - pane.height + margin);
    if ((byX || byY) && this.zoom > 1) this.pan(byX, byY, pane);
  }

  bound() {
    this.column = Math.min(Math.max(this.column, 0), this.width);
    this.row = Math.min(Math.max(this.row, 0), this.height);
    this.changed();
  }
}
