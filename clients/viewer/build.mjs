// Builds Neuroglancer into the folder from which the service serves it.
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const lib = join(here, "node_modules/neuroglancer/lib");
const out = process.argv[2] ?? join(here, "../../service/microtome_service/static/viewer");

// What this service speaks; without the rest nothing of other hosts is ever asked for.
const SOURCES = ["zarr", "precomputed", "boss"];
const conditions = [
  "neuroglancer/datasource:none_by_default",
  ...SOURCES.map((name) => `neuroglancer/datasource/${name}:enabled`),
];

// Icons that the release names and its package of icons lacks.
const OWN_ICONS = new Set(await readdir(join(here, "icons")));

const icons = {
  name: "icons as text",
  setup(bundler) {
    bundler.onResolve({ filter: /\.svg\?raw$/ }, async (wanted) => {
      const path = wanted.path.slice(0, -"?raw".length);
      const name = path.split("/").pop();
      if (OWN_ICONS.has(name)) return { path: join(here, "icons", name), namespace: "icon" };
      const found = await bundler.resolve(path, {
        kind: wanted.kind,
        resolveDir: wanted.resolveDir,
      });
      return found.errors.length ? found : { path: found.path, namespace: "icon" };
    });
    bundler.onLoad({ filter: /.*/, namespace: "icon" }, async ({ path }) => ({
      contents: await readFile(path, "utf8"),
      loader: "text",
    }));
  },
};

const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  conditions,
  plugins: [icons],
  loader: { ".wasm": "file", ".html": "file" },
  define: { NEUROGLANCER_BUILD_INFO: '"microtome"' },
  legalComments: "external",
  logLevel: "warning",
  absWorkingDir: here,
};

await rm(out, { recursive: true, force: true });
// The main bundle looks for its workers beside itself, and one folder above.
await build({
  ...common,
  entryPoints: ["main", "chunk_worker"].map((name) => join(lib, `${name}.bundle.js`)),
  outdir: join(out, "app"),
});
await build({
  ...common,
  entryPoints: [join(lib, "async_computation.bundle.js")],
  outdir: out,
});
await mkdir(join(out, "licenses"), { recursive: true });
await cp(join(here, "node_modules/neuroglancer/LICENSE"), join(out, "licenses/neuroglancer.txt"));
const main = await readFile(join(out, "app/main.bundle.js"));
await writeFile(
  join(out, "build.json"),
  JSON.stringify({
    neuroglancer: JSON.parse(await readFile(join(lib, "../package.json"), "utf8")).version,
    digest: createHash("sha256").update(main).digest("hex").slice(0, 12),
  }),
);
