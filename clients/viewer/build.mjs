// Builds Neuroglancer into the folder from which the service serves it.
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

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
await esbuild.build({
  ...common,
  entryPoints: ["main", "chunk_worker"].map((name) => join(lib, `${name}.bundle.js`)),
  outdir: join(out, "app"),
});
await esbuild.build({
  ...common,
  entryPoints: [join(lib, "async_computation.bundle.js")],
  outdir: out,
});
await mkdir(join(out, "licenses"), { recursive: true });
await cp(join(here, "node_modules/neuroglancer/LICENSE"), join(out, "licenses/neuroglancer.txt"));
const digest = createHash("sha256");
// Stored as they are sent: a third of the size.
for (const path of (await readdir(out, { recursive: true })).sort()) {
  if (!/\.(js|css)$/.test(path)) continue;
  const contents = await readFile(join(out, path));
  digest.update(contents);
  await writeFile(join(out, `${path}.gz`), gzipSync(contents, { level: 9 }));
  await rm(join(out, path));
}
const { version } = JSON.parse(await readFile(join(lib, "../package.json"), "utf8"));
const build = { neuroglancer: version, digest: digest.digest("hex").slice(0, 12) };
await writeFile(join(out, "build.json"), JSON.stringify(build));
