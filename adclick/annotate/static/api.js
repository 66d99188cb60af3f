// Requests to the server. A lost connection is told and tried again; the server applies nothing twice,
// for every action names the revision that it changes.

const PAUSE_MS = 1000;

/** An answer that is no success: `status`, and what the server said. */
export class Refusal extends Error {
  constructor(status, answer) {
    super(answer.error || `the server answered ${status}`);
    this.status = status;
    this.answer = answer;
  }
}

/** Told `true` when the connection is lost and `false` when it is back. */
export const connection = { lost: false, tell: () => {} };

function url(key, verb) {
  return `/api/v1/images/${key.split("/").map(encodeURIComponent).join("/")}/${verb}`;
}

async function once(path, options) {
  const response = await fetch(path, options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

async function persistent(path, options) {
  for (;;) {
    try {
      const answer = await once(path, options);
      if (connection.lost) connection.tell((connection.lost = false));
      return answer;
    } catch (error) {
      if (error instanceof Refusal) {
        if (connection.lost) connection.tell((connection.lost = false));
        throw error;
      }
      if (!connection.lost) connection.tell((connection.lost = true));
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
  }
}

export function get(path) {
  return persistent(path, {});
}

export function tryGet(path) {
  return once(path, {});
}

export function post(key, verb, body) {
  return persistent(url(key, verb), {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Adclick": "1" },
    body: JSON.stringify(body),
  });
}

export function pictureUrl(key, verb) {
  return url(key, verb);
}
