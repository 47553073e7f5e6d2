/**
 * An unhandled rejection ends a Node.js process. Whatever a user's callback does, handler, filter, backoff, plugin, schema,
 * listener or a settle that nobody awaited, must not get there.
 */
import { describe, expect, it } from "vitest";
import { runNode } from "../examples/run-node.js";

/** Runs a script against the built package, with errors that nobody listens for as warnings, and gives what it printed. */
async function outcomeOf(script: string): Promise<{ exitCode: unknown; stdout: string }> {
  const { exitCode, stdout, stderr } = await runNode(
    ["--unhandled-rejections=throw", "--input-type=module", "-"],
    script,
  );
  expect(stderr.replace(/.*Warning.*\n?|\s+at .*\n?|\(Use `node.*\n?/g, ""), "nothing but warnings").not.toContain(
    "Unhandled",
  );
  return { exitCode, stdout: stdout.trim() };
}

const head = `
import { InProcBroker } from "inproc-broker";
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
`;

describe("in a process of its own", () => {
  it("late, double and refused settles that nobody awaits", async () => {
    const { exitCode, stdout } = await outcomeOf(`${head}
      const broker = new InProcBroker({ ack: { timeout: 20, backoff: () => 1e6 }, transactions: {} });
      const sub = broker.subscribe("t");
      for (let n = 0; n < 3; n += 1) await broker.publish("t", n);
      const [late, twice, staged] = await sub.fetch(3);
      await twice.ack();
      twice.ack(); twice.nack(); twice.reject(); twice.extend(5);
      const tx = broker.beginTransaction();
      tx.ack(staged); tx.ack(twice); tx.publish("t", undefined); tx.publish("no topic", 1);
      staged.ack();
      await wait(80);
      late.ack(); late.nack({ delay: -1 }); late.reject(); late.extend(-1);
      broker.ack(late.deliveryId); broker.nack("nobody"); broker.reject("nobody"); broker.extend("nobody", 1);
      tx.rollback().catch(() => undefined);
      tx.ack(late); tx.publish("t", 1);
      await wait(20);
      await broker.close({ drain: false });
      late.ack(); broker.ack("nobody");
      await wait(5);
      console.log("alive", broker.metrics.snapshot().refusedSettles > 5);
    `);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "alive true" });
  });

  it("handlers, filters, backoffs, listeners, plugins and schemas that throw or reject, at once or late", async () => {
    const { exitCode, stdout } = await outcomeOf(`${head}
      const boom = () => { throw new Error("boom"); };
      const late = async () => { await wait(5); throw new Error("late"); };
      const schema = (validate) => ({ "~standard": { version: 1, vendor: "test", validate } });
      const broker = new InProcBroker({
        ack: { timeout: 50, maxDeliveries: 2, backoff: boom },
        deadLetter: { topic: "dlq" },
        transactions: {},
        schemas: { sync: schema(boom), async: schema(late), dlq: schema(late) },
        plugins: [{ name: "p", onPublished: boom, onDeliver: boom, onSettle: boom, onDrop: boom }],
      });
      for (const name of ["error", "drop", "expire", "dead-letter", "redeliver", "slow-consumer", "closed"]) broker.on(name, boom);
      for (const ack of ["none", "auto", "manual"]) {
        broker.subscribe("t", boom, { ack });
        broker.subscribe("t", late, { ack });
        broker.subscribe("t", () => Promise.reject(), { ack });
        broker.subscribe("t", () => ({ then: (_, reject) => setTimeout(reject, 5) }), { ack });
        broker.subscribe("t", () => ({ get then() { throw new Error("getter"); } }), { ack });
        broker.subscribe("t", () => ({ then: boom }), { ack });
      }
      broker.subscribe("t", () => undefined, { filter: boom });
      broker.subscribe("t", () => undefined, { filter: late });
      broker.respond("ask", boom);
      await broker.publish("t", 1);
      await broker.publish("t", 1, { ttl: 1 });
      for (const topic of ["sync", "async"]) await broker.publish(topic, 1).catch(() => undefined);
      const tx = broker.beginTransaction();
      tx.publish("async", 1);
      await broker.request("ask", 1).catch(() => undefined);
      await wait(2_500);
      await broker.close({ drain: false });
      console.log("alive");
    `);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "alive" });
  });

  it("a broker that is left without close lets the process end, whatever waits in it", async () => {
    const { exitCode, stdout } = await outcomeOf(`${head}
      const broker = new InProcBroker({ ack: {}, transactions: {} });
      const sub = broker.subscribe("t", { ttl: 1e9 });
      broker.subscribe("t", () => new Promise(() => undefined));
      await broker.publish("t", 1, { ttl: 1e9 });
      await broker.publish("t", 1, { delay: 1e9 });
      await sub.fetch(1);
      broker.beginTransaction();
      void sub.next();
      console.log("end");
    `);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "end" });
  });
});
