// Plays a trial: frames of its video, and below them what was measured meanwhile, in step.
const stage = document.getElementById("stage");
const ARRAYS = {
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
  uint32: Uint32Array, int32: Int32Array, float32: Float32Array, float64: Float64Array,
};
const GOLD = [[0, 0, 0], [68, 28, 6], [166, 84, 10], [236, 174, 52], [255, 248, 214]];

async function fetchValues(variable) {
  const words = new URLSearchParams({ format: "raw" });
  if (variable.neurons) words.set("neurons", `0:${variable.neurons}`);
  if (variable.frames) words.set("t", `0:${variable.frames}`);
  const answer = await fetch(`${stage.dataset.trial}/${variable.name}?${words}`);
  if (!answer.ok) throw new Error((await answer.json()).detail ?? answer.statusText);
  const shape = answer.headers.get("X-Microtome-Shape").split(",").map(Number);
  const kind = ARRAYS[answer.headers.get("X-Microtome-Dtype")];
  if (!kind) throw new Error(`values of ${answer.headers.get("X-Microtome-Dtype")} cannot be drawn`);
  return { values: new kind(await answer.arrayBuffer()), shape };
}

function reach(values, start = 0, stop = values.length) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = start; i < stop; i += 1) {
    const value = Number(values[i]);
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high > low ? high : low + 1] : [0, 1];
}

function painted(canvas, columns, rows) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  return [context, context.createImageData(columns, rows)];
}

// Returns what draws frame t: time is the last axis, so that a frame's pixels lie far apart.
function film(canvas, { values, shape }) {
  const [rows, columns, frames] = shape;
  const [low, high] = reach(values);
  const [context, image] = painted(canvas, columns, rows);
  return (t) => {
    const at = Math.min(t, frames - 1);
    for (let i = 0; i < rows * columns; i += 1) {
      const grey = ((Number(values[i * frames + at]) - low) / (high - low)) * 255;
      image.data.set([grey, grey, grey, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  };
}

function gold(part) {
  const place = Math.min(Math.max(part, 0), 1) * (GOLD.length - 1);
  const first = Math.min(Math.floor(place), GOLD.length - 2);
  return GOLD[first].map((from, i) => from + (GOLD[first + 1][i] - from) * (place - first));
}

// Each row is drawn against its own largest value: neurons differ by orders of magnitude.
function raster(canvas, { values, shape }) {
  const [rows, frames] = shape;
  const [context, image] = painted(canvas, frames, rows);
  for (let row = 0; row < rows; row += 1) {
    const [low, high] = reach(values, row * frames, (row + 1) * frames);
    for (let t = 0; t < frames; t += 1) {
      const value = Number(values[row * frames + t]);
      const color = Number.isNaN(value) ? [60, 60, 70] : gold((value - low) / (high - low));
      image.data.set([...color, 255], 4 * (row * frames + t));
    }
  }
  context.putImageData(image, 0, 0);
}

function trace(canvas, { values, shape }, row, color) {
  const frames = shape[shape.length - 1];
  const [low, high] = reach(values, row * frames, (row + 1) * frames);
  canvas.width = 1000;
  canvas.height = 120;
  const context = canvas.getContext("2d");
  context.strokeStyle = color;
  context.lineWidth = 2;
  context.beginPath();
  let drawn = false;
  for (let t = 0; t < frames; t += 1) {
    const value = Number(values[row * frames + t]);
    const x = ((t + 0.5) / frames) * 1000;
    const y = 112 - ((value - low) / (high - low)) * 104;
    // A gap in the data is a gap in the line.
    if (Number.isNaN(value)) drawn = false;
    else if (drawn) context.lineTo(x, y);
    else { context.moveTo(x, y); drawn = true; }
  }
  context.stroke();
  return [low, high];
}

async function draw(figure) {
  const told = figure.dataset;
  const variable = { name: told.variable, neurons: Number(told.neurons ?? 0), frames: Number(told.frames ?? 0) };
  const found = await fetchValues(variable);
  const canvases = [...figure.querySelectorAll("canvas")];
  if (told.role === "film") return film(canvases[0], found);
  if (told.role === "raster") raster(canvases[0], found);
  else canvases.forEach((canvas, row) => {
    const [low, high] = trace(canvas, found, row, row % 2 ? "#7fd0da" : "#f0a8cf");
    canvas.closest(".strip").querySelector("output").textContent = `${Number(low.toPrecision(3))} to ${Number(high.toPrecision(3))}`;
  });
  return null;
}

function clock(frames, rate, show) {
  const play = document.getElementById("play");
  const scrub = document.getElementById("scrub");
  const speed = document.getElementById("speed");
  const time = document.getElementById("time");
  const cursors = stage.querySelectorAll(".cursor");
  let playing = false;
  let last = 0;
  let place = 0;

  function at(frame) {
    place = frame;
    const whole = Math.min(Math.floor(frame), frames - 1);
    scrub.value = whole;
    time.textContent = `${whole} / ${frames - 1}${rate ? ` · ${(whole / rate).toFixed(2)} s` : ""}`;
    for (const cursor of cursors) cursor.style.left = `${((whole + 0.5) / frames) * 100}%`;
    show(whole);
  }

  function step(now) {
    if (!playing) return;
    at((place + ((now - last) / 1000) * (rate || 30) * Number(speed.value)) % frames);
    last = now;
    requestAnimationFrame(step);
  }

  function toggle() {
    playing = !playing;
    play.textContent = playing ? "Pause" : "Play";
    last = performance.now();
    if (playing) requestAnimationFrame(step);
  }

  scrub.max = frames - 1;
  play.addEventListener("click", toggle);
  scrub.addEventListener("input", () => at(Number(scrub.value)));
  for (const control of [play, scrub, speed]) control.disabled = false;
  at(0);
}

async function start() {
  const films = [];
  const figures = [...stage.querySelectorAll("figure[data-role]")].map(async (figure) => {
    const said = figure.querySelector(".said");
    try {
      const drawn = await draw(figure);
      if (drawn) films.push(drawn);
      said.hidden = true;
    } catch (error) {
      said.textContent = `${error.message[0].toUpperCase()}${error.message.slice(1)}.`;
    }
  });
  clock(Number(stage.dataset.frames), Number(stage.dataset.rate), (t) => films.forEach((show) => show(t)));
  await Promise.all(figures);
  document.getElementById("scrub").dispatchEvent(new Event("input"));
  stage.dataset.ready = "yes";
}

if (stage) start();
