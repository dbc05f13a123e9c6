// The page: what the controls do.

import { Cancelled, getJson, post, postJson, ServiceError, setToken } from "./api.js";
import { Camera } from "./camera.js";
import { setUpChat } from "./chat.js";
import { namesInFile, namesOf } from "./classes.js";
import { clock, make, percent, showRanking, Timeline } from "./results.js";
import { drawSkeleton, parseSkeleton } from "./skeleton.js";

const LIVE_WINDOWS = 30;
const LOADING_MS = 1000;

const el = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);
const camera = new Camera();
const timeline = new Timeline(
  { box: el.timeline, row: el.windows, heat: el.heat, note: el["heat-note"], body: el["window-rows"] },
  pickWindow,
);
let models = [];
let file = null;
let address = "";
let whole = null;
let running = null;
let joints = null;

// Errors stand beside the control that caused them, and are read out.

const INPUTS = { model: el.token, video: el.file, classes: el.classes };

function fail(place, error, { focus = false } = {}) {
  el[`${place}-error`].textContent = error.message;
  INPUTS[place]?.setAttribute("aria-invalid", "true");
  if (focus) INPUTS[place].focus();
}

function clear(...places) {
  for (const place of places) {
    el[`${place}-error`].textContent = "";
    INPUTS[place]?.removeAttribute("aria-invalid");
  }
}

// Models and lists of classes

async function loadModels() {
  clear("model");
  el.reload.hidden = true;
  el.model.disabled = true;
  try {
    await whenReady();
    if (el.list.options.length === 1) await loadLists();
    const { recognizers, captioners } = await getJson("v1/models");
    models = recognizers;
    el.model.replaceChildren(...models.map(({ name }) => make("option", { text: name, value: name })));
    el.model.disabled = false;
    el.captioner.replaceChildren(
      ...captioners.map(({ name }) => make("option", { text: name, value: name })),
    );
    el["captioner-field"].hidden = captioners.length < 2;
    el["chat-card"].hidden = captioners.length === 0;
    showModel();
  } catch (error) {
    const locked = error instanceof ServiceError && error.status === 401;
    el["token-field"].hidden = el["token-field"].hidden && !locked;
    el.reload.hidden = false;
    el["model-note"].textContent = "";
    fail("model", error, { focus: locked });
  }
}

/** Waits while the service loads its models. */
async function whenReady() {
  for (;;) {
    try {
      return void await getJson("ready");
    } catch (error) {
      if (error.status !== 503) throw error;
      el["model-note"].textContent = "The models are being loaded.";
    }
    await new Promise((resolve) => setTimeout(resolve, LOADING_MS));
  }
}

async function loadLists() {
  const { lists } = await getJson("class-lists");
  for (const { id, title, names } of lists) {
    const option = make("option", { text: `${title} (${names.length})`, value: id });
    option.names = names;
    el.list.append(option);
  }
}

const chosenModel = () => models.find(({ name }) => name === el.model.value);

function showModel() {
  const model = chosenModel();
  const own = model?.classes?.length;
  el["model-note"].textContent = model
    ? [model.source, own && `knows ${own} classes of its own`].filter(Boolean).join("; ")
    : "This service has no model that recognizes.";
  showCount();
}

function showCount() {
  clear("classes");
  try {
    const { length } = namesOf(el.classes.value);
    const own = chosenModel()?.classes?.length;
    el["classes-count"].textContent = length || !own
      ? `${length} ${length === 1 ? "class" : "classes"}`
      : `Left empty, the model's own ${own} classes are used.`;
  } catch (error) {
    el["classes-count"].textContent = "";
    fail("classes", error);
  }
}

function useNames(names) {
  el.classes.value = names.join("\n");
  showCount();
}

el.model.addEventListener("change", showModel);
el.classes.addEventListener("input", showCount);
el.reload.addEventListener("click", () => {
  setToken(el.token.value);
  loadModels();
});
el.token.addEventListener("change", () => {
  setToken(el.token.value);
  loadModels();
});
el.list.addEventListener("change", () => {
  const { names } = el.list.selectedOptions[0] ?? {};
  if (names) useNames(names);
});
el["list-file"].addEventListener("change", async () => {
  const [chosen] = el["list-file"].files;
  if (!chosen) return;
  clear("classes");
  try {
    useNames(await namesInFile(chosen));
    el.list.value = "";
  } catch (error) {
    fail("classes", error);
  }
});
el["classes-clear"].addEventListener("click", () => {
  el.list.value = el["list-file"].value = "";
  useNames([]);
  el.classes.focus();
});

// The video

const sizeOf = ({ size }) =>
  size < 1e6 ? `${(size / 1e3).toFixed(1)}\u00a0kB` : `${(size / 1e6).toFixed(1)}\u00a0MB`;

