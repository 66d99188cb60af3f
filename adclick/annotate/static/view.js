// Panes that show pictures of one image under one transform: zoomed and panned together.

const CLICK_RADIUS = 6;
const COLOURS = { defect: "#4c9dff", normal: "#ffd23f" };

export class View {
  constructor() {
    this.panes = [];
    this.width = this.height = 1;
    this.scale = 1;
    this.left = this.top = 0; // where the image's corner lies in the first pane, CSS pixels
    this.fitted = true;
    this.overlay = { opacity: 0.45, outline: false, hidden: false, mask: null, others: null };
    this.clicks = [];
    this.cursor = null; // the keyboard's cross-hair, {row, column}
    this.brush = null; // {row, column, radius}
    this.stroke = null; // points of a stroke that is being drawn
    this.waiting = false;
  }

  add(canvas, main = false) {
    const pane = { canvas, main, picture: null };
    this.panes.push(pane);
    new ResizeObserver(() => {
      if (pane.main && this.fitted) this.fit();
      this.draw();
    }).observe(canvas.parentElement);
    return pane;
  }

  show(width, height) {
    const same = width === this.width && height === this.height && !this.fitted;
    this.width = width;
    this.height = height;
    if (!same) this.fit();
  }

  get main() {
    return this.panes[0].canvas;
  }

  fit() {
    const { clientWidth, clientHeight } = this.main;
    this.scale = Math.min(clientWidth / this.width, clientHeight / this.height) || 1;
    this.left = (clientWidth - this.width * this.scale) / 2;
    this.top = (clientHeight - this.height * this.scale) / 2;
    this.fitted = true;
    this.draw();
  }

  /** Zoom by a factor with a place of the first pane (CSS pixels) kept where it is. */
  zoom(factor, x = this.main.clientWidth / 2, y = this.main.clientHeight / 2) {
    const wanted = Math.min(Math.max(this.scale * factor, 0.02), 64);
    const ratio = wanted / this.scale;
    this.left = x - (x - this.left) * ratio;
    this.top = y - (y - this.top) * ratio;
    this.scale = wanted;
    this.fitted = false;
    this.draw();
  }

  pan(x, y) {
    this.left += x;
    this.top += y;
    this.fitted = false;
    this.draw();
  }

  /** The image's pixel under a place of a pane, or null outside of the image. */
  pixel(pane, event) {
    const box = pane.canvas.getBoundingClientRect();
    const { scale, left, top } = this.transform(pane);
    const column = Math.floor((event.clientX - box.left - left) / scale);
    const row = Math.floor((event.clientY - box.top - top) / scale);
    const inside = row >= 0 && column >= 0 && row < this.height && column < this.width;
    return inside ? { row, column } : null;
  }

  /** The same part of the image in every pane, whatever the pane's size. */
  transform(pane) {
    if (pane.main) return { scale: this.scale, left: this.left, top: this.top };
    const { clientWidth: w, clientHeight: h } = this.main;
    const { clientWidth, clientHeight } = pane.canvas;
    const ratio = Math.min(clientWidth / w, clientHeight / h) || 1;
    const fill = Math.min(clientWidth / this.width, clientHeight / this.height) || 1;
    const scale = this.fitted ? fill : Math.max(this.scale * ratio, fill);
    const middleColumn = (w / 2 - this.left) / this.scale, middleRow = (h / 2 - this.top) / this.scale;
    return { scale, left: clientWidth / 2 - middleColumn * scale, top: clientHeight / 2 - middleRow * scale };
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      for (const pane of this.panes) this.paint(pane);
    });
  }

  paint(pane) {
    const { canvas } = pane, density = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * density), height = Math.round(canvas.clientHeight * density);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const { scale, left, top } = this.transform(pane);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.setTransform(scale * density, 0, 0, scale * density, left * density, top * density);
    context.imageSmoothingEnabled = scale < 3;
    if (pane.picture) context.drawImage(pane.picture, 0, 0, this.width, this.height);
    if (pane.main) this.paintOverlay(context);
    else this.paintOutlines(context);
    context.setTransform(density, 0, 0, density, 0, 0);
    if (pane.main) this.paintMarks(context);
  }

  paintOverlay(context) {
    const { opacity, outline, hidden, mask, others } = this.overlay;
    if (hidden) return;
    context.imageSmoothingEnabled = false;
    for (const layer of [others, mask]) {
      if (!layer) continue;
      if (!outline) {
        context.globalAlpha = opacity;
        context.drawImage(layer.fill, 0, 0);
      }
      context.globalAlpha = 1;
      context.drawImage(layer.line, 0, 0);
    }
  }

  paintOutlines(context) {
    const { hidden, mask } = this.overlay;
    if (hidden || !mask) return;
    context.imageSmoothingEnabled = false;
    context.drawImage(mask.line, 0, 0);
  }

  place(row, column) {
    return [this.left + (column + 0.5) * this.scale, this.top + (row + 0.5) * this.scale];
  }

  paintMarks(context) {
    for (const click of this.clicks) {
      const [x, y] = this.place(click.row, click.column);
      context.beginPath();
      context.arc(x, y, CLICK_RADIUS, 0, 2 * Math.PI);
      context.fillStyle = click.positive ? COLOURS.defect : COLOURS.normal;
      context.globalAlpha = click.pending ? 0.5 : 1;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = 2;
      context.strokeStyle = "#000";
      context.stroke();
      context.beginPath();
      context.strokeStyle = click.positive ? "#fff" : "#000";
      context.moveTo(x - 3, y);
      context.lineTo(x + 3, y);
      if (click.positive) {
        context.moveTo(x, y - 3);
        context.lineTo(x, y + 3);
      }
      context.stroke();
    }
    if (this.stroke) this.paintStroke(context);
    if (this.brush) this.ring(context, this.brush, this.brush.radius * this.scale);
    if (this.cursor) this.crossHair(context);
  }

  paintStroke(context) {
    const { points, radius, erase } = this.stroke;
    context.beginPath();
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = 2 * radius * this.scale;
    context.strokeStyle = erase ? "#ffd23f88" : "#4c9dff88";
    const [first, ...rest] = points.map(([row, column]) => this.place(row, column));
    context.moveTo(...first);
    context.lineTo(first[0] + 0.01, first[1]);
    for (const point of rest) context.lineTo(...point);
    context.stroke();
  }

  ring(context, { row, column }, radius) {
    const [x, y] = this.place(row, column);
    for (const [colour, width] of [["#000", 3], ["#fff", 1.5]]) {
      context.beginPath();
      context.arc(x, y, Math.max(radius, 2), 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    }
  }

  crossHair(context) {
    const [x, y] = this.place(this.cursor.row, this.cursor.column);
    for (const [colour, width] of [["#000", 3], ["#fff", 1]]) {
      context.beginPath();
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.moveTo(x - 14, y);
      context.lineTo(x + 14, y);
      context.moveTo(x, y - 14);
      context.lineTo(x, y + 14);
      context.stroke();
    }
  }
}
