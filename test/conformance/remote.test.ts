import { afterAll, beforeAll, describe, it } from "vitest";
import { remoteExcept, remoteSupports, startRemote } from "../../scripts/conformance-remote.mjs";
import { conformance } from "../../src/conformance/index.js";

/** The cases run in the other thread or process, from dist, each on a client of a broker of its own in this one. */
for (const [where, kind] of [
  ["a worker thread", "thread"],
  ["a child process", "process"],
] as const) {
  describe(`a client in ${where}`, () => {
    let remote: Awaited<ReturnType<typeof startRemote>>;
    beforeAll(async () => {
      remote = await startRemote(kind);
    });
    afterAll(() => remote.stop());

    conformance({
      test: (name) => it(name, () => remote.run(name)),
      skip: (name, reason) => it.skip(`${name} (${reason})`),
      factory: () => {
        throw new Error("the other side opens brokers");
      },
      supports: remoteSupports,
      except: remoteExcept,
      stress: { seed: 5, messages: 500 },
    });
  });
}
