import { describe, expect, it } from "vitest";
import { DiskUse } from "../../../src/persistence/disk-use.js";
import type { StoreSettings } from "../../../src/persistence/options.js";
import { FaultyFileSystem } from "../../support/faulty-file-system.js";
import { turn } from "../wal/fixture.js";

describe("what a store takes of its disk", () => {
  /** A store's folder of `size` bytes on a disk of 1,000, and a clock. */
  function onDisk(size: number) {
    const disk = new FaultyFileSystem({ capacityBytes: 1000 });
    disk.put("/store/wal/1.wal", Buffer.alloc(size));
    disk.put("/store/level/CURRENT", Buffer.alloc(10));
    const at = { now: 0 };
    const settings = { path: "/store", machine: { fileSystem: disk }, clock: { monotonic: () => at.now } };
    return { disk, at, use: new DiskUse(settings as unknown as StoreSettings) };
  }

  it("is there at once, and looked at again for whoever asks a second later", async () => {
    const { disk, at, use } = onDisk(100);
    await use.look();
    expect(use.figures()).toEqual({ totalBytes: 110, freeBytes: 890 });
    disk.put("/store/wal/2.wal", Buffer.alloc(200));
    at.now = 999;
    use.figures();
    await turn();
    expect(use.figures()).toEqual({ totalBytes: 110, freeBytes: 890 });
    at.now = 1000;
    use.figures();
    await turn();
    expect(use.figures()).toEqual({ totalBytes: 310, freeBytes: 690 });
  });

  it("stands as it was while the disk cannot tell", async () => {
    const { disk, at, use } = onDisk(100);
    await use.look();
    const { freeBytes } = disk;
    disk.freeBytes = () => Promise.reject(new Error("no answer"));
    disk.put("/store/wal/2.wal", Buffer.alloc(200));
    at.now = 1000;
    use.figures();
    await turn();
    expect(use.figures()).toEqual({ totalBytes: 110, freeBytes: 890 });
    disk.freeBytes = freeBytes;
    at.now = 2000;
    use.figures();
    await turn();
    expect(use.figures()).toEqual({ totalBytes: 310, freeBytes: 690 });
  });
});
