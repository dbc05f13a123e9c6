// Joints of an NTU .skeleton file, drawn over the video they were recorded with.

const WIDTH = 1920;
const HEIGHT = 1080;
const FPS = 30;
const BONES = [
  [0, 1], [1, 20], [20, 2], [2, 3], [20, 4], [4, 5], [5, 6], [6, 7], [7, 21], [6, 22], [20, 8],
  [8, 9], [9, 10], [10, 11], [11, 23], [10, 24], [0, 12], [12, 13], [13, 14], [14, 15], [0, 16],
  [16, 17], [17, 18], [18, 19],
];

/** Frames of bodies of [x, y], both 0..1 of the picture. Throws an Error to show. */
export function parseSkeleton(text, name) {
  const lines = text.split(/\r?\n/);
  let at = 0;
  const numbers = (least) => {
    const values = (lines[at++] ?? "").trim().split(/\s+/).map(Number);
    if (values.length < least || values.slice(0, least).some(Number.isNaN)) {
      throw new Error(`${name}, line ${at}: not as in an NTU .skeleton file.`);
    }
    return values;
  };
  const frames = [];
  const [count] = numbers(1);
  if (!(count > 0)) throw new Error(`${name}, line 1: the number of frames is due here.`);
  for (let frame = 0; frame < count; frame++) {
    const bodies = [];
    const [bodyCount] = numbers(1);
    for (let body = 0; body < bodyCount; body++) {
      numbers(1);
      const [joints] = numbers(1);
      const places = [];
      for (let joint = 0; joint < joints; joint++) {
        const values = numbers(7); // x y z, depth picture x y, colour picture x y, ...
        places.push([values[5] / WIDTH, values[6] / HEIGHT]);
      }
      bodies.push(places);
    }
    frames.push(bodies);
  }
  return frames;
}

/** Draw the frame of the video's time, on a canvas that covers the video. */
export function drawSkeleton(canvas, video, frames) {
  const box = video.getBoundingClientRect();
  const ratio = window.devicePixelRatio;
  canvas.width = box.width * ratio;
  canvas.height = box.height * ratio;
  const pen = canvas.getContext("2d");
  if (!frames?.length || !video.videoWidth) return;
  const bodies = frames[Math.min(Math.floor(video.currentTime * FPS), frames.length - 1)];
  const scale = Math.min(canvas.width / video.videoWidth, canvas.height / video.videoHeight);
  const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
  const [left, top] = [(canvas.width - width) / 2, (canvas.height - height) / 2];
  const spot = ([x, y]) => [left + x * width, top + y * height];
  const colour = getComputedStyle(canvas).getPropertyValue("--joint");
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 2 * ratio;
  for (const places of bodies) {
    pen.beginPath();
    for (const [from, to] of BONES) {
      if (!places[from] || !places[to]) continue;
      pen.moveTo(...spot(places[from]));
      pen.lineTo(...spot(places[to]));
    }
    pen.stroke();
    for (const place of places) {
      pen.beginPath();
      pen.arc(...spot(place), 3.5 * ratio, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}
