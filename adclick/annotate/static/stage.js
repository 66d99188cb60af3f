/** The panes: image, residual map and nearest normal image in one view, and what is marked on them. */

import * as masks from "./masks.js";
import { Pyramid } from "./pyramid.js";
import { Viewport } from "./viewport.js";

const MARK_PX = 7;
const MOVED_PX = 8;
const LONG_PRESS_MS = 450;
/** @type {[number, number, number]} */
const MASK = [240, 62, 150];
/** @type {[number, number, number]} */
const OTHERS = [38, 180, 160];
const POSITIVE = "#1f6feb";
const NEGATIVE = "#ffd33d";
const DARK = "rgb(8 12 18 / 75%)";

/** @typedef {{row: number, column: number, positive: boolean, waits: boolean}} Mark */
/** @typedef {masks.Layer} Layer */
/** @typedef {{name: string, element: HTMLElement, picture: HTMLCanvasElement, marks: HTMLCanvasElement, bitmap: ImageBitmap | Pyramid | null, note: HTMLElement | null}} Pane */

export class Stage {
  /**
   * @param {HTMLElement} element
   * @param {object} listener
   * @param {(row: number, column: number, positive: boolean) => void} listener.mark
   * @param {(points: [number, number][], erase: boolean) => void} listener.stroke
   * @param {() => void} listener.viewed
   */
  constructor(element, listener) {
    this.element = element;
    this.listener = listener;
    this.view = new Viewport(() => this.redraw(true));
    /** @type {Pane[]} */
    this.panes = [...element.querySelectorAll(".pane")].map((pane) => ({
      name: /** @type {HTMLElement} */ (pane).dataset.pane ?? "",
      element: /** @type {HTMLElement} */ (pane.querySelector(".glass")),
      picture: /** @type {HTMLCanvasElement} */ (pane.querySelector(".picture")),
      marks: /** @type {HTMLCanvasElement} */ (pane.querySelector(".marks")),
      bitmap: null,
      note: pane.querySelector(".absent"),
    }));
    /** @type {Layer | null} */
    this.current = null;
    /** @type {Layer | null} */
    this.others = null;
    /** @type {Mark[]} */
    this.clicks = [];
    this.width = this.height = 1;
    this.nothing = new masks.Tiles(1, 1);
    this.tool = "click";
    this.radius = 8;
    this.opacity = 0.45;
    this.look = "fill";
    this.locked = true;
    this.panning = false; // the space bar is held
    this.hasPanned = false;
    this.cursor = { row: 0, column: 0, shown: false, keyboard: false };
    /** @type {{points: [number, number][], erase: boolean} | null} */
    this.stroke = null;
    /** @type {Map<number, {x: number, y: number}>} */
    this.touches = new Map();
    this.touched = { time: 0, moved: false, many: false, x: 0, y: 0 };
    /** @type {{x: number, y: number} | null} */
    this.dragged = null;
    this.scheduled = false;
    this.stale = true;
    const sizes = new ResizeObserver(() => this.redraw(true));
    for (const pane of this.panes) {
      sizes.observe(pane.element);
      this.listen(pane);
    }
  }

  get main() {
    return this.panes[0];
  }

  /**
   * A new image: nothing is known of it but its size.
   * @param {number} width
   * @param {number} height
   * @param {number} [side] of the tiles of its masks, where it is large
   */
  reset(width, height, side) {
    [this.width, this.height] = [width, height];
    this.nothing = new masks.Tiles(width, height, side);
    this.current = this.others = this.stroke = null;
    this.clicks = [];
    this.cursor = { row: height >> 1, column: width >> 1, shown: false, keyboard: false };
    for (const pane of this.panes) this.setPicture(pane.name, null);
    this.view.reset(width, height);
  }

  /** @param {string} name @param {ImageBitmap | Pyramid | null} bitmap @param {string} [note] why there is none */
  setPicture(name, bitmap, note = "") {
    const pane = this.panes.find((one) => one.name === name);
    if (!pane) return;
    pane.bitmap = bitmap;
    if (bitmap instanceof Pyramid) bitmap.changed = () => this.redraw(true);
    if (pane.note) pane.note.textContent = note;
    this.redraw(true);
  }

  /** @param {masks.Tiles | null} mask */
  setMask(mask) {
    this.current = mask && new masks.Layer(mask, MASK, this.current);
    this.redraw();
  }

  /** @param {masks.Tiles | null} mask */
  setOthers(mask) {
    this.others = mask && new masks.Layer(mask, OTHERS, this.others);
    this.redraw();
  }

