// The webcam: while a clip is recognized the next one is recorded, and waits for its turn.

import { showLive, showNothing } from "./answers.js";
import { Cancelled, postJson } from "./api.js";
import { askedNames, fieldsFor } from "./asking.js";
import { Camera } from "./camera.js";
import { keep, showKept } from "./clip.js";
import { clear, el, fail } from "./page.js";
import { cancel } from "./recognition.js";

const LIVE_WINDOWS = 30;

const camera = new Camera();
let sending = null;

async function startCamera() {
  clear("camera", "video", "run");
  const found = askedNames();
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
    keep(clip);
    sent = sendClip(clip, found, { start, end }, windows);
  }
}

async function sendClip(clip, found, { start, end }, windows) {
  const stop = sending = new AbortController();
  try {
    const { classes } = await postJson(
      "v1/predict", fieldsFor(clip, found, ""), { signal: stop.signal },
    );
    if (!camera.on) return;
    windows.push({ start, end, classes });
    if (windows.length > LIVE_WINDOWS) windows.shift();
    showLive(windows);
    el["camera-note"].textContent = "The webcam is on.";
  } catch (error) {
    if (error instanceof Cancelled) return;
    stopCamera();
    fail("camera", error);
  }
}

export function stopCamera() {
  if (!camera.on) return;
  const here = document.activeElement === el["camera-stop"];
  camera.stop();
  sending?.abort();
  el.video.controls = true;
  el["camera-stop"].hidden = true;
  el["video-card"].classList.remove("live");
  el.camera.disabled = el.run.disabled = false;
  el["camera-note"].textContent = "The webcam is off.";
  if (here) el.camera.focus();
  showKept(); // its last clip can be looked at and asked about
}

el.camera.addEventListener("click", startCamera);
el["camera-stop"].addEventListener("click", stopCamera);
window.addEventListener("pagehide", () => camera.stop());
