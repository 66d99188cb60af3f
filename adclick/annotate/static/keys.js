/** Every key of the page in one table: what it does, and what the list behind `?` says of it. */

/**
 * @typedef {object} Key
 * @property {string[]} keys as KeyboardEvent.key has them
 * @property {string} shown
 * @property {string} does
 * @property {string} command the name of what the page runs
 */

/** @type {[string, Key[]][]} */
export const GROUPS = [
  ["Mark", [
    { keys: [], shown: "left click", does: "defect here", command: "" },
    { keys: [], shown: "right click, Shift + click, long touch", does: "normal here", command: "" },
    { keys: ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"], shown: "arrows, Shift: faster", does: "move the cross-hair", command: "move" },
    { keys: [" "], shown: "Space, Shift + Space", does: "defect, normal at the cross-hair or pointer", command: "" },
    { keys: ["c"], shown: "c, Esc", does: "clicks", command: "click" },
    { keys: ["b"], shown: "b", does: "brush; right button erases", command: "brush" },
    { keys: ["e"], shown: "e", does: "eraser; right button paints", command: "erase" },
    { keys: ["["], shown: "[", does: "smaller brush", command: "smaller" },
    { keys: ["]"], shown: "]", does: "larger brush", command: "larger" },
  ]],
  ["Finish", [
    { keys: ["Enter"], shown: "Enter", does: "save, next image", command: "save" },
    { keys: ["g"], shown: "g", does: "nothing wrong here, next", command: "good" },
    { keys: ["s"], shown: "s", does: "skip, next", command: "skip" },
    { keys: ["j", "PageDown"], shown: "j, Page Down", does: "next image, unsaved", command: "following" },
    { keys: ["k", "PageUp"], shown: "k, Page Up", does: "image before", command: "preceding" },
    { keys: ["/"], shown: "/", does: "find an image by name", command: "find" },
  ]],
  ["Change", [
    { keys: ["z"], shown: "z, Ctrl Z", does: "undo anything", command: "undo" },
    { keys: ["x"], shown: "x, Ctrl Shift Z, Ctrl Y", does: "redo", command: "redo" },
    { keys: ["n"], shown: "n", does: "another defect", command: "new" },
    { keys: ["d"], shown: "d", does: "next defect of the image", command: "nextDefect" },
    { keys: ["Delete"], shown: "Delete", does: "remove this defect", command: "remove" },
    { keys: ["Backspace"], shown: "Backspace", does: "clear all marks", command: "clear" },
    { keys: ["y"], shown: "y", does: "next type", command: "nextType" },
    { keys: ["t"], shown: "t", does: "higher threshold: smaller mask", command: "higher" },
    { keys: ["T"], shown: "Shift T", does: "lower threshold: larger mask", command: "lower" },
    { keys: ["m"], shown: "m", does: "start from the saved mask", command: "startSaved" },
    { keys: ["f"], shown: "f", does: "start from what the detector finds", command: "startFound" },
    { keys: ["i"], shown: "i, or drop it", does: "start from a PNG file", command: "startFile" },
  ]],
  ["See", [
    { keys: ["+", "="], shown: "+, wheel", does: "zoom in", command: "zoomIn" },
    { keys: ["-"], shown: "-, wheel", does: "zoom out", command: "zoomOut" },
    { keys: ["0"], shown: "0", does: "whole image", command: "fit" },
    { keys: ["1"], shown: "1", does: "100 %", command: "actual" },
    { keys: [], shown: "Space + drag, middle drag, two fingers", does: "move the image", command: "" },
    { keys: ["o"], shown: "o", does: "fill or outline", command: "look" },
    { keys: ["v"], shown: "v", does: "hide or show the mask", command: "hide" },
    { keys: [","], shown: ",", does: "fainter mask", command: "fainter" },
    { keys: ["."], shown: ".", does: "stronger mask", command: "stronger" },
    { keys: ["r"], shown: "r", does: "residual map", command: "residual" },
    { keys: ["w"], shown: "w", does: "nearest normal image", command: "neighbour" },
    { keys: ["q"], shown: "q", does: "list of images", command: "queue" },
    { keys: ["h"], shown: "h", does: "dark or light", command: "theme" },
    { keys: ["?"], shown: "?", does: "this list", command: "help" },
  ]],
];

const COMMANDS = new Map(
  GROUPS.flatMap(([, rows]) => rows).flatMap(({ keys, command }) => keys.map((key) => [key, command])),
);

/**
 * The command of a key press, or null.
 * @param {KeyboardEvent} event
 * @returns {string | null}
 */
export function commandOf(event) {
  const key = event.key.length === 1 && (event.ctrlKey || event.metaKey) ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return event.shiftKey ? "redo" : "undo";
    return key === "y" ? "redo" : null;
  }
  if (event.altKey) return null;
  if (key === "Escape") return "click";
  return COMMANDS.get(key) ?? (key.length === 1 ? COMMANDS.get(key.toLowerCase()) : null) ?? null;
}

/**
 * Whether a key belongs to what has the focus: a text that is written, a list, a button.
 * @param {KeyboardEvent} event
 */
export function isTaken(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.closest("dialog")) return true;
  const kind = target instanceof HTMLInputElement ? target.type : target.tagName.toLowerCase();
  if (["text", "search"].includes(kind) || kind === "select") return event.key !== "Escape";
  if (kind === "range") return /^(Arrow|Page|Home|End)/.test(event.key);
  if (kind === "radio") return /^(Arrow| )/.test(event.key);
  return ["button", "a"].includes(kind) && ["Enter", " "].includes(event.key);
}

/**
 * Write the table into an element.
 * @param {HTMLElement} element
 */
export function list(element) {
  for (const [title, rows] of GROUPS) {
    const group = document.createElement("section");
    const heading = document.createElement("h3");
    heading.textContent = title;
    const table = document.createElement("dl");
    for (const { shown, does } of rows) {
      const pair = document.createElement("div");
      const term = document.createElement("dt");
      const meaning = document.createElement("dd");
      term.textContent = shown;
      meaning.textContent = does;
      pair.append(term, meaning);
      table.append(pair);
    }
    group.append(heading, table);
    element.append(group);
  }
}
