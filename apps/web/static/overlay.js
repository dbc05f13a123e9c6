// A skeleton over the video: its file, and the frame of the moment.

import { clear, el, fail } from "./page.js";
import { drawSkeleton, parseSkeleton } from "./skeleton.js";

let joints = null;

const live = () => el.video.srcObject !== null;
const draw = () => drawSkeleton(el.overlay, el.video, live() ? null : joints);

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
  draw();
});
el["skeleton-off"].addEventListener("click", () => {
  joints = null;
  el.skeleton.value = el["skeleton-note"].textContent = "";
  el["skeleton-off"].hidden = true;
  el.skeleton.focus();
  draw();
});
new ResizeObserver(draw).observe(el.video);
el.video.addEventListener("timeupdate", draw);
el.video.addEventListener("seeked", draw);
