// The events of one job, from the first frame that is missing to its end, whatever breaks in between.
//
// The browser resumes a broken event stream by itself (Last-Event-ID). What it gives up on, an answer that is an error,
// is looked into here: a job that is gone ends the stream with its problem, anything else is tried again.

const RETRY_MS = [1000, 2000, 4000, 5000];
const NAMES = ["job.state", "job.progress", "frame", "gap", "job.done", "job.error"];
const ENDS = ["job.done", "job.error"];

export class JobStream {
  #id;
  #handlers;
  #source = null;
  #timer = 0;
  #failures = 0;
  #last = null;
  #isResting = false;
  #isOver = false;

  // handlers: event(name, data), connected(boolean)
  constructor(id, handlers) {
    this.#id = id;
    this.#handlers = handlers;
  }

  open() {
    if (this.#source !== null || this.#isOver) return;
    const after = this.#last === null ? "" : `?after=${this.#last}`;
    const source = new EventSource(`gateway/jobs/${this.#id}/events${after}`);
    this.#source = source;
    source.onopen = () => {
      this.#failures = 0;
      this.#handlers.connected(true);
    };
    source.onerror = () => this.#failed(source);
    for (const name of NAMES) source.addEventListener(name, (event) => this.#take(name, event));
  }

  // Take nothing for a while; wake() goes on after the last frame.
  rest() {
    this.#isResting = true;
    this.#leave();
  }

  wake() {
    if (!this.#isResting) return;
    this.#isResting = false;
    this.open();
  }

  close() {
    this.#isOver = true;
    this.#leave();
  }

  #leave() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #take(name, event) {
    if (event.lastEventId !== "") this.#last = event.lastEventId;
    if (ENDS.includes(name)) this.close();
    this.#handlers.event(name, parseJob(event.data));
  }

  async #failed(source) {
    if (source !== this.#source) return;
    this.#handlers.connected(false);
    if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
    this.#leave();
    const problem = await lookUp(this.#id);
    if (this.#isOver || this.#isResting) return;
    if (problem !== null) {
      this.close();
      this.#handlers.event("job.error", problem);
      return;
    }
    this.#timer = setTimeout(() => this.open(), RETRY_MS[Math.min(this.#failures++, RETRY_MS.length - 1)]);
  }
}

// Seeds have up to 63 bits, more than a number holds here: they are read as text.
export function parseJob(text) {
  return JSON.parse(text.replace(/"seed":\s*(\d+)/, '"seed":"$1"'));
}

// Why a job can not be followed any more, or null when trying again may help.
async function lookUp(id) {
  try {
    const answer = await fetch(`gateway/jobs/${id}`);
    return [404, 410, 422].includes(answer.status) ? await answer.json() : null;
  } catch {
    return null;
  }
}
