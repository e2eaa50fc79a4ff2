// Asks what an example asks, and shows what came back.
const MOST = 4000;

async function ask(place) {
  const [said, text, image] = ["output", "pre", "img"].map((name) => place.querySelector(name));
  const begun = performance.now();
  said.textContent = "asking …";
  text.hidden = image.hidden = true;
  try {
    const answer = await fetch(place.querySelector("a").href);
    const kind = answer.headers.get("Content-Type") ?? "";
    const body = await answer.blob();
    said.textContent = `${answer.status} ${answer.statusText} · ${kind} · ${body.size} bytes · ${Math.round(performance.now() - begun)} ms`;
    if (kind.startsWith("image/")) {
      image.src = place.querySelector("a").href;
      image.hidden = false;
      return;
    }
    const shape = answer.headers.get("X-Microtome-Shape");
    text.textContent = kind.includes("json") ? pretty(await body.text())
      : `shape ${shape}, ${answer.headers.get("X-Microtome-Dtype")}, axes ${answer.headers.get("X-Microtome-Axes")}`;
    text.hidden = false;
  } catch (error) {
    said.textContent = `no answer: ${error.message}`;
  }
}

function pretty(text) {
  const told = JSON.stringify(JSON.parse(text), null, 1);
  return told.length > MOST ? `${told.slice(0, MOST)}\n… ${told.length - MOST} more characters` : told;
}

for (const place of document.querySelectorAll(".try")) {
  const button = place.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", () => ask(place));
}