function useFile(chosen) {
  clear("video", "run");
  file = chosen;
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(chosen);
  el.video.srcObject = null;
  el.video.src = address;
  el.stage.hidden = false;
  el["video-note"].textContent = `${chosen.name}, ${sizeOf(chosen)}`;
}

function chooseFile(chosen) {
  if (!chosen) return;
  stopCamera();
  cancel();
  showNothing();
  if (chosen.size) return void useFile(chosen);
  file = null;
  el.stage.hidden = true;
  el["video-note"].textContent = "";
  fail("video", new Error(`${chosen.name} is empty.`));
}

el.file.addEventListener("change", () => chooseFile(el.file.files[0]));
el.video.addEventListener("error", () => {
  if (file && el.video.src) {
    el.stage.hidden = true;
    el["video-note"].textContent += ". This browser cannot play it; the service may still read it.";
  }
});
el.video.addEventListener("timeupdate", showTime);
el.video.addEventListener("seeked", showTime);

function showTime() {
  if (camera.on) return;
  drawSkeleton(el.overlay, el.video, joints);
  const now = whole && timeline.get(timeline.at(el.video.currentTime));
  el.now.hidden = !now;
  if (!now) return; // nothing yet, or windows of clips that are gone
  timeline.moveTo(el.video.currentTime);
  const [best] = now.classes;
  el.now.replaceChildren(
    `${clock(el.video.currentTime)} `, make("bdi", { text: best.name }), ` ${percent(best.probability)}`,
  );
}

// Files can be dropped anywhere on the card; a miss must not open the file in place of the page.
let within = 0;
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault());
  el["video-card"].addEventListener(kind, () => {
    within = kind === "drop" ? 0 : within + { dragenter: 1, dragover: 0, dragleave: -1 }[kind];
    el.drop.classList.toggle("over", within > 0);
  });
}
el["video-card"].addEventListener("drop", (event) => {
  const [dropped] = event.dataTransfer.files;
  if (dropped) chooseFile(dropped);
  else fail("video", new Error("That is no file. Drop a video file."));
});

// The skeleton

el.skeleton.addEventListener("change", async () => {
  const [chosen] = el.skeleton.files;
  if (!chosen) return;
  clear("skeleton");
  el["skeleton-note"].textContent = "";
  joints = null;
  try {
    if (chosen.size > 5e7) throw new Error(`${chosen.name} is larger than 50 MB.`);
    joints = parseSkeleton(await chosen.text(), chosen.name);
    el["skeleton-note"].textContent = `${joints.length} frames`;
  } catch (error) {
    fail("skeleton", error);
  }
  el["skeleton-off"].hidden = !joints;
  drawSkeleton(el.overlay, el.video, joints);
});
el["skeleton-off"].addEventListener("click", () => {
  joints = null;
  el.skeleton.value = el["skeleton-note"].textContent = "";
  el["skeleton-off"].hidden = true;
  el.skeleton.focus();
  drawSkeleton(el.overlay, el.video, joints);
});
new ResizeObserver(() => drawSkeleton(el.overlay, el.video, joints)).observe(el.video);

// Recognition

/** The names asked for, or null after having said what is wrong with them. */
function names() {
  clear("classes");
  try {
    const found = namesOf(el.classes.value);
    if (found.length || chosenModel()?.classes?.length) return found;
    throw new Error("Name at least one class, or load a list.");
  } catch (error) {
    fail("classes", error, { focus: true });
    return null;
  }
}

/** The video, or null after having said that there is none. */
function video() {
  clear("video");
  if (file) return file;
  fail("video", new Error("Choose a video first, or use the webcam."), { focus: true });
  return null;
}

function fieldsFor(clip, found, window) {
  return {
    model: el.model.value,
    classes: found.length ? JSON.stringify(found) : "",
    top_k: el.top.value,
    window,
    video: clip,
  };
}

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

function cancel() {
  running?.abort();
}

