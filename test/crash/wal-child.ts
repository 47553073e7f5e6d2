/**
 * Publishes and settles until it is killed, and reports each acknowledgement on its standard output.
 * Started by wal-kill.test.ts as plain JavaScript: arguments are the directory and a seed.
 */
import { writeSync } from "node:fs";
import { openWal } from "../../src/persistence/wal/open.js";
import { systemClock } from "../../src/platform/clock.js";
import { nodeFileSystem } from "../../src/platform/file-system.js";

const [, , directory = "", seed = "0"] = process.argv;
const levels = ["os", "group", "always"] as const;

const { writer } = await openWal({
  fileSystem: nodeFileSystem,
  directory,
  clock: systemClock,
  afterTurn: (run) => setImmediate(run),
  random: () => 0.5,
  segmentBytes: 20_000,
  reserveBytes: 1000,
  onRecords: () => undefined,
});

async function publish(worker: number): Promise<never> {
  for (let n = 0; ; n++) {
    const level = levels[(worker + n) % levels.length] ?? "group";
    const text = `${seed}-${worker}-${n}`;
    const data = Buffer.from(text.padEnd(50 + ((worker * 37 + n * 11) % 400)));
    const lsn =
      n % 4 === 3
        ? writer.append({ type: "settle", durable: text, seq: n, outcome: "ack", deliveryCount: 1 })
        : writer.append({
            type: "publish",
            seq: n,
            timestamp: 1,
            topic: "t",
            id: text,
            priority: 4,
            retain: false,
            codec: 0,
            data,
          });
    await writer.commit(lsn, level);
    // Synchronous, so that what is reported is what was acknowledged before the kill.
    writeSync(1, `${lsn} ${text}\n`);
  }
}

await Promise.all(Array.from({ length: 20 }, (_, worker) => publish(worker)));
