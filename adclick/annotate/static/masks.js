/**
 * Masks as bytes (0 or 255 a pixel): decoded, cut from a probability, painted on, outlined. Those of
 * a large image are tiles, of which only those with something in them are there; of any other image
 * one tile is all.
 */

const MOST_DECODED = 400;

/** @typedef {{width: number, height: number, data: Uint8Array}} Grey */

/**
 * The grey values of a PNG in base64.
 * @param {string} text
 * @returns {Promise<Grey>}
 */
export async function decodeGrey(text) {
  const content = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([content], { type: "image/png" }), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  const context = canvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser gives no canvas");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  const data = new Uint8Array(pixels.length);
  for (let index = 0; index < data.length; index++) data[index] = pixels[index] & 255;
  return { width, height, data };
}

/**
 * @param {number} width
 * @param {number} height
 */
export function canvas(width, height) {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  return made;
}

/** An array of an image's size as tiles of `side` pixels, by "row,column"; what is in no tile is 0. */
export class Tiles {
  /**
   * @param {number} width
   * @param {number} height
   * @param {number} [side] without it, one tile is all
   */
  constructor(width, height, side = Math.max(width, height)) {
    [this.width, this.height, this.side] = [width, height, side];
    /** @type {Map<string, Uint8Array>} */
    this.tiles = new Map();
  }

  /** Where a tile lies. @param {string} place */
  box(place) {
    const [row, column] = place.split(",").map(Number);
    const [top, left] = [row * this.side, column * this.side];
    const height = Math.min(this.side, this.height - top);
    return { row, column, top, left, height, width: Math.min(this.side, this.width - left) };
  }

  /** The tiles that a box touches. @param {number} top @param {number} left @param {number} bottom @param {number} right */
  places(top, left, bottom, right) {
    const found = [];
    const [last, end] = [Math.min(bottom, this.height) - 1, Math.min(right, this.width) - 1];
    for (let row = Math.floor(Math.max(top, 0) / this.side); row * this.side <= last; row++) {
      for (let column = Math.floor(Math.max(left, 0) / this.side); column * this.side <= end; column++) found.push(`${row},${column}`);
    }
    return found;
  }

  /** A copy, whose tiles are the same until they are written. */
  copy() {
    const copied = new Tiles(this.width, this.height, this.side);
    copied.tiles = new Map(this.tiles);
    return copied;
  }

  /** A tile of its own, to be written. @param {string} place */
  own(place) {
    const { width, height } = this.box(place);
    const tile = this.tiles.get(place)?.slice() ?? new Uint8Array(width * height);
    this.tiles.set(place, tile);
    return tile;
  }

  /**
   * What is in a box, as one array; null where there is nothing.
   * @param {number} top @param {number} left @param {number} height @param {number} width
   */
  part(top, left, height, width) {
    /** @type {Uint8Array | null} */
    let found = null;
    for (const place of this.places(top, left, top + height, left + width)) {
      const tile = this.tiles.get(place);
      if (!tile) continue;
      const box = this.box(place);
      found ??= new Uint8Array(width * height);
      const [first, end] = [Math.max(left, box.left), Math.min(left + width, box.left + box.width)];
      const last = Math.min(top + height, box.top + box.height);
      for (let row = Math.max(top, box.top); row < last; row++) {
        const from = (row - box.top) * box.width + first - box.left;
        found.set(tile.subarray(from, from + end - first), (row - top) * width + first - left);
      }
    }
    return found;
  }
}

/** @type {Map<string, Uint8Array>} the tiles that were decoded last, by their content */
let decoded = new Map();

/**
 * One of the arrays of a session: `mask`, `others`, `strokes` or `probability`.
 * @param {any} state
 * @param {"mask" | "others" | "strokes" | "probability"} name
 */
