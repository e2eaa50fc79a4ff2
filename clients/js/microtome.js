// Any cutout of any brain image, over HTTP: for browsers and Node, without dependencies.
//
//   import { open } from "microtome";
//   const volume = await open("http://host/collection/dataset/layer");
//   const { data, shape, axes } = await volume.cutout({ z: [10, 20], c: 0 }, { level: 1 });
//
// An array comes whole and of the version that was opened, or there is an error.

/** @typedef {Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array
 *   | BigUint64Array | BigInt64Array | Float32Array | Float64Array} Voxels */
/** @typedef {Record<string, number | [number | null, number | null]>} Region */

const TYPES = {
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
  uint32: Uint32Array, int32: Int32Array, uint64: BigUint64Array, int64: BigInt64Array,
  float32: Float32Array, float64: Float64Array,
};
const AGAIN = new Set([429, 502, 503, 504]);
const LONGEST_WAIT = 60;

/** What a service, or the way to it, said no to. */
export class MicrotomeError extends Error {
  /** @param {string} message @param {number} [status] HTTP status, where there is one. */
  constructor(message, status, options) {
    super(message, options);
    this.name = "MicrotomeError";
    this.status = status;
  }
}

/**
 * Open a layer; nothing but its description is fetched.
 *
 * @param {string} url `http://host/collection/dataset/layer`
 * @param {{ token?: string, retries?: number, timeout?: number }} [options] `timeout` in seconds
 *   for a whole answer.
 * @returns {Promise<Volume>}
 */
export async function open(url, { token, retries = 5, timeout = 60 } = {}) {
  const { base, id } = taken(url);
  const ask = asking(token, retries, timeout);
  const api = `${base}/api/datasets/${id}`;
  const info = await (await ask(api)).json();
  if (info?.id !== id || !Array.isArray(info.levels)) {
    throw new MicrotomeError(`${api}: is it a microtome service?`);
  }
  return new Volume(api, info, ask);
}

/** One layer, at all of its levels; made by `open`. */
export class Volume {
  /** @param {string} api @param {object} info The layer's JSON. @param {Function} ask */
  constructor(api, info, ask) {
    this.api = api;
    /** Axes, units, levels (shape, scale, translation …), channels and the record. */
    this.info = info;
    this.#ask = ask;
  }

  #ask;

  get axes() { return this.info.axes; }
  get dtype() { return this.info.dtype; }
  get shape() { return this.info.levels[0].shape; }

  /**
   * Fetch voxels: `{ z: [10, 20], c: 0 }` is half-open; one number drops its axis, an axis that is
   * not named is whole.
   *
   * @param {Region} [region] In voxels of the level.
   * @param {{ level?: number, signal?: AbortSignal }} [options]
   * @returns {Promise<{ data: Voxels, shape: number[], axes: string, dtype: string }>} In C order;
   *   ids of 64 bits are BigInt.
   */
  async cutout(region = {}, { level = 0, signal } = {}) {
    const query = new URLSearchParams({ level: String(level), format: "raw" });
    for (const [axis, range] of Object.entries(region)) query.set(axis, word(axis, range));
    const url = `${this.api}/cutout?${query}`;
    const expected = selected(this.info, level, region);
    const { headers, bytes } = await this.#ask(url, { signal, read: true });
    this.#check(url, headers);
    const told = (headers.get("x-microtome-shape") ?? "").split(",").filter(Boolean).map(Number);
    const axes = headers.get("x-microtome-axes");
    if (axes !== expected.axes || String(told) !== String(expected.shape)) {
      throw new MicrotomeError(`${url}: ${axes} of ${told}, expected ${expected.axes} of ${expected.shape}`);
    }
    return { ...expected, data: voxels(url, this.dtype, bytes, expected.shape), dtype: this.dtype };
  }

  /**
   * Fetch a picture of one tile.
   *
   * @param {{ plane?: "xy" | "xz" | "yz", level?: number, index?: number, row?: number,
   *   col?: number, format?: "png" | "jpg" | "webp", signal?: AbortSignal } & Record<string, *>} [where]
   *   Other words, such as `size`, `channels` and `window`, go into the query.
   * @returns {Promise<Blob>}
   */
  async tile({ plane = "xy", level = 0, index = 0, row = 0, col = 0, format = "png", signal, ...more } = {}) {
    const query = new URLSearchParams(more);
    const url = `${this.api}/tiles/${plane}/${level}/${index}/${row}/${col}.${format}?${query}`;
    const { headers, bytes } = await this.#ask(url, { signal, read: true });
    return new Blob([bytes], { type: headers.get("content-type") ?? "" });
  }

