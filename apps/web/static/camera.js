// Short clips from the webcam, one after the other.

const TYPES = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];

function reasonOf(error) {
  if (error.name === "NotAllowedError") return "The browser was not allowed to use the webcam.";
  if (error.name === "NotFoundError") return "No webcam was found. Connect one, then try again.";
  if (error.name === "NotReadableError") return "The webcam is used by another program.";
  return `The webcam cannot be used: ${error.message}`;
}

export class Camera {
  #stream = null;
  #recorder = null;
  #timer = 0;

  /** Switch the webcam on; gives its stream. Throws an Error to show. */
  async start() {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      throw new Error("The webcam needs a page opened by https or from localhost.");
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: 640 }, height: { ideal: 480 } }, audio: false,
      });
    } catch (error) {
      throw new Error(reasonOf(error));
    }
    return this.#stream;
  }

  get on() {
    return this.#stream !== null;
  }

  /** Call `lost` when the webcam goes away by itself. */
  whenLost(lost) {
    for (const track of this.#stream.getTracks()) track.onended = lost;
  }

  /** Record one clip of so many seconds; null once the webcam is off. */
  record(seconds) {
    return new Promise((resolve) => {
      if (!this.on) return void resolve(null);
      const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
      const recorder = new MediaRecorder(this.#stream, { mimeType });
      const parts = [];
      recorder.ondataavailable = (event) => parts.push(event.data);
      recorder.onstop = () => {
        clearTimeout(this.#timer);
        const kind = mimeType.split(";")[0];
        const clip = new File(parts, `webcam.${kind.split("/")[1]}`, { type: kind });
        resolve(this.on && clip.size ? clip : null);
      };
      this.#recorder = recorder;
      recorder.start();
      this.#timer = setTimeout(() => stop(recorder), seconds * 1000);
    });
  }

  /** Switch it off: the light goes out, what is being recorded is dropped. */
  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    if (this.#recorder) stop(this.#recorder);
    this.#recorder = null;
  }
}

function stop(recorder) {
  if (recorder.state !== "inactive") recorder.stop();
}
