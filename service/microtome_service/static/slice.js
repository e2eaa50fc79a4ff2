// Moves the slice and its contrast with the form. Without this script the form's button does it.
const form = document.getElementById("slicer");
const image = document.getElementById("slice");
const trouble = document.getElementById("slice-trouble");
let loading = false;
let wanted = null;

// All digits, as fewer may make of two values one; a plus in an address is a blank.
const word = (value) => String(value).replace("+", "");
const short = (value) => String(Number(Number(value).toPrecision(6)));

function where(name) {
  const slider = form.elements[name];
  return slider ? slider.value : form.dataset[name];
}

function look() {
  const dyes = [...form.querySelectorAll(".dye")].filter((dye) => dye.querySelector("[name=show]").checked);
  if (dyes.length === 0) return "";
  const numbers = dyes.map((dye) => dye.querySelector("[name=show]").value);
  const windows = dyes.map((dye) => {
    const low = Number(dye.querySelector("[name=low]").value);
    const high = dye.querySelector("[name=high]");
    return `${word(low)}:${word(Math.max(Number(high.value), low + Number(high.step)))}`;
  });
  return `&channels=${numbers.join(",")}&window=${windows.join(",")}`;
}

function tell(slider) {
  const output = slider.parentElement.querySelector("output");
  if (!slider.dataset.axis) {
    output.textContent = short(slider.value);
    return;
  }
  const place = slider.dataset.unit ? ` · ${short(slider.value * slider.dataset.step)} ${slider.dataset.unit}` : "";
  output.textContent = `${slider.value} / ${slider.max}${place}`;
}

function show() {
  wanted = form.dataset.tile.replace("{index}", where("index")).replace("{t}", where("t")) + look();
  if (!loading) load();
}

// One picture at a time: a fast slider skips what nobody would see.
function load() {
  if (wanted === null) return;
  const address = wanted;
  wanted = null;
  loading = true;
  image.src = address;
}

function done(failed) {
  loading = false;
  trouble.hidden = !failed;
  trouble.textContent = "This slice could not be read; move on, or try again in a moment.";
  load();
}

function start() {
  image.addEventListener("load", () => done(false));
  image.addEventListener("error", () => done(true));
  for (const slider of form.querySelectorAll("input[type=range]")) {
    tell(slider);
    slider.addEventListener("input", () => { tell(slider); show(); });
  }
  for (const box of form.querySelectorAll("[name=show]")) box.addEventListener("change", show);
  form.querySelector("button").hidden = true;
  if (!form.elements.plane) return;
  form.elements.plane.addEventListener("change", () => {
    // Another plane has another middle.
    if (form.elements.index) form.elements.index.disabled = true;
    form.submit();
  });
}

// A layer with one position has no form.
if (form) start();