export async function read(state, name) {
  const [height, width] = name === "probability" ? state.seen : [state.height, state.width];
  const pieces = state.pieces[name];
  const read = new Tiles(width, height, pieces ? state.tile_px : undefined);
  if (!pieces) {
    if (state[name]) read.tiles.set("0,0", (await decodeGrey(state[name])).data);
    return read;
  }
  const known = decoded;
  decoded = new Map();
  const place = (/** @type {any[]} */ [top, left]) => `${top / read.side},${left / read.side}`;
  await Promise.all(
    pieces.map(async (/** @type {any[]} */ piece) => {
      const content = piece[4];
      const tile = known.get(content) ?? (await decodeGrey(content)).data;
      decoded.set(content, tile);
      read.tiles.set(place(piece), tile);
    }),
  );
  for (const [content, tile] of known) if (decoded.size < MOST_DECODED) decoded.set(content, tile);
  return read;
}

/**
 * Where the probability, stretched bilinearly to the image's size, is above the threshold. Pixel
 * centres are aligned, borders repeat: as the server stretches.
 * @param {Tiles} probability at the size in which the model sees the image
 * @param {number} threshold in [0, 1]
 * @param {Tiles} like a mask of the image's size
 */
export function cut(probability, threshold, like) {
  const mask = new Tiles(like.width, like.height, like.side);
  const level = threshold * 255;
  for (const place of mask.places(0, 0, mask.height, mask.width)) {
    const box = mask.box(place);
    const rows = between(box.top, box.height, probability.height, mask.height);
    const columns = between(box.left, box.width, probability.width, mask.width);
    const [top, left] = [rows.before[0], columns.before[0]];
    const [height, width] = [rows.after[box.height - 1] - top + 1, columns.after[box.width - 1] - left + 1];
    const known = probability.part(top, left, height, width);
    if (known?.some((value) => value > level)) mask.tiles.set(place, cutPart(known, width, rows, columns, level));
  }
  return mask;
}

/** @typedef {{before: Int32Array, after: Int32Array, share: Float32Array}} Between */

/**
 * For pixels of a stretched line the two places that they lie between, and the second one's share.
 * @param {number} first @param {number} count @param {number} length @param {number} stretched
 * @returns {Between}
 */
function between(first, count, length, stretched) {
  const [before, after, share] = [new Int32Array(count), new Int32Array(count), new Float32Array(count)];
  for (let index = 0; index < count; index++) {
    const place = Math.min(Math.max(((first + index + 0.5) * length) / stretched - 0.5, 0), length - 1);
    before[index] = Math.floor(place);
    after[index] = Math.min(before[index] + 1, length - 1);
    share[index] = place - before[index];
  }
  return { before, after, share };
}

/**
 * @param {Uint8Array} known a part that begins where rows and columns do
 * @param {number} width of it
 * @param {Between} rows
 * @param {Between} columns
 * @param {number} level
 */
function cutPart(known, width, rows, columns, level) {
  const [high, wide] = [rows.share.length, columns.share.length];
  const mask = new Uint8Array(wide * high);
  const line = new Float32Array(width);
  const [top, left] = [rows.before[0], columns.before[0]];
  for (let row = 0; row < high; row++) {
    const [first, second] = [(rows.before[row] - top) * width, (rows.after[row] - top) * width];
    const weight = rows.share[row];
    for (let column = 0; column < width; column++) {
      line[column] = known[first + column] * (1 - weight) + known[second + column] * weight;
    }
    for (let column = 0; column < wide; column++) {
      const value = line[columns.before[column] - left];
      const next = line[columns.after[column] - left];
      if (value + (next - value) * columns.share[column] > level) mask[row * wide + column] = 255;
    }
  }
  return mask;
}

/**
 * Lay what a hand has fixed over a mask, in place.
 * @param {Tiles} mask
 * @param {Tiles} strokes 0 untouched, 1 erased, 2 painted
 */
export function layStrokes(mask, strokes) {
  for (const [place, data] of strokes.tiles) {
    const tile = mask.own(place);
    for (let index = 0; index < tile.length; index++) {
      if (data[index]) tile[index] = data[index] === 2 ? 255 : 0;
    }
  }
}

