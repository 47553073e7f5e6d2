/**
 * Publishes, settles and commits transactions until it is killed, and reports each acknowledgement on its standard output.
 * Started by store-kill.ts as plain JavaScript: arguments are the folder and the round.
 *
 * Lines: `p seq` published · `s seq` settled · `t input output` settled and published in one. A line that begins with
 * a capital letter says that it was asked for, before it was.
 */
import { writeSync } from "node:fs";
import { StoreEngine } from "../../src/persistence/engine.js";

const [, , path = "", round = "0"] = process.argv;
const store = await StoreEngine.open({
  path,
  walBytes: 100_000,
  blockBytes: 2_000,
  checkpointInterval: 40,
  reserveBytes: 1000,
});
const levels = ["os", "group", "always"] as const;
let seq = store.lastSeq;
const say = (line: string): void => void writeSync(1, `${line}\n`); // synchronous: what is said was so before the kill
const message = (
  topic: string,
): { seq: number; timestamp: number; topic: string; id: string; priority: number; data: object } => {
  seq++;
  const text = `m${seq}`.padEnd(30 + ((seq * 37) % 300), "x");
  return { seq, timestamp: Date.now(), topic, id: `m${seq}`, priority: 4, data: { seq, text } };
};

if (!store.recovered.durables.some(({ name }) => name === "work")) {
  await store.append([
    { type: "durable", change: "created", name: "work", patterns: ["in.*"], position: 1 },
    { type: "durable", change: "created", name: "results", patterns: ["out"], position: 1 },
  ]);
}
store.forgetRecovered();

async function publisher(worker: number): Promise<void> {
  for (let n = 0; ; n++) {
    const one = message(`in.${(worker + n) % 5}`);
    say(`P ${one.seq}`);
    await store.append([{ type: "publish", message: one }], levels[(worker + n + Number(round)) % 3]);
    say(`p ${one.seq}`);
    if (n % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function consumer(): Promise<void> {
  let afterSeq = 0;
  for (;;) {
    const page = await store.pending("work", afterSeq, 50);
    afterSeq = page.throughSeq;
    await Promise.all(
      page.messages.map(async ({ message: { seq: input } }) => {
        // Every seventh is left for a later round.
        if (input % 7 === 0) return;
        const settle = { type: "settle", durable: "work", seq: input, outcome: "ack", deliveryCount: 1 } as const;
        if (input % 2 === 0) {
          say(`S ${input}`);
          await store.append([settle], levels[input % 3]);
          say(`s ${input}`);
        } else {
          const result = message("out");
          say(`T ${input} ${result.seq}`);
          await store.append([settle, { type: "publish", message: result }], levels[input % 3]);
          say(`t ${input} ${result.seq}`);
        }
      }),
    );
    if (page.messages.length === 0) await new Promise((resolve) => setTimeout(resolve, 3));
  }
}

await Promise.all([...Array.from({ length: 8 }, (_, worker) => publisher(worker)), consumer()]);
