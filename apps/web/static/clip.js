// The video that is asked about.

import { clear, el, fail } from "./page.js";

let file = null;
let address = "";

/** The video, or null after having said that there is none. */
export function video() {
  clear("video");
  if (file) return file;
  fail("video", new Error("Choose a video first, or use the webcam."), { focus: true });
  return null;
}

/** Ask about this video from now on, without showing it. */
export function keep(chosen) {
  file = chosen;
}

const sizeOf = ({ size }) =>
  size < 1e6 ? `${(size / 1e3).toFixed(1)}\u00a0kB` : `${(size / 1e6).toFixed(1)}\u00a0MB`;

function show() {
  clear("video", "run");
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  el.video.srcObject = null;
  el.video.src = address;
  el.stage.hidden = false;
  el["video-note"].textContent = `${file.name}, ${sizeOf(file)}`;
}

/** Show the video that is asked about, or nothing when there is none. */
export function showKept() {
  if (file) return void show();
  el.video.srcObject = null;
  el.stage.hidden = true;
}

/**
 * Wire the file field and dropping.
 * @param before called before another video takes the place of this one
 */
export function setUpClip(before) {
  const choose = (chosen) => {
    if (!chosen) return;
    before();
    file = chosen.size ? chosen : null;
    if (file) return void show();
    el.stage.hidden = true;
    el["video-note"].textContent = "";
    fail("video", new Error(`${chosen.name} is empty.`));
  };

  el.file.addEventListener("change", () => choose(el.file.files[0]));
  el.video.addEventListener("error", () => {
    if (file && el.video.src) {
      el.stage.hidden = true;
      el["video-note"].textContent += ". This browser cannot play it; the service may still read it.";
    }
  });

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
    if (dropped) choose(dropped);
    else fail("video", new Error("That is no file. Drop a video file."));
  });
}
