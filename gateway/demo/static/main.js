// START HERE: the element <talking-head-player>. Follows one job at a time and puts stream, player and view together.
//
// Which job that is stays in the tab's session storage: a reload goes on with it, another tab has its own.

import { Player } from "./player.js";
import { JobStream } from "./stream.js";
import { isOver, View } from "./view.js";

const STORED = "talkinghead.job";
const REFRESH_MS = 200;
const READY_POLL_MS = 5000;
const IDLE_WORDS = "Your talking head appears here";

class TalkingHeadPlayer extends HTMLElement {
  #view;
  #player;
  #stream = null;
  #job = null;
  #messages = {};
  #acceptedAt = null;
  #firstFrameMs = null;
  #hasFrames = false;

  connectedCallback() {
    if (this.#view) return;
    this.#view = new View(this);
    this.#player = new Player(this.#view.canvas, () => this.#refresh());
    this.#connect();
    setInterval(() => this.#refresh(), REFRESH_MS);
    this.#start();
  }

  // What was measured: the player's counters, and the time to the first frame.
  get stats() {
    return { ...this.#player.stats, firstFrameMs: this.#firstFrameMs, state: this.#job?.state ?? null };
  }

  // The form is on its way: called within the click, which allows sound.
  submitting() {
    this.#player.clock.unlock();
    this.#view.notices.replaceChildren();
    this.#setBusy(true);
    this.#view.state.textContent = "Sending the files";
    this.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  // The gateway's answer: {job} or {problem, retry_after_s}; speech and portrait are the form's files.
  answered(answer, portrait = null, speech = null) {
    if (answer?.job) {
      this.#acceptedAt = performance.now();
      const stored = { id: answer.job.id, portrait: pathOf(portrait), speech: pathOf(speech) };
      sessionStorage.setItem(STORED, JSON.stringify(stored));
      this.#follow(stored, answer.job);
      return;
    }
    this.#setBusy(this.#job !== null && !isOver(this.#job.state));
    this.#view.state.textContent = "";
    this.#explain(answer?.problem ?? { code: "page_failed" }, answer?.retry_after_s);
  }

  async #start() {
    this.#messages = await (await fetch("player/messages.json")).json();
    const stored = JSON.parse(sessionStorage.getItem(STORED) ?? "null");
    if (stored !== null) this.#follow(stored, null);
    this.#watchReadiness();
  }

  async #follow(stored, job) {
    this.#stream?.close();
    this.#stream = new JobStream(stored.id, {
      event: (name, data) => this.#take(name, data),
      connected: (isConnected) => this.#connection(isConnected),
    });
    this.#view.clear();
    this.#firstFrameMs = null;
    this.#hasFrames = false;
    this.#setBusy(true);
    if (job !== null) this.#update(job);
    this.#view.setPoster(stored.portrait);
    await this.#player.reset();
    this.#stream.open();
    await this.#loadSound(stored.speech);
  }

