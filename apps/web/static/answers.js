// What was recognized: the ranking, the windows over time, the class of the moment.

import { showAttention } from "./attention.js";
import { el } from "./page.js";
import { clock, make, percent, showRanking, Timeline } from "./results.js";

const timeline = new Timeline(
  { box: el.timeline, row: el.windows, heat: el.heat, note: el["heat-note"], body: el["window-rows"] },
  pickWindow,
);
let whole = null;

export function showNothing() {
  whole = null;
  el.said.textContent = "Nothing recognized yet.";
  el["ranking-box"].hidden = el.whole.hidden = el.now.hidden = true;
  el["attention-card"].hidden = true;
  timeline.show([]);
  showAttention(null);
}

export function showAnswer(answer) {
  whole = answer;
  timeline.show(answer.windows ?? []);
  showWhole();
  showTime();
  el["attention-class"].replaceChildren(
    ...answer.classes.map(({ name }) => make("option", { name, value: name })),
  );
  el["attention-card"].hidden = false;
}

function showWhole() {
  timeline.release();
  el.whole.hidden = true;
  showClasses(whole.classes, `${whole.model}, whole video of ${whole.duration.toFixed(1)}\u00a0s`);
}

function showClasses(classes, of) {
  const [best] = classes;
  el["ranking-box"].hidden = false;
  showRanking(el.ranking, classes);
  el.said.replaceChildren(
    make("bdi", { text: best.name }), `, ${percent(best.probability)}; best of ${classes.length} (${of})`,
  );
}

function pickWindow(index, second) {
  const { start, end, classes } = timeline.get(index);
  showClasses(classes, `${clock(start)} to ${clock(end)}`);
  el.whole.hidden = !whole;
  if (whole && el.video.readyState) el.video.currentTime = second;
}

/** Windows of clips from the webcam; the newest is shown. */
export function showLive(windows) {
  const { start, end, classes } = windows.at(-1);
  timeline.show(windows);
  timeline.moveTo(end);
  showClasses(classes, `webcam, ${clock(start)} to ${clock(end)}`);
}

function showTime() {
  const now = whole && timeline.get(timeline.at(el.video.currentTime));
  el.now.hidden = !now;
  if (!now) return; // nothing yet, or windows of clips that are gone
  timeline.moveTo(el.video.currentTime);
  const [best] = now.classes;
  el.now.replaceChildren(
    `${clock(el.video.currentTime)} `, make("bdi", { text: best.name }), ` ${percent(best.probability)}`,
  );
}

el.whole.addEventListener("click", () => {
  showWhole();
  el.results.focus();
});
el.video.addEventListener("timeupdate", showTime);
el.video.addEventListener("seeked", showTime);
