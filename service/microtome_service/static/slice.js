// Moves the slice while the slider moves. Without this script the form's button does the same.
"use strict";
const form = document.getElementById("slicer");
const image = document.getElementById("slice");
const number = document.getElementById("number");
const slider = form.elements.index;
const name = number.textContent.split(" ")[0];
let loading = false;
let wanted = null;

function show(index) {
  number.textContent = `${name} = ${index}`;
  wanted = index;
  if (!loading) load();
}

// One picture at a time: a fast slider skips what nobody would see.
function load() {
  if (wanted === null) return;
  const index = wanted;
  wanted = null;
  loading = true;
  image.src = `${form.dataset.before}${index}${form.dataset.after}`;
}

function loaded() {
  loading = false;
  load();
}

image.addEventListener("load", loaded);
image.addEventListener("error", loaded);
slider.addEventListener("input", () => show(Number(slider.value)));
form.querySelector("button").hidden = true;
if (form.elements.plane) {
  form.elements.plane.addEventListener("change", () => {
    slider.disabled = true;  // Another plane has another middle.
    form.submit();
  });
}
