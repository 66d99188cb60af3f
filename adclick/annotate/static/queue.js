// The list of images: states, thumbnails, progress, sums.

import { pictureUrl } from "./api.js";

const NAMES = { todo: "to do", in_work: "in work", done: "done", normal: "normal", skipped: "skipped" };
const byId = (name) => document.getElementById(name);

export function stateName(state) {
  return NAMES[state] || state;
}

export function time(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Draw the list anew; rows that are there already keep their elements, so that nothing flickers. */
export function showQueue(answer, { current, me, choose }) {
  const list = byId("images");
  const known = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = answer.images.map((row) => {
    const item = known.get(row.key) || newItem(row, choose);
    fillItem(item, row, current, me);
    return item;
  });
  if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) {
    list.replaceChildren(...items);
  }
  showCounts(answer);
}

function newItem(row, choose) {
  const item = document.createElement("li");
  item.dataset.key = row.key;
  const button = document.createElement("button");
  const image = document.createElement("img");
  image.alt = "";
  image.loading = "lazy";
  button.append(image, document.createElement("b"), document.createElement("small"));
  button.addEventListener("click", () => choose(row.key));
  item.append(button);
  return item;
}

function fillItem(item, row, current, me) {
  const [button] = item.children;
  const [image, name, facts] = button.children;
  const version = `${row.state}-${row.seconds}`;
  if (item.dataset.version !== version && !row.broken) {
    image.src = `${pictureUrl(row.key, "thumbnail")}?v=${encodeURIComponent(version)}`;
    item.dataset.version = version;
  }
  item.dataset.state = row.state;
  name.textContent = row.key;
  const parts = [row.broken ? "broken file" : stateName(row.state)];
  if (row.clicks) parts.push(`${row.clicks} click${row.clicks > 1 ? "s" : ""}`);
  if (row.seconds) parts.push(time(row.seconds));
  if (row.leased_by && row.leased_by !== me) parts.push(`with ${row.leased_by}`);
  facts.textContent = parts.join(" · ");
  button.disabled = Boolean(row.broken);
  button.title = row.broken || row.key;
  button.setAttribute("aria-current", String(row.key === current));
}

function showCounts({ counts, seconds, clicks }) {
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const finished = counts.done + counts.normal + counts.skipped;
  byId("counts").textContent = `${finished} of ${all}`;
  byId("progress").setAttribute("aria-label", `${finished} of ${all} images finished`);
  byId("progress").firstElementChild.style.width = `${all ? (100 * finished) / all : 0}%`;
  const finishedNote = finished ? `, ${time(seconds / finished)} an image` : "";
  byId("sums").textContent = `${clicks} clicks, ${time(seconds)}${finishedNote}`;
}
