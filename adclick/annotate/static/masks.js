// Masks as bitmaps: decoded from PNG, cut from a probability, tinted for the canvas.

const DEFECT = [60, 140, 255];
const OTHER = [30, 190, 160];

/** The grey values of a base64 PNG, as { width, height, values }. */
export async function decodeGrey(base64) {
  const bitmap = await createImageBitmap(await (await fetchLike(base64)));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const values = new Uint8Array(bitmap.width * bitmap.height);
  for (let i = 0; i < values.length; i++) values[i] = pixels[4 * i];
  return { width: bitmap.width, height: bitmap.height, values };
}

function fetchLike(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Blob([bytes], { type: "image/png" });
}

/** The mask of a probability stretched bilinearly and cut at a threshold; strokes (0 untouched, 1 erased,
 *  2 painted) win. */
export function cut(probability, width, height, threshold, strokes) {
  const mask = new Uint8Array(width * height);
  const { values, width: w, height: h } = probability;
  const level = 255 * threshold;
  for (let row = 0; row < height; row++) {
    const y = Math.min(Math.max(((row + 0.5) * h) / height - 0.5, 0), h - 1);
    const top = Math.floor(y), down = y - top, below = Math.min(top + 1, h - 1);
    for (let column = 0; column < width; column++) {
      const x = Math.min(Math.max(((column + 0.5) * w) / width - 0.5, 0), w - 1);
      const left = Math.floor(x), right = x - left, beside = Math.min(left + 1, w - 1);
      const upper = values[top * w + left] * (1 - right) + values[top * w + beside] * right;
      const lower = values[below * w + left] * (1 - right) + values[below * w + beside] * right;
      mask[row * width + column] = upper * (1 - down) + lower * down > level ? 255 : 0;
    }
  }
  if (strokes) {
    for (let i = 0; i < mask.length; i++) if (strokes.values[i]) mask[i] = strokes.values[i] === 2 ? 255 : 0;
  }
  return { width, height, values: mask };
}

/** A canvas with a mask filled, and one with its outline, both in the colour of this or of other defects. */
export function tinted(mask, other = false) {
  const { width, height, values } = mask;
  const [red, green, blue] = other ? OTHER : DEFECT;
  const fill = new ImageData(width, height), line = new ImageData(width, height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const i = row * width + column;
      if (!values[i]) continue;
      paint(fill.data, i, red, green, blue);
      const inner =
        row > 0 && row < height - 1 && column > 0 && column < width - 1 &&
        values[i - 1] && values[i + 1] && values[i - width] && values[i + width];
      if (!inner) paint(line.data, i, red, green, blue);
    }
  }
  return { fill: onCanvas(fill), line: onCanvas(line) };
}

function paint(data, i, red, green, blue) {
  data[4 * i] = red;
  data[4 * i + 1] = green;
  data[4 * i + 2] = blue;
  data[4 * i + 3] = 255;
}

function onCanvas(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
