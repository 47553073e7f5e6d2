import { afterAll, beforeAll, describe, it } from "vitest";
import { remoteExcept, remoteStoreSupports, remoteSupports, startRemote } from "../../scripts/conformance-remote.mjs";
import { conformance } from "../../src/conformance/index.js";

/** The cases run in the other thread or process, from dist, each on a client of a broker of its own in this one. */
for (const [where, kind, hasStore] of [
  ["a worker thread", "thread", false],
  ["a worker thread, of a broker on LevelDB", "thread", true],
  ["a child process", "process", false],
  ["a child process, of a broker on LevelDB", "process", true],
] as const) {
  describe(`a client in ${where}`, () => {
    let remote: Awaited<ReturnType<typeof startRemote>>;
    beforeAll(async () => {
      remote = await startRemote(kind, { hasStore });
    });
    afterAll(() => remote.stop());

    conformance({
      test: (name) => it(name, () => remote.run(name)),
      skip: (name, reason) => it.skip(`${name} (${reason})`),
      factory: () => {
        throw new Error("the other side opens brokers");
      },
      supports: hasStore ? remoteStoreSupports : remoteSupports,
      except: remoteExcept,
      stress: { seed: 5, messages: 500 },
    });
  });
}