/**
 * A mask with a stroke along points (row, column): discs of the radius, joined.
 * @param {Tiles} mask
 * @param {[number, number][]} points
 * @param {number} radius
 * @param {boolean} erase
 */
export function painted(mask, points, radius, erase) {
  const copied = mask.copy();
  for (const place of strokePlaces(mask, points, radius)) {
    const { top, left, width, height } = mask.box(place);
    const moved = points.map(([row, column]) => /** @type {[number, number]} */ ([row - top, column - left]));
    paint(copied.own(place), width, height, moved, radius, erase);
  }
  return copied;
}

/**
 * The tiles that a stroke touches.
 * @param {Tiles} mask
 * @param {[number, number][]} points
 * @param {number} radius
 */
export function strokePlaces(mask, points, radius) {
  const reach = Math.ceil(radius) + 1;
  const found = new Set();
  let [fromRow, fromColumn] = points[0];
  for (const [row, column] of points) {
    const [top, bottom] = [Math.min(row, fromRow) - reach, Math.max(row, fromRow) + reach + 1];
    const [left, right] = [Math.min(column, fromColumn) - reach, Math.max(column, fromColumn) + reach + 1];
    for (const place of mask.places(top, left, bottom, right)) found.add(place);
    [fromRow, fromColumn] = [row, column];
  }
  return /** @type {Set<string>} */ (found);
}

/**
 * Paint or erase along points (row, column), in place: discs of the radius, joined.
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @param {[number, number][]} points
 * @param {number} radius
 * @param {boolean} erase
 */
function paint(mask, width, height, points, radius, erase) {
  const value = erase ? 0 : 255;
  let [fromRow, fromColumn] = points[0];
  for (const [row, column] of points) {
    const steps = Math.max(1, Math.ceil(Math.hypot(row - fromRow, column - fromColumn) / (radius / 2 + 0.5)));
    for (let step = 1; step <= steps; step++) {
      const middleRow = fromRow + ((row - fromRow) * step) / steps;
      const middleColumn = fromColumn + ((column - fromColumn) * step) / steps;
      disc(mask, width, height, middleRow, middleColumn, radius, value);
    }
    [fromRow, fromColumn] = [row, column];
  }
}

/**
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @param {number} row
 * @param {number} column
 * @param {number} radius
 * @param {number} value
 */
function disc(mask, width, height, row, column, radius, value) {
  const first = Math.max(0, Math.ceil(row - radius));
  const last = Math.min(height - 1, Math.floor(row + radius));
  for (let y = first; y <= last; y++) {
    const half = Math.sqrt(Math.max(0, radius * radius - (y - row) * (y - row)));
    const from = Math.max(0, Math.ceil(column - half));
    const to = Math.min(width - 1, Math.floor(column + half));
    if (from <= to) mask.fill(value, y * width + from, y * width + to + 1);
  }
}

/** @typedef {{data: Uint8Array, fill: HTMLCanvasElement, path: Path2D, beside: (Uint8Array | undefined)[]}} Drawn */

/** A mask in one colour, ready to be drawn: tiles that are as they were are not made again. */
export class Layer {
  /**
   * @param {Tiles} mask
   * @param {[number, number, number]} colour
   * @param {Layer | null} before
   */
  constructor(mask, colour, before) {
    this.mask = mask;
    /** @type {Map<string, Drawn>} */
    this.drawn = new Map();
    for (const [place, data] of mask.tiles) {
      const { row, column, width, height } = mask.box(place);
      const at = (/** @type {number} */ down, /** @type {number} */ right) => mask.tiles.get(`${row + down},${column + right}`);
      const beside = [at(-1, 0), at(0, -1), at(1, 0), at(0, 1)];
      const was = before?.drawn.get(place);
      if (was?.data === data && !before?.previewed && was.beside.every((one, index) => one === beside[index])) {
        this.drawn.set(place, was);
      } else {
        const fill = coloured(data, width, height, colour, was?.fill);
        this.drawn.set(place, { data, fill, path: outline(data, width, height, beside), beside });
      }
    }
    this.colour = colour;
    this.previewed = false; // something is drawn on it that is not in the mask yet
  }

