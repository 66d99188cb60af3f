/** Masks as bytes (0 or 255 a pixel): decoded, cut from a probability, painted on, outlined. */

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

/**
 * Where the probability, stretched bilinearly to width x height, is above the threshold. Pixel
 * centres are aligned, borders repeat: as the server stretches.
 * @param {Grey} probability
 * @param {number} threshold in [0, 1]
 * @param {number} width
 * @param {number} height
 */
export function cut(probability, threshold, width, height) {
  const { width: columns, height: rows, data } = probability;
  const level = threshold * 255;
  const mask = new Uint8Array(width * height);
  const left = new Int32Array(width);
  const right = new Int32Array(width);
  const share = new Float32Array(width);
  for (let column = 0; column < width; column++) {
    const place = Math.min(Math.max(((column + 0.5) * columns) / width - 0.5, 0), columns - 1);
    left[column] = Math.floor(place);
    right[column] = Math.min(left[column] + 1, columns - 1);
    share[column] = place - left[column];
  }
  const line = new Float32Array(columns);
  for (let row = 0; row < height; row++) {
    const place = Math.min(Math.max(((row + 0.5) * rows) / height - 0.5, 0), rows - 1);
    const above = Math.floor(place);
    const weight = place - above;
    const first = above * columns;
    const second = Math.min(above + 1, rows - 1) * columns;
    for (let column = 0; column < columns; column++) {
      line[column] = data[first + column] * (1 - weight) + data[second + column] * weight;
    }
    const start = row * width;
    for (let column = 0; column < width; column++) {
      const value = line[left[column]] + (line[right[column]] - line[left[column]]) * share[column];
      if (value > level) mask[start + column] = 255;
    }
  }
  return mask;
}

/**
 * Lay what a hand has fixed over a mask, in place.
 * @param {Uint8Array} mask
 * @param {Grey | null} strokes 0 untouched, 1 erased, 2 painted
 */
export function layStrokes(mask, strokes) {
  if (!strokes) return;
  const { data } = strokes;
  for (let index = 0; index < mask.length; index++) {
    if (data[index]) mask[index] = data[index] === 2 ? 255 : 0;
  }
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
export function paint(mask, width, height, points, radius, erase) {
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

/**
 * How many pixels a mask has.
 * @param {Uint8Array} mask
 */
export function area(mask) {
  let count = 0;
  for (let index = 0; index < mask.length; index++) count += mask[index] >> 7;
  return count;
}

/**
 * A canvas of the mask in one opaque colour.
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @param {[number, number, number]} colour
 * @param {HTMLCanvasElement} [reused] of the same size
 */
export function coloured(mask, width, height, [red, green, blue], reused) {
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
 * The edges between mask and rest as a path in image coordinates, sharp at any zoom.
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 */
export function outline(mask, width, height) {
  const path = new Path2D();
  /** @type {Int32Array} where the running vertical edge of each column boundary began, or -1 */
  const began = new Int32Array(width + 1).fill(-1);
  for (let row = 0; row <= height; row++) {
    const here = row * width;
    const above = here - width;
    let run = -1;
    let before = 0;
    for (let column = 0; column <= width; column++) {
      const inside = column < width;
      const value = inside && row < height ? mask[here + column] : 0;
      const upper = inside && row > 0 ? mask[above + column] : 0;
      if (value !== upper) {
        if (run < 0) run = column;
      } else if (run >= 0) {
        path.moveTo(run, row);
        path.lineTo(column, row);
        run = -1;
      }
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
