// Questions about the video, answers as they are written.

import { Cancelled, errorOf, postStream } from "./api.js";
import { make } from "./results.js";

const DESCRIBE = "Describe what the person does in this video.";

/**
 * Wire the panel.
 * @param el elements by id
 * @param video gives the current video file, or null after having said that there is none
 */
export function setUpChat(el, video) {
  let messages = [];
  let about = null;
  let running = null;

  const say = (text, mine) => {
    const line = make("p", { name: text, class: mine ? "mine" : "theirs" });
    el.log.append(line);
    el.log.scrollTop = el.log.scrollHeight;
    return line;
  };

  const busy = (on) => {
    el["chat-stop"].hidden = !on;
    el.ask.disabled = el.describe.disabled = on;
    el.log.setAttribute("aria-busy", String(on));
  };

  const restart = () => {
    running?.abort();
    messages = [];
    el.log.replaceChildren();
    el["chat-new"].hidden = true;
    el["chat-error"].textContent = "";
  };

  async function ask(text) {
    el["chat-error"].textContent = "";
    const file = video();
    if (!file) return;
    if (file !== about) restart();
    about = file;
    const asked = [...messages, { speaker: "human", text }];
    const question = say(text, true);
    const answer = say("…", false);
    const stop = running = new AbortController();
    let said = "";
    busy(true);
    el["chat-stop"].focus();
    try {
      const fields = {
        model: el.captioner.value, messages: JSON.stringify(asked), video: file,
      };
      for await (const { event, data } of postStream("v1/chat", fields, { signal: stop.signal })) {
        if (event === "error") throw errorOf(0, data);
        const { piece = "", finished = true } = JSON.parse(data);
        said += piece;
        answer.textContent = said || "…";
        el.log.scrollTop = el.log.scrollHeight;
        if (!finished) throw new Error("The answer was cut at its limit of length.");
      }
    } catch (error) {
      if (!(error instanceof Cancelled)) el["chat-error"].textContent = error.message;
    }
    if (running !== stop) return; // another video was chosen meanwhile
    if (said) {
      messages = [...asked, { speaker: "gpt", text: said }];
      el["chat-new"].hidden = false;
      el.question.value = "";
    } else {
      question.remove();
      answer.remove();
    }
    busy(false);
    running = null;
    el.question.focus();
  }

  el.chat.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = el.question.value.trim();
    if (text) return void ask(text);
    el["chat-error"].textContent = "Type a question first.";
    el.question.focus();
  });
  el.describe.addEventListener("click", () => ask(DESCRIBE));
  el["chat-stop"].addEventListener("click", () => running?.abort());
  el["chat-new"].addEventListener("click", () => {
    restart();
    el.question.focus();
  });
}