  /** @param {CanvasRenderingContext2D} context */
  drawFill(context) {
    for (const [place, { fill }] of this.drawn) {
      const { top, left } = this.mask.box(place);
      context.drawImage(fill, left, top);
    }
  }

  /** @param {CanvasRenderingContext2D} context */
  drawOutline(context) {
    for (const [place, { path }] of this.drawn) {
      const { top, left } = this.mask.box(place);
      context.translate(left, top);
      context.stroke(path);
      context.translate(-left, -top);
    }
  }

  /**
   * Draw the last piece of a stroke that is being made.
   * @param {[number, number]} from
   * @param {[number, number]} to
   * @param {number} radius
   * @param {boolean} erase
   */
  preview(from, to, radius, erase) {
    this.previewed = true;
    for (const place of strokePlaces(this.mask, [from, to], radius)) {
      const { top, left, width, height } = this.mask.box(place);
      const known = this.drawn.get(place);
      const fill = known?.fill ?? canvas(width, height);
      if (!known) this.drawn.set(place, { data: new Uint8Array(0), fill, path: new Path2D(), beside: [] });
      const context = /** @type {CanvasRenderingContext2D} */ (fill.getContext("2d"));
      context.globalCompositeOperation = erase ? "destination-out" : "source-over";
      context.strokeStyle = `rgb(${this.colour.join(" ")})`;
      context.lineWidth = 2 * radius + 1;
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      context.moveTo(from[1] + 0.5 - left, from[0] + 0.5 - top);
      context.lineTo(to[1] + 0.5 - left, to[0] + 0.51 - top);
      context.stroke();
      context.globalCompositeOperation = "source-over";
    }
  }
}

/**
 * A canvas of the mask in one opaque colour.
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @param {[number, number, number]} colour
 * @param {HTMLCanvasElement} [reused] of the same size
 */
function coloured(mask, width, height, [red, green, blue], reused) {
  const target = reused ?? canvas(width, height);
  const context = target.getContext("2d");
  if (!context) throw new Error("this browser gives no canvas");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const value = (255 << 24) | (blue << 16) | (green << 8) | red;
  for (let index = 0; index < mask.length; index++) if (mask[index]) pixels[index] = value;
  context.putImageData(image, 0, 0);
  return target;
}

/**
 * The edges between mask and rest as a path in a tile's coordinates, sharp at any zoom. An edge
 * between two tiles is of the right or lower one.
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @param {(Uint8Array | undefined)[]} beside the tiles above, to the left, below and to the right
 */
function outline(mask, width, height, [above, left, below, right]) {
  const path = new Path2D();
  /** @type {Int32Array} where the running vertical edge of each column boundary began, or -1 */
  const began = new Int32Array(width + 1).fill(-1);
  const lastAbove = above ? above.length - width : 0;
  const wideLeft = left ? left.length / height : 0;
  for (let row = 0; row <= height; row++) {
    const here = row * width;
    const over = here - width;
    let run = -1;
    let before = left && row < height ? left[(row + 1) * wideLeft - 1] : 0;
    for (let column = 0; column <= width; column++) {
      const inside = column < width;
      let value = inside && row < height ? mask[here + column] : 0;
      let upper = 0;
      if (inside) upper = row > 0 ? mask[over + column] : above ? above[lastAbove + column] : 0;
      if (value !== upper && !(row === height && below)) {
        if (run < 0) run = column;
      } else if (run >= 0) {
        path.moveTo(run, row);
        path.lineTo(column, row);
        run = -1;
      }
      if (!inside && right) value = before;
      if (value !== before) {
        if (began[column] < 0) began[column] = row;
      } else if (began[column] >= 0) {
        path.moveTo(column, began[column]);
        path.lineTo(column, row);
        began[column] = -1;
      }
      before = value;
    }
  }
  return path;
}