  /** @param {Mark[]} clicks */
  setClicks(clicks) {
    this.clicks = clicks;
    this.redraw();
  }

  // --- drawing ---------------------------------------------------------------------------------

  /** @param {boolean} [everything] pictures too, not only what is marked on them */
  redraw(everything = false) {
    this.stale ||= everything;
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      const { stale } = this;
      this.stale = false;
      for (const pane of this.panes) {
        if (!pane.element.offsetParent) continue;
        if (stale) this.drawPicture(pane);
        this.drawMarks(pane);
      }
      if (stale) this.listener.viewed();
    });
  }

  /**
   * A canvas cleared, as large as its pane, and set to image coordinates.
   * @param {HTMLCanvasElement} target
   * @param {Pane} pane
   */
  prepared(target, pane) {
    const box = this.box(pane);
    const [wide, high] = [Math.round(box.width * devicePixelRatio), Math.round(box.height * devicePixelRatio)];
    if (target.width !== wide || target.height !== high) [target.width, target.height] = [wide, high];
    const context = /** @type {CanvasRenderingContext2D} */ (target.getContext("2d"));
    const { scale, x, y } = this.view.transform(box);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, wide, high);
    const factor = scale * devicePixelRatio;
    context.setTransform(factor, 0, 0, factor, x * devicePixelRatio, y * devicePixelRatio);
    context.imageSmoothingEnabled = factor < 3;
    context.imageSmoothingQuality = "medium";
    return { context, scale, x, y };
  }

  /** @param {Pane} pane */
  drawPicture(pane) {
    const { context, scale, x, y } = this.prepared(pane.picture, pane);
    if (pane === this.main) Object.assign(this.element.dataset, { scale, x, y });
    if (pane.bitmap instanceof Pyramid) {
      const { width, height } = this.box(pane);
      const seen = { left: -x / scale, top: -y / scale, right: (width - x) / scale, bottom: (height - y) / scale };
      pane.bitmap.draw(context, seen, scale * devicePixelRatio);
    } else if (pane.bitmap) {
      context.drawImage(pane.bitmap, 0, 0, this.width, this.height);
    }
  }

  /** @param {Pane} pane */
  drawMarks(pane) {
    const { context, scale } = this.prepared(pane.marks, pane);
    const isMain = pane === this.main;
    for (const layer of [this.others, this.current]) {
      if (layer) this.drawLayer(context, layer, scale, isMain);
    }
    if (this.look !== "hidden") {
      for (const click of this.clicks) drawClick(context, click, scale, isMain);
    }
    this.drawCursor(context, scale, isMain);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Layer} layer
   * @param {number} scale
   * @param {boolean} filled
   */
  drawLayer(context, layer, scale, filled) {
    if (this.look === "hidden") return;
    if (filled && (this.look === "fill" || this.stroke)) {
      context.globalAlpha = this.opacity;
      layer.drawFill(context);
      context.globalAlpha = 1;
    }
    if (this.stroke && layer === this.current) return; // its outline is of before
    const [red, green, blue] = layer === this.current ? MASK : OTHERS;
    context.lineWidth = 3 / scale;
    context.strokeStyle = DARK;
    layer.drawOutline(context);
    context.lineWidth = 1.5 / scale;
    context.strokeStyle = `rgb(${[red, green, blue].map((part) => Math.min(255, part + 70)).join(" ")})`;
    layer.drawOutline(context);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} scale
   * @param {boolean} isMain
   */
  drawCursor(context, scale, isMain) {
    const { row, column, shown, keyboard } = this.cursor;
    if (!shown || (isMain && !keyboard && this.tool === "click")) return;
    const [x, y] = [column + 0.5, row + 0.5];
    const path = new Path2D();
    if (this.tool !== "click") path.arc(x, y, this.radius + 0.5, 0, 7);
    if (this.tool === "click" || keyboard) {
      const [near, far] = [4 / scale, 15 / scale];
      for (const [byX, byY] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        path.moveTo(x + byX * near, y + byY * near);
        path.lineTo(x + byX * far, y + byY * far);
      }
    }
    context.lineWidth = 3.5 / scale;
    context.strokeStyle = DARK;
    context.stroke(path);
    context.lineWidth = 1.5 / scale;
    context.strokeStyle = this.tool === "erase" ? NEGATIVE : "#fff";
    context.stroke(path);
  }

  /** Where a pane is, and its size in whole pixels: as it is drawn. @param {Pane} pane */
  box({ element }) {
    const { left, top } = element.getBoundingClientRect();
    return { left, top, width: element.clientWidth, height: element.clientHeight };
  }

  // --- the hand --------------------------------------------------------------------------------

  /** @param {Pane} pane @param {{clientX: number, clientY: number}} event */
  place(pane, event) {
    const box = this.box(pane);
    const { scale, x, y } = this.view.transform(box);
    return {
      box,
      x: event.clientX - box.left,
      y: event.clientY - box.top,
      row: Math.floor((event.clientY - box.top - y) / scale),
      column: Math.floor((event.clientX - box.left - x) / scale),
    };
  }

  /** @param {number} row @param {number} column */
  isInside(row, column) {
    return row >= 0 && column >= 0 && row < this.height && column < this.width;
  }

  /** @param {Pane} pane */
  listen(pane) {
    const { element } = pane;
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("pointerdown", (event) => this.down(pane, event));
    element.addEventListener("pointermove", (event) => this.moved(pane, event));
    element.addEventListener("pointerup", (event) => this.up(pane, event));
    element.addEventListener("pointercancel", (event) => this.up(pane, event, true));
    element.addEventListener("pointerleave", () => {
      if (!this.cursor.keyboard) this.cursor.shown = false;
      this.redraw();
    });
    const turned = (/** @type {WheelEvent} */ event) => {
      event.preventDefault();
      const { box, x, y } = this.place(pane, event);
      const lines = event.deltaMode === 1 ? 30 : 1;
      const speed = event.ctrlKey ? 0.01 : 0.0016;
      this.view.zoomAt(Math.exp(-event.deltaY * lines * speed), box, x, y);
    };
    element.addEventListener("wheel", turned, { passive: false });
  }

  /** @param {Pane} pane @param {PointerEvent} event */
  down(pane, event) {
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    pane.element.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      if (this.finger(pane, event)) return;
    } else if (event.button === 1 || (event.button === 0 && this.panning)) {
      this.hasPanned = true;
      this.dragged = { x: event.clientX, y: event.clientY };
      return;
    }
    const { row, column } = this.place(pane, event);
    this.cursor = { row, column, shown: true, keyboard: false };
    const negative = event.button === 2 || (event.button === 0 && event.shiftKey);
    if (this.locked || event.button === 1 || !this.isInside(row, column)) return;
    if (this.tool === "click") {
      if (event.pointerType !== "touch") this.listener.mark(row, column, !negative);
    } else {
      this.stroke = { points: [[row, column]], erase: (this.tool === "erase") !== negative };
      this.preview();
    }
  }

  /** A finger more: true when it is no work but a gesture of two. @param {Pane} pane @param {PointerEvent} event */
  finger(pane, event) {
    this.touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.touches.size === 1) {
      const { clientX: x, clientY: y } = event;
      this.touched = { time: performance.now(), moved: false, many: false, x, y };
      return false;
    }
    this.touched.many = true;
    if (this.stroke) {
      this.stroke = null;
      this.setMask(this.current?.mask ?? null);
    }
    return true;
  }

  /** @param {Pane} pane @param {PointerEvent} event */
  moved(pane, event) {
    if (this.touches.size > 1) {
      this.pinch(pane, event);
      return;
    }
    const { box, row, column } = this.place(pane, event);
    if (this.dragged) {
      this.view.pan(event.clientX - this.dragged.x, event.clientY - this.dragged.y, box);
      this.dragged = { x: event.clientX, y: event.clientY };
      return;
    }
    if (this.touches.size) {
      const far = Math.hypot(event.clientX - this.touched.x, event.clientY - this.touched.y);
      this.touched.moved ||= far > MOVED_PX;
    }
    this.cursor = { row, column, shown: true, keyboard: false };
    if (this.stroke) {
      for (const one of event.getCoalescedEvents?.() ?? [event]) {
        const at = this.place(pane, one);
        this.extend(at.row, at.column);
      }
      this.extend(row, column);
    }
    this.redraw();
  }

  /** @param {number} row @param {number} column */
  extend(row, column) {
    if (!this.stroke) return;
    const at = /** @type {[number, number]} */ ([
      Math.min(Math.max(row, 0), this.height - 1),
      Math.min(Math.max(column, 0), this.width - 1),
    ]);
    const last = this.stroke.points[this.stroke.points.length - 1];
    if (last[0] === at[0] && last[1] === at[1]) return;
    this.stroke.points.push(at);
    this.preview();
  }

  /** @param {Pane} pane @param {PointerEvent} event @param {boolean} [cancelled] */
  up(pane, event, cancelled = false) {
    this.dragged = null;
    const wasTouch = this.touches.delete(event.pointerId);
    if (this.stroke) {
      const { points, erase } = this.stroke;
      this.stroke = null;
      if (cancelled) this.setMask(this.current?.mask ?? null);
      else this.finish(points, erase);
    } else if (wasTouch && !cancelled && !this.touched.moved && !this.touched.many && !this.locked) {
      const { row, column } = this.place(pane, event);
      const isLong = performance.now() - this.touched.time > LONG_PRESS_MS;
      if (this.tool === "click" && this.isInside(row, column)) this.listener.mark(row, column, !isLong);
    }
    this.redraw();
  }

  /** @param {Pane} pane @param {PointerEvent} event */
  pinch(pane, event) {
    const before = this.spread();
    this.touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const after = this.spread();
    const { box, x, y } = this.place(pane, { clientX: after.x, clientY: after.y });
    this.view.pan(after.x - before.x, after.y - before.y, box);
    if (before.apart > 0) this.view.zoomAt(after.apart / before.apart, box, x, y);
  }

  /** The middle of two fingers, and how far apart they are. */
  spread() {
    const [one, other] = [...this.touches.values()];
    return {
      x: (one.x + other.x) / 2,
      y: (one.y + other.y) / 2,
      apart: Math.hypot(one.x - other.x, one.y - other.y),
    };
  }

  /** Draw the last piece of the stroke that is being made. */
  preview() {
    if (!this.stroke) return;
    if (!this.current) this.setMask(this.nothing);
    const { points, erase } = this.stroke;
    const [from, to] = [points[Math.max(0, points.length - 2)], points[points.length - 1]];
    this.current?.preview(from, to, this.radius, erase);
    this.redraw();
  }

  /** A stroke is made: shown at once, and told. @param {[number, number][]} points @param {boolean} erase */
  finish(points, erase) {
    this.setMask(masks.painted(this.current?.mask ?? this.nothing, points, this.radius, erase));
    this.listener.stroke(points, erase);
  }

  // --- the keyboard ----------------------------------------------------------------------------

  /** The space bar is down: dragging moves the image. */
  hold() {
    this.panning = true;
    this.hasPanned = false;
    this.element.classList.add("panning");
  }

  /** It is up again: true when nothing was dragged meanwhile. */
  letGo() {
    const tapped = this.panning && !this.hasPanned;
    this.panning = false;
    this.element.classList.remove("panning");
    return tapped;
  }

  /** Move the cross-hair by screen-sized steps. @param {number} down @param {number} right @param {boolean} fast */
  moveCursor(down, right, fast) {
    const box = this.box(this.main);
    const step = Math.max(1, Math.round((fast ? 32 : 4) / this.view.transform(box).scale));
    const { row, column } = this.cursor;
    this.cursor = {
      row: Math.min(Math.max(row + down * step, 0), this.height - 1),
      column: Math.min(Math.max(column + right * step, 0), this.width - 1),
      shown: true,
      keyboard: true,
    };
    this.view.reveal(this.cursor.row, this.cursor.column, box);
    this.redraw();
  }

  /** Mark at the cross-hair, or where the pointer is; a dab with brush or eraser. @param {boolean} positive */
  markHere(positive) {
    const { row, column, shown } = this.cursor;
    if (this.locked || !shown || !this.isInside(row, column)) return false;
    if (this.tool === "click") this.listener.mark(row, column, positive);
    else this.finish([[row, column]], (this.tool === "erase") === positive);
    return true;
  }
}

