import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { nodeFileSystem } from "../../src/platform/file-system.js";
import { openTestWal, outcomeOf, publishEntry, settleEntry } from "../persistence/wal/fixture.js";

const folder = fs.mkdtempSync(join(tmpdir(), "wal small "));
const isMounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).status === 0;

afterAll(() => {
  if (isMounted) spawnSync("umount", [folder]);
  fs.rmSync(folder, { recursive: true, force: true });
});

describe("a real disk of 1 MiB", () => {
  // Mounting takes a privilege that a developer's account does not have; the faults are injected in disk-full.test.ts.
  it.skipIf(!isMounted)("fills up, takes settles, and takes messages again when there is room", async () => {
    const directory = join(folder, "wal");
    const options = { directory, segmentBytes: 200_000, reserveBytes: 100_000 };
    const { writer, clock } = await openTestWal(nodeFileSystem, options);
    const data = Buffer.alloc(3000, 7);
    const kept: number[] = [];
    while (writer.state === "open") {
      const lsn = writer.append(publishEntry(1, { data }));
      if ((await outcomeOf(writer.commit(lsn, "group"))) === "ok") kept.push(lsn);
    }
    expect(kept.length).toBeGreaterThan(200);
    for (let n = 0; n < 500; n++) {
      const lsn = writer.append(settleEntry(n));
      await writer.commit(lsn, "group");
      kept.push(lsn);
    }
    expect(() => writer.append(publishEntry(2))).toThrow(/disk is full/);
    clock.advance(1000);
    expect(writer.state).toBe("full");
    const checkpointLsn = kept[150] ?? 0;
    await writer.removeThrough(checkpointLsn);
    expect(writer.state).toBe("open");
    const lsn = writer.append(publishEntry(3, { data }));
    await writer.commit(lsn, "group");
    kept.push(lsn);
    await writer.close();
    const again = await openTestWal(nodeFileSystem, { ...options, checkpointLsn });
    expect(again.records.map((record) => record.lsn)).toEqual(kept.filter((one) => one > checkpointLsn));
    expect(again.report).toMatchObject({ quarantined: [], warnings: [], cutBytes: 0 });
    await again.writer.close();
  });
});