  #check(url, headers) {
    const version = headers.get("x-microtome-version");
    if (version !== null && version !== this.info.version) {
      throw new MicrotomeError(`${url}: the layer has changed since it was opened: open it again`);
    }
    if (headers.get("x-microtome-dtype") !== this.dtype) {
      throw new MicrotomeError(`${url}: ${headers.get("x-microtome-dtype")}, expected ${this.dtype}`);
    }
  }
}

function taken(url) {
  const { protocol, host, pathname } = new URL(url);
  const parts = pathname.split("/").filter(Boolean);
  const id = parts.slice(-3).join("/");
  if (!protocol.startsWith("http") || parts.length < 3) {
    throw new MicrotomeError(`${url}: expected for example https://host/collection/dataset/layer`);
  }
  const prefix = parts.slice(0, -3).join("/").replace(/\/?api\/datasets$/, "");
  return { base: `${protocol}//${host}${prefix && `/${prefix}`}`, id };
}

function word(axis, range) {
  const ends = Array.isArray(range) ? range : [range];
  if (!ends.every((end) => end === null || (Number.isInteger(end) && end >= 0)) || ends.length > 2) {
    throw new MicrotomeError(`${axis}: ${JSON.stringify(range)}: expected an index or [start, stop]`);
  }
  return Array.isArray(range) ? ends.map((end) => end ?? "").join(":") : String(range);
}

/** Axes and shape that a region has: those given by a single index are dropped. */
function selected(info, level, region) {
  const described = info.levels[level];
  if (!described) throw new MicrotomeError(`no level ${level}: ${info.id} has 0 to ${info.levels.length - 1}`);
  const axes = [...info.axes].filter((axis) => typeof region[axis] !== "number");
  const shape = axes.map((axis) => {
    const extent = described.shape[info.axes.indexOf(axis)];
    const [start, stop] = region[axis] ?? [null, null];
    return (stop ?? extent) - (start ?? 0);
  });
  return { axes: axes.join(""), shape };
}

function voxels(url, dtype, bytes, shape) {
  const Type = TYPES[dtype];
  if (!Type) throw new MicrotomeError(`${url}: voxels of type ${dtype}`);
  const expected = shape.reduce((size, n) => size * n, 1) * Type.BYTES_PER_ELEMENT;
  if (bytes.byteLength !== expected) {
    throw new MicrotomeError(`${url}: ${bytes.byteLength} bytes, expected ${expected}`);
  }
  // Voxels come little-endian, as every machine that runs JavaScript today has them.
  return new Type(bytes);
}

/** Return what asks, again after a passing fault, and gives a whole answer or an error. */
function asking(token, retries, timeout) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  return async function ask(url, { signal, read = false } = {}) {
    for (let tries = 0; ; tries += 1) {
      try {
        const limit = AbortSignal.timeout(timeout * 1000);
        const both = signal ? AbortSignal.any([signal, limit]) : limit;
        const answer = await fetch(url, { headers, signal: both });
        if (!answer.ok) throw await refusal(url, answer);
        return read ? { headers: answer.headers, bytes: await answer.arrayBuffer() } : answer;
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        const passing = !(error instanceof MicrotomeError) || AGAIN.has(error.status);
        const seconds = error.wait ?? 0.1 * 2 ** tries;
        if (!passing || tries >= retries || seconds > LONGEST_WAIT) throw named(url, error);
        await new Promise((done) => setTimeout(done, 1000 * seconds * (1 + Math.random() / 2)));
      }
    }
  };
}

async function refusal(url, answer) {
  const said = await answer.json().catch(() => ({}));
  const login = answer.status === 401 ? "; pass { token } to open" : "";
  const message = `${said.detail ?? answer.statusText} (${answer.status} from ${url})${login}`;
  const wait = Number(answer.headers.get("retry-after") ?? NaN);
  return Object.assign(new MicrotomeError(message, answer.status), Number.isNaN(wait) ? {} : { wait });
}

function named(url, error) {
  if (error instanceof MicrotomeError) return error;
  return new MicrotomeError(`${url}: ${error.message}`, undefined, { cause: error });
}