/**
 * A disc with a plus or a minus: colour is not all that tells them apart.
 * @param {CanvasRenderingContext2D} context
 * @param {Mark} click
 * @param {number} scale
 * @param {boolean} large
 */
function drawClick(context, { row, column, positive, waits }, scale, large) {
  const [x, y] = [column + 0.5, row + 0.5];
  const radius = (large ? MARK_PX : 4) / scale;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = positive ? POSITIVE : NEGATIVE;
  context.globalAlpha = waits ? 0.55 : 1;
  context.fill();
  context.globalAlpha = 1;
  context.lineWidth = 3 / scale;
  context.strokeStyle = DARK;
  context.stroke();
  context.lineWidth = 1.5 / scale;
  context.strokeStyle = "#fff";
  context.setLineDash(waits ? [3 / scale, 3 / scale] : []);
  context.stroke();
  context.setLineDash([]);
  if (!large) return;
  context.beginPath();
  context.moveTo(x - radius / 2, y);
  context.lineTo(x + radius / 2, y);
  if (positive) {
    context.moveTo(x, y - radius / 2);
    context.lineTo(x, y + radius / 2);
  }
  context.lineWidth = 2 / scale;
  context.strokeStyle = positive ? "#fff" : "#1b1f24";
  context.stroke();
}
