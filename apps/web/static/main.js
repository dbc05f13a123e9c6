// The page: its parts, wired.

import { showNothing } from "./answers.js";
import { loadModels } from "./asking.js";
import { setUpChat } from "./chat.js";
import { setUpClip, video } from "./clip.js";
import { stopCamera } from "./live.js";
import "./overlay.js";
import { el } from "./page.js";
import { cancel } from "./recognition.js";

setUpClip(() => {
  stopCamera();
  cancel();
  showNothing();
});
setUpChat(el, video);
loadModels();