async function recognize() {
  clear("run");
  const clip = video();
  const found = clip && names();
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

function showNothing() {
  whole = null;
  el.said.textContent = "Nothing recognized yet.";
  el["ranking-box"].hidden = el.whole.hidden = el.now.hidden = true;
  el["attention-card"].hidden = true;
  timeline.show([]);
  showAttention(null);
}

function showAnswer(answer) {
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

el.run.addEventListener("click", recognize);
el.cancel.addEventListener("click", cancel);
el.whole.addEventListener("click", () => {
  showWhole();
  el.results.focus();
});

// The webcam: while a clip is recognized the next one is recorded, and waits for its turn

async function startCamera() {
  clear("camera", "video", "run");
  const found = names();
  if (!found) return;
  cancel();
  el.camera.disabled = el.run.disabled = true;
  try {
    el.video.srcObject = await camera.start();
  } catch (error) {
    el.camera.disabled = el.run.disabled = false;
    return void fail("camera", error);
  }
  camera.whenLost(() => {
    stopCamera();
    fail("camera", new Error("The webcam was switched off or taken away."));
  });
  showNothing();
  el.video.controls = false;
  el.stage.hidden = false;
  el.file.value = el["video-note"].textContent = "";
  el.video.play();
  el["camera-stop"].hidden = false;
  el["video-card"].classList.add("live");
  el["camera-stop"].focus();
  await watch(found);
}

async function watch(found) {
  const seconds = Number(el["camera-length"].value);
  const windows = [];
  const began = performance.now();
  let sent = Promise.resolve();
  el["camera-note"].textContent = "The webcam is on; the first answer follows its first clip.";
  el.said.textContent = "Waiting for the first clip.";
  while (camera.on) {
    const start = (performance.now() - began) / 1000;
    const clip = await camera.record(seconds);
    const end = (performance.now() - began) / 1000;
    await sent; // one after the other: a slow service makes gaps, no queue
    if (!clip || !camera.on) break;
    file = clip;
    sent = sendClip(clip, found, { start, end }, windows);
  }
}

async function sendClip(clip, found, { start, end }, windows) {
  const stop = running = new AbortController();
  try {
    const { classes } = await postJson(
      "v1/predict", fieldsFor(clip, found, ""), { signal: stop.signal },
    );
    if (!camera.on) return;
    windows.push({ start, end, classes });
    if (windows.length > LIVE_WINDOWS) windows.shift();
    timeline.show(windows);
    timeline.moveTo(end);
    el["camera-note"].textContent = "The webcam is on.";
    showClasses(classes, `webcam, ${clock(start)} to ${clock(end)}`);
  } catch (error) {
    if (error instanceof Cancelled) return;
    stopCamera();
    fail("camera", error);
  }
}

function stopCamera() {
  if (!camera.on) return;
  const here = document.activeElement === el["camera-stop"];
  camera.stop();
  cancel();
  running = null;
  el.video.controls = true;
  el["camera-stop"].hidden = true;
  el["video-card"].classList.remove("live");
  el.camera.disabled = el.run.disabled = false;
  el["camera-note"].textContent = "The webcam is off.";
  if (here) el.camera.focus();
  if (file) useFile(file); // its last clip can be looked at and asked about
  else {
    el.video.srcObject = null;
    el.stage.hidden = true;
  }
}

el.camera.addEventListener("click", startCamera);
el["camera-stop"].addEventListener("click", stopCamera);
window.addEventListener("pagehide", () => camera.stop());

// Attention

let looking = null;
let picture = "";

function showAttention(answer, name) {
  looking?.abort();
  if (picture) URL.revokeObjectURL(picture);
  picture = answer ? URL.createObjectURL(answer) : "";
  const moving = answer?.type.startsWith("video/") ?? false;
  el["attention-figure"].hidden = !answer;
  el["attention-image"].hidden = moving;
  el["attention-video"].hidden = !moving;
  for (const each of [el["attention-image"], el["attention-video"]]) each.removeAttribute("src");
  el["attention-note"].textContent = "";
  if (!answer) return;
  const shown = moving ? el["attention-video"] : el["attention-image"];
  shown.src = picture;
  const text = `Bright places speak for “${name}”.`;
  if (moving) shown.setAttribute("aria-label", text);
  else shown.alt = text;
  el["attention-note"].textContent = text;
  if (moving && !matchMedia("(prefers-reduced-motion: reduce)").matches) shown.play();
}

el.attention.addEventListener("click", async () => {
  clear("attention");
  const clip = video();
  const found = clip && names();
  if (!found) return;
  const name = el["attention-class"].value;
  showAttention(null);
  const stop = looking = new AbortController();
  el["attention-note"].textContent = "Looking";
  el.attention.disabled = true;
  el["attention-cancel"].hidden = false;
  el["attention-cancel"].focus();
  const fields = {
    ...fieldsFor(clip, found, ""), top_k: "", class_name: name, format: el["attention-form"].value,
  };
  try {
    const answer = await post("v1/attention", fields, { signal: stop.signal });
    if (looking === stop) showAttention(answer, name);
  } catch (error) {
    el["attention-note"].textContent = error instanceof Cancelled ? "Cancelled." : "";
    if (!(error instanceof Cancelled)) fail("attention", error);
  }
  const back = document.activeElement === el["attention-cancel"];
  el["attention-cancel"].hidden = true;
  el.attention.disabled = false;
  if (back) el.attention.focus();
});
el["attention-cancel"].addEventListener("click", () => looking?.abort());

setUpChat(el, video);
loadModels();
