/** The panel of all images: states, progress, filters, thumbnails, who holds what. */

import { address } from "./api.js";

export const STATES = {
  todo: "To do",
  in_work: "In work",
  done: "Done",
  normal: "Normal",
  skipped: "Skipped",
};

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * @param {string} tag
 * @param {string} name
 * @param {string} [text]
 */
function make(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

/** Seconds as people say them. @param {number} seconds */
export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @param {number} count @param {string} word */
export const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** @param {any} row */
const isToDo = (row) => ["todo", "in_work"].includes(row.state) && !row.broken;

export class Queue {
  /** @param {(key: string) => void} choose */
  constructor(choose) {
    this.choose = choose;
    /** @type {any[]} */
    this.rows = [];
    this.current = "";
    this.filter = "all";
    this.words = "";
    /** @type {Map<string, {item: HTMLElement, seen: string, pictured: string}>} */
    this.items = new Map();
    this.list = element("images");
    this.list.addEventListener("click", (event) => {
      const item = /** @type {HTMLElement} */ (event.target).closest("button");
      if (item?.dataset.key) choose(item.dataset.key);
    });
    const filters = element("filters");
    filters.addEventListener("change", (event) => {
      this.filter = /** @type {HTMLInputElement} */ (event.target).value;
      this.show();
    });
    element("search").addEventListener("input", (event) => {
      this.words = /** @type {HTMLInputElement} */ (event.target).value.toLowerCase();
      this.show();
    });
  }

  /** @param {any} answer what the server says of all images */
  update(answer) {
    this.rows = answer.images;
    const total = this.rows.length;
    const { counts } = answer;
    const finished = counts.done + counts.normal + counts.skipped;
    element("finished").textContent = `${finished} of ${total}`;
    const bar = element("progress");
    bar.setAttribute("aria-valuenow", String(finished));
    bar.setAttribute("aria-valuemax", String(total));
    for (const state of ["done", "normal", "skipped", "in_work"]) {
      const part = /** @type {SVGRectElement | null} */ (bar.querySelector(`.${state}`));
      if (!part) continue;
      const before = ["done", "normal", "skipped", "in_work"];
      const start = before.slice(0, before.indexOf(state)).reduce((sum, one) => sum + counts[one], 0);
      part.setAttribute("x", `${(100 * start) / Math.max(1, total)}%`);
      part.setAttribute("width", `${(100 * counts[state]) / Math.max(1, total)}%`);
    }
    for (const label of element("filters").querySelectorAll("label")) {
      const state = label.querySelector("input")?.value ?? "";
      const number = state === "all" ? total : counts[state];
      const shown = label.querySelector(".count");
      if (shown) shown.textContent = String(number);
    }
    const each = finished ? `, ${duration(answer.seconds / finished)} an image` : "";
    element("sums").textContent =
      `${counted(answer.clicks, "click")}, ${duration(answer.seconds)}${each}`;
    this.show();
  }

  /** @param {string} key */
  select(key) {
    this.current = key;
    this.show();
    this.items.get(key)?.item.scrollIntoView({ block: "nearest" });
  }

  /** What is known of an image before the server is asked again. @param {string} key @param {string} state */
  setState(key, state) {
    const row = this.rows.find((one) => one.key === key);
    if (!row || row.state === state) return;
    row.state = state;
    this.show();
  }

  /** @param {any} row */
  matches(row) {
    const fits = this.filter === "all" || row.state === this.filter;
    return (fits || row.key === this.current) && row.key.toLowerCase().includes(this.words);
  }

  show() {
    const shown = this.rows.filter((row) => this.matches(row));
    let place = this.list.firstElementChild;
    const keys = new Set();
    for (const row of shown) {
      keys.add(row.key);
      const { item } = this.item(row);
      if (item !== place) this.list.insertBefore(item, place);
      else place = place.nextElementSibling;
    }
    for (const [key, { item }] of this.items) {
      if (!keys.has(key)) {
        item.remove();
        this.items.delete(key);
      }
    }
    element("none").hidden = shown.length > 0;
  }

  /** @param {any} row */
  item(row) {
    const isCurrent = row.key === this.current;
    const seen = JSON.stringify([row.state, row.leased_by, row.clicks, row.seconds, row.broken, isCurrent, row.encoded]);
    const known = this.items.get(row.key);
    if (known?.seen === seen) return known;
    const pictured = JSON.stringify([row.state, row.clicks, row.seconds]);
    const item = known?.item ?? this.blank(row);
    const button = /** @type {HTMLButtonElement} */ (item.firstElementChild);
    button.classList.toggle("current", isCurrent);
    if (isCurrent) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    const state = /** @type {HTMLElement} */ (button.querySelector(".state"));
    state.className = `state ${row.broken ? "broken" : row.state}`;
    state.textContent = row.broken ? "Cannot be read" : STATES[/** @type {"todo"} */ (row.state)];
    const note = /** @type {HTMLElement} */ (button.querySelector(".note"));
    note.textContent = this.note(row, isCurrent);
    if (row.broken) button.title = row.broken;
    if (!row.broken && known?.pictured !== pictured) this.depict(button, row, pictured);
    const made = { item, seen, pictured };
    this.items.set(row.key, made);
    return made;
  }

  /** @param {any} row @param {boolean} isCurrent */
  note(row, isCurrent) {
    if (row.leased_by && !isCurrent) return `held by ${row.leased_by}`;
    if (["done", "normal", "skipped"].includes(row.state) && row.seconds) {
      const clicks = row.clicks ? `${counted(row.clicks, "click")}, ` : "";
      return `${clicks}${duration(row.seconds)}`;
    }
    return row.encoded || row.broken ? "" : "not encoded yet";
  }

  /** @param {any} row */
  blank(row) {
    const item = make("li", "");
    const button = /** @type {HTMLButtonElement} */ (make("button", "image"));
    button.type = "button";
    button.dataset.key = row.key;
    const picture = make("span", "thumbnail");
    const text = make("span", "text");
    text.append(make("span", "name", row.key), make("span", "state"), make("span", "note"));
    button.append(picture, text);
    item.append(button);
    return item;
  }

  /** @param {HTMLElement} button @param {any} row @param {string} version */
  depict(button, row, version) {
    const picture = new Image();
    picture.alt = "";
    picture.loading = "lazy";
    picture.decoding = "async";
    picture.src = `${address(row.key, "thumbnail")}?${encodeURIComponent(version)}`;
    button.querySelector(".thumbnail")?.replaceChildren(picture);
  }

  /**
   * The next image to label after one, that nobody else holds; null when all are done.
   * @param {string} after
   * @param {string} annotator
   * @param {Set<string>} [tried] not these
   */
  next(after, annotator, tried = new Set()) {
    const place = this.rows.findIndex((row) => row.key === after);
    const following = [...this.rows.slice(place + 1), ...this.rows.slice(0, Math.max(place, 0))];
    const open = (/** @type {any} */ row) =>
      !tried.has(row.key) && isToDo(row) && [null, annotator].includes(row.leased_by);
    return following.find(open)?.key ?? null;
  }

  /** Who else holds images that are to be done. @param {string} annotator */
  held(annotator) {
    const holders = this.rows.filter(isToDo).map((row) => row.leased_by);
    return [...new Set(holders)].filter((name) => name !== null && name !== annotator);
  }

  /**
   * The image before or behind the current one, as listed.
   * @param {number} step
   */
  beside(step) {
    const shown = this.rows.filter((row) => this.matches(row) && !row.broken);
    const place = shown.findIndex((row) => row.key === this.current);
    return shown[(place + step + shown.length) % shown.length]?.key ?? null;
  }
}
