// Recognition of one video: sending, waiting, cancelling.

import { showAnswer } from "./answers.js";
import { Cancelled, postJson } from "./api.js";
import { askedNames, fieldsFor } from "./asking.js";
import { video } from "./clip.js";
import { clear, el, fail } from "./page.js";
import { percent } from "./results.js";

let running = null;

function progress(share) {
  el["progress-text"].textContent = share < 1 ? `Sending, ${percent(share)}` : "Recognizing";
  if (share < 1) el.progress.value = share;
  else el.progress.removeAttribute("value");
}

function busy(on) {
  const back = !on && document.activeElement === el.cancel;
  el.run.disabled = on;
  el.cancel.hidden = el.busy.hidden = !on;
  el.results.setAttribute("aria-busy", String(on));
  if (back) el.run.focus();
}

export function cancel() {
  running?.abort();
}

async function recognize() {
  clear("run");
  const clip = video();
  const found = clip && askedNames();
  if (!found) return;
  const keyboard = document.activeElement === el.run;
  const stop = running = new AbortController();
  progress(0);
  busy(true);
  if (keyboard) el.cancel.focus();
  try {
    const answer = await postJson(
      "v1/predict", fieldsFor(clip, found, el.window.value), { signal: stop.signal, progress },
    );
    if (running === stop) showAnswer(answer);
  } catch (error) {
    if (error instanceof Cancelled) el.said.textContent = "Cancelled.";
    else fail("run", error);
  } finally {
    if (running === stop) {
      running = null;
      busy(false);
    }
  }
}

el.run.addEventListener("click", recognize);
el.cancel.addEventListener("click", cancel);
