/** A large picture as tiles of several resolutions: those that are seen are fetched, as fine as they are seen. */

const MOST_TILES = 72;

/** @typedef {{level: number, row: number, column: number}} Place */
/** @typedef {{place: Place, asked: AbortController, bitmap: ImageBitmap | null}} Tile */

export class Pyramid {
  /**
   * @param {number} width of the picture
   * @param {number} height
   * @param {number} side of a tile; one of level n shows 2^n pixels of the picture by one
   * @param {(place: Place, signal: AbortSignal) => Promise<ImageBitmap>} fetch
   */
  constructor(width, height, side, fetch) {
    [this.width, this.height, this.side, this.fetch] = [width, height, side, fetch];
    this.top = Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / side)));
    /** @type {Map<string, Tile>} */
    this.tiles = new Map();
    this.changed = () => {};
    this.closed = false;
  }

  /** The whole picture, as coarse as one tile shows it. */
  async begin() {
    await this.ask({ level: this.top, row: 0, column: 0 });
    return this;
  }

  /**
   * Draw what is there of the part that is seen, and ask for the rest.
   * @param {CanvasRenderingContext2D} context in the picture's coordinates
   * @param {{left: number, top: number, right: number, bottom: number}} seen
   * @param {number} scale screen pixels a pixel of the picture
   */
  draw(context, seen, scale) {
    const level = Math.min(this.top, Math.max(0, Math.floor(Math.log2(1 / scale))));
    const wanted = this.within(seen, level);
    for (let coarser = this.top; coarser >= level; coarser--) {
      for (const { place, bitmap } of this.tiles.values()) {
        if (place.level === coarser && bitmap) this.drawTile(context, place, bitmap, seen);
      }
    }
    const names = new Set(wanted.map(nameOf));
    for (const [name, tile] of this.tiles) {
      if (!tile.bitmap && !names.has(name) && tile.place.level < this.top) {
        tile.asked.abort();
        this.tiles.delete(name);
      }
    }
    for (const place of wanted) this.ask(place).catch(() => undefined);
    this.forget(names);
  }

  /** @param {{left: number, top: number, right: number, bottom: number}} seen @param {number} level */
  within(seen, level) {
    const side = this.side * 2 ** level;
    const found = [];
    const last = Math.min(seen.bottom, this.height - 1);
    const end = Math.min(seen.right, this.width - 1);
    for (let row = Math.floor(Math.max(0, seen.top) / side); row * side <= last; row++) {
      for (let column = Math.floor(Math.max(0, seen.left) / side); column * side <= end; column++) {
        found.push({ level, row, column });
      }
    }
    return found;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Place} place
   * @param {ImageBitmap} bitmap
   * @param {{left: number, top: number, right: number, bottom: number}} seen
   */
  drawTile(context, { level, row, column }, bitmap, seen) {
    const side = this.side * 2 ** level;
    const [left, top] = [column * side, row * side];
    if (left > seen.right || top > seen.bottom || left + side < seen.left || top + side < seen.top) return;
    context.drawImage(bitmap, left, top, Math.min(side, this.width - left), Math.min(side, this.height - top));
  }

  /** @param {Place} place */
  async ask(place) {
    const name = nameOf(place);
    const known = this.tiles.get(name);
    if (known) {
      this.tiles.delete(name); // to the end: it was wanted last
      this.tiles.set(name, known);
      return;
    }
    /** @type {Tile} */
    const tile = { place, asked: new AbortController(), bitmap: null };
    this.tiles.set(name, tile);
    try {
      const bitmap = await this.fetch(place, tile.asked.signal);
      if (this.closed || tile.asked.signal.aborted) bitmap.close();
      else tile.bitmap = bitmap;
    } catch (error) {
      if (this.tiles.get(name) === tile) this.tiles.delete(name); // asked for again when it is drawn again
      throw error;
    }
    this.changed();
  }

  /** Let go what was not wanted for longest. @param {Set<string>} spared */
  forget(spared) {
    for (const [name, tile] of this.tiles) {
      if (this.tiles.size <= MOST_TILES) return;
      if (spared.has(name) || !tile.bitmap || tile.place.level === this.top) continue;
      tile.bitmap.close();
      this.tiles.delete(name);
    }
  }

  close() {
    this.closed = true;
    for (const { asked, bitmap } of this.tiles.values()) {
      asked.abort();
      bitmap?.close();
    }
    this.tiles.clear();
  }
}

/** @param {Place} place */
const nameOf = ({ level, row, column }) => `${level}/${row}/${column}`;
