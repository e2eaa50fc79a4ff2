// Moves the slice while a slider moves. Without this script the form's button does the same.
"use strict";
const form = document.getElementById("slicer");
const image = document.getElementById("slice");
let loading = false;
let wanted = null;

function value(name) {
  const slider = form.elements[name];
  return slider ? slider.value : form.dataset[name];
}

function show(slider) {
  slider.parentElement.querySelector("output").textContent = `${slider.dataset.axis} = ${slider.value}`;
  wanted = form.dataset.tile.replace("{index}", value("index")).replace("{t}", value("t"));
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

function loaded() {
  loading = false;
  load();
}

function start() {
  image.addEventListener("load", loaded);
  image.addEventListener("error", loaded);
  for (const slider of form.querySelectorAll("input[type=range]")) {
    slider.addEventListener("input", () => show(slider));
  }
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
