// Gives Neuroglancer its first scene, unless the address brings one, and starts it.
const start = document.getElementById("start");

async function firstScene() {
  const answer = await fetch(start.dataset.scene, { headers: { Accept: "application/json" } });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail ?? answer.statusText);
  history.replaceState(null, "", `#!${encodeURIComponent(JSON.stringify(told))}`);
}

try {
  if (!location.hash.startsWith("#!")) await firstScene();
  await import(start.dataset.main);
} catch (error) {
  const trouble = document.getElementById("trouble");
  trouble.textContent = `The viewer could not start: ${error.message}`;
  trouble.hidden = false;
}
