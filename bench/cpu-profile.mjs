/** Samples this thread's stack, and says which functions had how much of the time. */

import { Session } from "node:inspector/promises";

export class Profile {
  #session = new Session();

  /** Begins to sample, every 100 µs. */
  static async start() {
    const profile = new Profile();
    profile.#session.connect();
    await profile.#session.post("Profiler.enable");
    await profile.#session.post("Profiler.setSamplingInterval", { interval: 100 });
    await profile.#session.post("Profiler.start");
    return profile;
  }

  /**
   * Ends it. Returns each function's own share of the samples, the largest first; what the compiler has inlined counts for the
   * function it was inlined into.
   */
  async stop() {
    const { profile } = await this.#session.post("Profiler.stop");
    this.#session.disconnect();
    return ownShares(profile);
  }
}

function ownShares({ nodes, samples, timeDeltas }) {
  const places = new Map(nodes.map(({ id: node, callFrame }) => [node, placeOf(callFrame)]));
  const times = new Map();
  let total = 0;
  samples.forEach((node, index) => {
    const place = places.get(node);
    times.set(place, (times.get(place) ?? 0) + timeDeltas[index]);
    total += timeDeltas[index];
  });
  return [...times].map(([place, time]) => [place, time / total]).sort((a, b) => b[1] - a[1]);
}

function placeOf({ functionName, url }) {
  const file = url.replace(/^.*\/(dist|bench|node_modules)\//, "");
  return `${functionName || "(anonymous)"}${file === "" ? "" : `  ${file}`}`;
}
