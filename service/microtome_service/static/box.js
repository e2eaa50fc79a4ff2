// Tells the size of a box while it is chosen. Without this script a button asks the service.
const form = document.getElementById("boxing");
const size = document.getElementById("box-size");
const PREFIXES = ["", "k", "M", "G", "T", "P"];

function bytes(count) {
  let prefix = 0;
  let value = count;
  while (Number(value.toPrecision(3)) >= 1000 && prefix < PREFIXES.length - 1) {
    value /= 1000;
    prefix += 1;
  }
  return `${Number(value.toPrecision(3))} ${PREFIXES[prefix]}B`;
}

function shape() {
  return form.elements.level.selectedOptions[0].dataset.shape.split(",").map(Number);
}

// Returns how many voxels a word names on an axis; throws what is wrong with it.
function extent(word, count, axis) {
  const one = /^\s*(\d+)\s*$/.exec(word);
  const range = /^\s*(\d*):(\d*)\s*$/.exec(word);
  if (!one && !range) throw new Error(`${axis}: expected start:stop, such as 0:${count}`);
  const start = Number(one ? one[1] : range[1] || 0);
  const stop = one ? start + 1 : Number(range[2] || count);
  if (start >= stop || stop > count) throw new Error(`${axis}: expected a range within 0:${count}`);
  return stop - start;
}

function tell() {
  const extents = shape();
  const said = document.createElement("span");
  try {
    const found = [...form.querySelectorAll("[data-axis]")].map((field) =>
      extent(field.value, extents[Number(field.dataset.axis)], field.name));
    const total = found.reduce((product, each) => product * each, 1);
    said.textContent = `${found.join(" × ")} voxels, ${bytes(total * Number(form.dataset.itemsize))} before compression`;
  } catch (error) {
    said.textContent = error.message;
    said.className = "bad";
  }
  size.replaceChildren(said);
}

function whole() {
  const extents = shape();
  for (const field of form.querySelectorAll("[data-axis]")) field.value = `0:${extents[Number(field.dataset.axis)]}`;
  tell();
}

if (form) {
  document.getElementById("box-check").hidden = true;
  for (const field of form.querySelectorAll("input")) field.addEventListener("input", tell);
  form.elements.level.addEventListener("change", whole);
  tell();
}
