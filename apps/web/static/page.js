// The page's elements, and errors beside the control that caused them, which are read out.

export const el = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);

const INPUTS = { model: el.token, video: el.file, classes: el.classes };

export function fail(place, error, { focus = false } = {}) {
  el[`${place}-error`].textContent = error.message;
  INPUTS[place]?.setAttribute("aria-invalid", "true");
  if (focus) INPUTS[place].focus();
}

export function clear(...places) {
  for (const place of places) {
    el[`${place}-error`].textContent = "";
    INPUTS[place]?.removeAttribute("aria-invalid");
  }
}
