// What is asked: of which model, and for which classes.

import { getJson, ServiceError, setToken } from "./api.js";
import { namesInFile, namesOf } from "./classes.js";
import { clear, el, fail } from "./page.js";
import { make } from "./results.js";

const LOADING_MS = 1000;

let models = [];

export async function loadModels() {
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

/** The names asked for, or null after having said what is wrong with them. */
export function askedNames() {
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

export function fieldsFor(clip, found, window) {
  return {
    model: el.model.value,
    classes: found.length ? JSON.stringify(found) : "",
    top_k: el.top.value,
    window,
    video: clip,
  };
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
