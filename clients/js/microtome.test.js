// Run against a live service: MICROTOME_URL is that of an image of uint16, axes czyx, whose voxel at
// (c, z, y, x) of level 0 is c * 10000 + z * 1000 + y * 30 + x; MICROTOME_LABELS that of uint64 ids.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { MicrotomeError, open } from "./microtome.js";

const url = process.env.MICROTOME_URL;
const value = (c, z, y, x) => c * 10000 + z * 1000 + y * 30 + x;

test("a layer describes itself", async () => {
  const volume = await open(url);
  assert.equal(volume.axes, "czyx");
  assert.equal(volume.dtype, "uint16");
  assert.deepEqual(volume.shape, [2, 5, 20, 24]);
  assert.equal(volume.info.levels.length, 2);
});

test("a cutout is a typed array in C order", async () => {
  const { data, shape, axes } = await (await open(url)).cutout({ c: 1, z: [2, 4], x: [3, null] });
  assert.ok(data instanceof Uint16Array);
  assert.deepEqual([shape, axes], [[2, 20, 21], "zyx"]);
  let place = 0;
  for (let z = 2; z < 4; z += 1)
    for (let y = 0; y < 20; y += 1)
      for (let x = 3; x < 24; x += 1) assert.equal(data[place++], value(1, z, y, x));
});

test("a coarser level has its own extents", async () => {
  const { data, shape } = await (await open(url)).cutout({}, { level: 1 });
  assert.deepEqual(shape, [2, 3, 10, 12]);
  assert.equal(data[1], value(0, 0, 0, 2));
});

test("ids of 64 bits are exact", async () => {
  const { data } = await (await open(process.env.MICROTOME_LABELS)).cutout({ z: 0, y: 0, x: [0, 2] });
  assert.deepEqual([...data], [18446744073709551615n, 9007199254740993n]);
});

test("a tile is a picture", async () => {
  const tile = await (await open(url)).tile({ index: 2, size: 64, channels: 0 });
  assert.equal(tile.type, "image/png");
  assert.deepEqual([...new Uint8Array(await tile.arrayBuffer()).slice(1, 4)], [80, 78, 71]);
});

test("what cannot be is an error that says why", async () => {
  const volume = await open(url);
  await assert.rejects(volume.cutout({ z: [0, 99] }), (error) =>
    error instanceof MicrotomeError && error.status === 400 && /z=0:5/.test(error.message));
  await assert.rejects(volume.cutout({ z: 1.5 }), /z: 1.5: expected an index/);
  await assert.rejects(volume.cutout({}, { level: 7 }), /no level 7/);
  await assert.rejects(open(`${url}x`), (error) => error.status === 404);
  await assert.rejects(open("http://host/brain"), /collection\/dataset\/layer/);
});

test("a call may be given up", async () => {
  const volume = await open(url);
  const giveUp = new AbortController();
  giveUp.abort(new Error("enough"));
  await assert.rejects(volume.cutout({}, { signal: giveUp.signal }), /enough/);
});

test("passing faults are tried again, and an answer that is cut short is none", async () => {
  const faults = [503, "short", "other version"];
  const proxy = createServer(async (request, response) => {
    const answer = await fetch(new URL(request.url, url));
    const body = Buffer.from(await answer.arrayBuffer());
    const fault = request.url.includes("/cutout") ? faults.shift() : undefined;
    if (fault === 503) return response.writeHead(503, { "Retry-After": "0" }).end();
    const headers = Object.fromEntries(answer.headers);
    headers["content-length"] = String(body.length);
    if (fault === "other version") headers["x-microtome-version"] = "another";
    response.writeHead(answer.status, headers);
    if (fault !== "short") return response.end(body);
    response.write(body.subarray(0, 10));
    return setTimeout(() => response.destroy(), 20);
  });
  await new Promise((done) => proxy.listen(0, "127.0.0.1", done));
  try {
    const here = `http://127.0.0.1:${proxy.address().port}${new URL(url).pathname}`;
    const volume = await open(here, { retries: 3 });
    await assert.rejects(volume.cutout({ c: 0 }), /open it again/);
    assert.equal(faults.length, 0);
    const { data } = await volume.cutout({ c: 0, z: 1, y: 2 });
    assert.equal(data[3], value(0, 1, 2, 3));
  } finally {
    proxy.close();
  }
});
