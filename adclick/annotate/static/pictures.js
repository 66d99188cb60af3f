/** Decoded pictures of the image in work and of the next one; all others are let go. */

import * as api from "./api.js";
import { Pyramid } from "./pyramid.js";

/** @typedef {{asked: AbortController, bitmap: Promise<ImageBitmap | Pyramid>}} Kept */

export class Pictures {
  constructor() {
    /** @type {Map<string, Map<string, Kept>>} */
    this.kept = new Map();
  }

  /**
   * @param {string} key
   * @param {string} what picture, residual or neighbour
   * @param {{width: number, height: number, tile_px: number | null}} [row] of the image, for its picture
   * @returns {Promise<ImageBitmap | Pyramid>}
   */
  get(key, what, row) {
    const ofKey = this.kept.get(key) ?? new Map();
    this.kept.set(key, ofKey);
    const known = ofKey.get(what);
    if (known) return known.bitmap;
    const asked = new AbortController();
    const bitmap = row?.tile_px
      ? new Pyramid(row.width, row.height, row.tile_px, (place, signal) => api.tile(key, place, signal)).begin()
      : api.picture(key, what, asked.signal);
    bitmap.catch(() => ofKey.delete(what));
    ofKey.set(what, { asked, bitmap });
    return bitmap;
  }

  /** Let go what belongs to other images. @param {(string | null)[]} keys */
  keepOnly(keys) {
    for (const [key, ofKey] of this.kept) {
      if (keys.includes(key)) continue;
      this.kept.delete(key);
      for (const { asked, bitmap } of ofKey.values()) {
        asked.abort();
        bitmap.then((one) => one.close()).catch(() => undefined);
      }
    }
  }
}