  async #loadSound(path) {
    try {
      if (path === null) return await this.#player.setSound(null);
      const answer = await fetch(path);
      await this.#player.setSound(answer.ok ? await answer.arrayBuffer() : new ArrayBuffer(0));
    } catch {
      this.#view.notice("warning", "The live picture is silent",
        "This browser cannot read the sound file; the finished video has its sound.", "sound");
    }
    return undefined;
  }

  #take(name, data) {
    if (name === "frame") this.#takeFrame(data);
    else if (name === "gap") this.#takeGap(data);
    else if (name === "job.progress") this.#update({ ...this.#job, progress: data });
    else if (name === "job.error") this.#failed(data);
    else this.#update(data);
    if (name === "job.state" && isOver(data.state) && !this.#hasFrames) this.#player.autoplay = false; // an old job
    if (name === "job.done") this.#done(data);
  }

  #takeFrame({ index, jpeg }) {
    if (!this.#hasFrames && this.#acceptedAt !== null) this.#firstFrameMs = performance.now() - this.#acceptedAt;
    this.#hasFrames = true;
    this.#player.push(index, jpegBlob(jpeg));
    if (this.#player.frames.isFull) this.#stream.rest();
  }

  #takeGap({ from, to }) {
    this.#player.gap(from, to);
    this.#view.notice("info", "Some frames are gone",
      `Frames ${from} to ${to} are no longer kept for live viewing; the finished video has all of them.`, "gap");
  }

  #update(job) {
    this.#job = job;
    if (job.progress.frames_total !== null) this.#player.total = job.progress.frames_total;
    this.#view.setJob(job, job.progress);
    (job.warnings ?? []).forEach((text, at) => this.#view.notice("warning", "Please note", sentence(text), `warning-${at}`));
  }

  #done(job) {
    this.#player.complete();
    this.#finished();
    this.#view.offerVideo(`gateway/jobs/${job.id}/video`, `talkinghead-${job.id}.mp4`);
    if (!this.#hasFrames) this.#view.showVideo(true);
  }

  #failed(problem) {
    this.#player.complete();
    this.#finished();
    if (this.#job !== null) this.#job = { ...this.#job, state: "failed" };
    this.#view.state.textContent = "";
    this.#view.setPoster(null);
    this.#explain(problem);
    if (["job_not_found", "job_expired"].includes(problem.code)) sessionStorage.removeItem(STORED);
  }

  #finished() {
    this.#setBusy(false);
    this.#view.cancel.hidden = true;
    this.#view.removeNotice("connection");
  }

  #connection(isConnected) {
    if (isConnected) this.#view.removeNotice("connection");
    else this.#view.notice("info", "Connection lost", "Trying again; the job goes on meanwhile.", "connection");
  }

  async #cancel() {
    this.#view.cancel.disabled = true;
    try {
      const answer = await fetch(`gateway/jobs/${this.#job.id}`, { method: "DELETE" });
      if (!answer.ok) this.#explain(await answer.json());
    } catch {
      this.#explain({ code: "gateway_unreachable" });
    }
    this.#view.cancel.disabled = false;
  }

  async #watchReadiness() {
    let problem = { code: "gateway_unreachable" };
    try {
      const answer = await fetch("gateway/ready");
      if (answer.ok) {
        this.#view.removeNotice("ready");
        return;
      }
      problem = await answer.json();
    } catch { /* the page's own server is away: told as it stands */ }
    if (!this.#view.hasNotice("problem")) this.#explain(problem, null, "ready");
    setTimeout(() => this.#watchReadiness(), READY_POLL_MS);
  }

  // Tell a problem: what happened and what to do, in the page's words, and what the service said of it.
  #explain(problem, retryAfterSeconds = null, key = "problem") {
    const [title, advice] = this.#messages[problem.code] ?? this.#messages.internal ?? ["Something went wrong", ""];
    const soon = retryAfterSeconds ? ` The service asks to wait ${retryAfterSeconds} s.` : "";
    const isCanceled = problem.code === "job_canceled";
    const kind = key === "ready" ? "warning" : isCanceled ? "info" : "error";
    this.#view.notice(kind, title, advice + soon, key, isCanceled ? "" : sentence(problem.detail ?? ""));
  }

  #setBusy(isBusy) {
    const button = document.querySelector("#th-generate");
    if (button !== null) button.disabled = isBusy;
    this.toggleAttribute("busy", isBusy);
  }

  #refresh() {
    const { phase, needsClick } = this.#player;
    if (this.#player.frames.hasRoom) this.#stream?.wake();
    this.#view.setStage(phase, this.#stageWords(phase), phase === "paused" && needsClick);
    this.#view.setTime(this.#player.position, this.#player.received, this.#player.duration);
    this.#view.setStats(this.#hasFrames ? this.#statRows() : []);
  }

  #stageWords(phase) {
    if (phase === "empty") return this.hasAttribute("busy") ? "The first frame comes in a moment" : IDLE_WORDS;
    return phase === "waiting" ? "Buffering" : "";
  }

  #statRows() {
    const now = this.#player.stats;
    const ms = (value) => (value === null ? "–" : `${Math.round(value)} ms`);
    const rate = now.receivedPerSecond;
    return [
      ["First frame", this.#firstFrameMs === null ? "–" : `${(this.#firstFrameMs / 1000).toFixed(2)} s`, "after the job was accepted"],
      ["Arriving", rate === null ? "–" : `${rate.toFixed(0)} fps`, "frames received per second; 25 is real time"],
      ["Buffered", `${now.bufferedSeconds.toFixed(1)} s`, "received and not yet played"],
      ["A/V offset", ms(now.offsetMeanMs), `picture behind its sound, mean; at worst ${ms(now.offsetWorstMs)}`],
      ["Dropped", String(now.skipped), "frames whose moment passed before they could be drawn"],
      ["Pauses", `${now.stalls}`, `to wait for frames: ${now.stalledSeconds.toFixed(1)} s in all`],
    ];
  }

  #connect() {
    const view = this.#view;
    const toggle = () => (["playing", "waiting"].includes(this.#player.phase) ? this.#player.pause() : this.#play());
    view.play.addEventListener("click", toggle);
    view.canvas.addEventListener("click", toggle);
    view.bigPlay.addEventListener("click", () => this.#play());
    view.seek.addEventListener("change", () => this.#player.seek(Number(view.seek.value)));
    view.cancel.addEventListener("click", () => this.#cancel());
    view.toggle.addEventListener("click", () => {
      this.#player.pause();
      view.showVideo(view.video.hidden);
    });
  }

  #play() {
    this.#player.clock.unlock();
    this.#player.play();
  }
}

// Of a file of the form only its path on this server matters.
function pathOf(file) {
  return file?.url ? new URL(file.url, location.href).pathname : null;
}

function jpegBlob(base64) {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type: "image/jpeg" });
}

function sentence(text) {
  const trimmed = text.trim();
  const upper = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return upper === "" || /[.!?]$/.test(upper) ? upper : `${upper}.`;
}

customElements.define("talking-head-player", TalkingHeadPlayer);
