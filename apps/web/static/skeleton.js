// Joints of an NTU .skeleton file, drawn over the video they were recorded with.

const COLOUR = [1920, 1080]; // pixels of the Kinect's colour picture
const FPS = 30;
const SLACK = 1.25; // joints may lie outside of the picture
const BONES = [
  [0, 1], [1, 20], [20, 2], [2, 3], [20, 4], [4, 5], [5, 6], [6, 7], [7, 21], [6, 22], [20, 8],
  [8, 9], [9, 10], [10, 11], [11, 23], [10, 24], [0, 12], [12, 13], [13, 14], [14, 15], [0, 16],
  [16, 17], [17, 18], [18, 19],
];

/** Frames of bodies of [x, y] in pixels of the colour picture. Throws an Error to show. */
export function parseSkeleton(text, name) {
  const lines = text.split(/\r?\n/);
  let at = 0;
  const numbers = (least) => {
    const words = (lines[at++] ?? "").trim().split(/\s+/);
    const isNumber = (word) => word !== "" && (word === "NaN" || !Number.isNaN(Number(word)));
    if (words.length < least || !words.slice(0, least).every(isNumber)) {
      throw new Error(`${name}, line ${at}: not as in an NTU .skeleton file.`);
    }
    return words.map(Number);
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
        places.push([values[5], values[6]]);
      }
      bodies.push(places);
    }
    frames.push(bodies);
  }
  return frames;
}

const isThere = (place) => place !== undefined && !place.some(Number.isNaN);

/** Size of the pictures that the joints were found in: the video, unless it was made smaller. */
function sizeOf(frames, video) {
  const own = [video.videoWidth, video.videoHeight];
  const inside = ([x, y]) => !(x > SLACK * own[0] || y > SLACK * own[1]);
  return frames.every((bodies) => bodies.every((places) => places.every(inside))) ? own : COLOUR;
}

/** Draw the frame of the video's time, on a canvas that covers the video. */
export function drawSkeleton(canvas, video, frames) {
  const box = video.getBoundingClientRect();
  const ratio = window.devicePixelRatio;
  canvas.width = box.width * ratio;
  canvas.height = box.height * ratio;
  const pen = canvas.getContext("2d");
  if (!frames?.length || !video.videoWidth) return;
  const rate = Number.isFinite(video.duration) ? frames.length / video.duration : FPS;
  const bodies = frames[Math.min(Math.floor(video.currentTime * rate), frames.length - 1)];
  const [wide, high] = sizeOf(frames, video);
  const scale = Math.min(canvas.width / video.videoWidth, canvas.height / video.videoHeight);
  const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
  const [left, top] = [(canvas.width - width) / 2, (canvas.height - height) / 2];
  const spot = ([x, y]) => [left + (x / wide) * width, top + (y / high) * height];
  const colour = getComputedStyle(canvas).getPropertyValue("--joint");
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 2 * ratio;
  for (const places of bodies) {
    pen.beginPath();
    for (const [from, to] of BONES) {
      if (!isThere(places[from]) || !isThere(places[to])) continue;
      pen.moveTo(...spot(places[from]));
      pen.lineTo(...spot(places[to]));
    }
    pen.stroke();
    for (const place of places.filter(isThere)) {
      pen.beginPath();
      pen.arc(...spot(place), 3.5 * ratio, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}
