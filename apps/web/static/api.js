// The service's HTTP API: uploads that report progress, answers as streams, errors as text.

/** An error to show: what the service said, or that it does not answer. */
export class ServiceError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export class Cancelled extends Error {}

let token = "";

export function setToken(text) {
  token = text.trim();
}

const SILENT = "The service does not answer. Check that it is still running, then try again.";

const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

/** The error that an answer tells of. */
export function errorOf(status, text) {
  let said = "";
  try {
    const { error } = JSON.parse(text);
    said = `${error.message[0].toUpperCase()}${error.message.slice(1)}.`
      + ` Allowed: ${error.allowed}.`;
  } catch {
    said = ""; // an answer from something in between, such as a proxy's page
  }
  return new ServiceError(said || `The service answered with status ${status}.`, status);
}

export async function getJson(path) {
  let answer;
  try {
    answer = await fetch(path, { headers: authorization(), cache: "no-store" });
  } catch {
    throw new ServiceError(SILENT);
  }
  if (!answer.ok) throw errorOf(answer.status, await answer.text());
  return answer.json();
}

function formOf(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Blob) form.append(name, value, value.name || "clip.webm");
    else if (value !== undefined && value !== null && value !== "") form.append(name, value);
  }
  return form;
}

/** Post a form; the answer as a Blob. `progress` gets 0..1 while it is being sent. */
export function post(path, fields, { signal, progress } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open("POST", path);
    request.responseType = "blob";
    for (const [name, value] of Object.entries(authorization())) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => progress?.(event.total ? event.loaded / event.total : 1);
    request.onerror = () => reject(new ServiceError(SILENT));
    request.onabort = () => reject(new Cancelled());
    request.onload = async () => {
      if (request.status === 200) resolve(request.response);
      else reject(errorOf(request.status, await request.response.text()));
    };
    request.onloadend = () => signal?.removeEventListener("abort", stop);
    if (signal?.aborted) return void reject(new Cancelled());
    signal?.addEventListener("abort", stop);
    request.send(formOf(fields));
  });
}

export async function postJson(path, fields, options) {
  const answer = await post(path, fields, options);
  return JSON.parse(await answer.text());
}

/** Post a form whose answer is a stream of events; yields {event, data} as they come. */
export async function* postStream(path, fields, { signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST", body: formOf(fields), headers: authorization(), signal,
    });
    if (!answer.ok) throw errorOf(answer.status, await answer.text());
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (rest + value.replaceAll("\r", "")).split("\n\n");
      rest = events.pop();
      for (const event of events) yield parseEvent(event);
    }
  } catch (error) {
    if (signal?.aborted) throw new Cancelled();
    throw error instanceof ServiceError ? error : new ServiceError(SILENT);
  }
}

function parseEvent(text) {
  const found = { event: "message", data: [] };
  for (const line of text.split("\n")) {
    const at = line.indexOf(":");
    const value = line.slice(at + 1).replace(/^ /, "");
    if (line.startsWith("event:")) found.event = value;
    if (line.startsWith("data:")) found.data.push(value);
  }
  return { event: found.event, data: found.data.join("\n") };
}
