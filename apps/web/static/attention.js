// Attention: where the model looks for one class.

import { Cancelled, post } from "./api.js";
import { askedNames, fieldsFor } from "./asking.js";
import { video } from "./clip.js";
import { clear, el, fail } from "./page.js";

let looking = null;
let picture = "";

/** Show the answer for a class, or none. */
export function showAttention(answer, name) {
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
  const text = `Coloured places speak for “${name}”, blue a little, red most.`;
  if (moving) shown.setAttribute("aria-label", text);
  else shown.alt = text;
  el["attention-note"].textContent = text;
  if (moving && !matchMedia("(prefers-reduced-motion: reduce)").matches) shown.play();
}

el.attention.addEventListener("click", async () => {
  clear("attention");
  const clip = video();
  const found = clip && askedNames();
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
