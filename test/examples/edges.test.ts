import { describe, expect, it } from "vitest";
import { runNode } from "./run-node.js";

/** Runs a program that has a broker with the options given, and says how it ended. */
async function ends(
  options: string,
  program: string,
): Promise<{ exitCode: unknown; printed: string[]; warned: string }> {
  const opening = `import { InProcBroker } from "inproc-broker";\nconst broker = await InProcBroker.open(${options});\n`;
  const { exitCode, stdout, stderr } = await runNode(["--input-type=module"], opening + program);
  return { exitCode, printed: stdout.split("\n").slice(0, -1), warned: stderr };
}

describe.concurrent("a process with a broker", () => {
  it("ends when it has nothing else to do, also while a retry and a delay are due", async () => {
    const { exitCode, printed } = await ends(
      "{ ack: { backoff: () => 60_000 } }",
      `broker.on("error", () => undefined);
       broker.subscribe("jobs", () => { throw new Error("later"); });
       await broker.publish("jobs", 1);
       await broker.publish("jobs", 2, { delay: 60_000 });
       await broker.idle({ retries: false });
       console.log(broker.metrics.snapshot().delayed, broker.metrics.snapshot().scheduled);`,
    );
    expect({ exitCode, printed }).toEqual({ exitCode: 0, printed: ["1 1"] });
  });

  it("lives while it awaits idle, until the retry is done", async () => {
    const { exitCode, printed } = await ends(
      "{ ack: { backoff: () => 30 } }",
      `broker.on("error", () => undefined);
       broker.subscribe("jobs", (msg) => {
         if (msg.deliveryCount === 1) throw new Error("again");
         console.log("delivery", msg.deliveryCount);
       });
       await broker.publish("jobs", 1);
       await broker.idle();`,
    );
    expect({ exitCode, printed }).toEqual({ exitCode: 0, printed: ["delivery 2"] });
  });

  it("lives while it awaits a request, a fetch, a confirm, a held publish, a drain", async () => {
    const { exitCode, printed } = await ends(
      "{}",
      `broker.subscribe("slow", () => undefined);
       await broker.request("slow", null, { timeout: 20 }).catch(({ code }) => console.log("request", code));
       const sub = broker.subscribe("rows", { ack: "manual", maxMessages: 1, ackTimeout: 20, maxDeliveries: 1 });
       console.log("fetch", (await sub.fetch(1, { timeout: 20 })).length);
       await broker.publish("rows", 1, { confirm: 1, confirmTimeout: 20 }).catch(({ code }) => console.log("confirm", code));
       await Promise.all([broker.publish("rows", 2, { ttl: 20 }), sub.fetch(1)]);
       await broker.publish("rows", 3, { ttl: 20 });
       console.log("held publish");
       await sub.drain();
       console.log("drain");`,
    );
    expect({ exitCode, printed }).toEqual({
      exitCode: 0,
      printed: ["request ERR_TIMEOUT", "fetch 0", "confirm ERR_TIMEOUT", "held publish", "drain"],
    });
  });

  it("ends with code 13 where it iterates over a subscription that nobody feeds", async () => {
    const { exitCode } = await ends("{}", `for await (const msg of broker.subscribe("jobs")) console.log(msg.data);`);
    expect(exitCode).toBe(13);
  });

  it("ends after close, with nothing left to hold it", async () => {
    const { exitCode, printed, warned } = await ends(
      "{ ack: {}, deadLetter: {}, transactions: {}, ttl: { default: 60_000 } }",
      `broker.subscribe("jobs", (msg) => new Promise(() => undefined), { ttl: 60_000, heartbeat: 1_000, rateLimit: { perSecond: 1 } });
       await broker.publish("jobs", 1, { retain: true, dedupId: "one" });
       await broker.publish("jobs", 2, { delay: 60_000 });
       broker.beginTransaction();
       const { undelivered, unacked } = await broker.close({ timeout: 20 });
       console.log(undelivered.length, unacked.length);
       console.log(process.getActiveResourcesInfo().filter((name) => name !== "PipeWrap").join());`,
    );
    expect({ exitCode, printed, warned }).toEqual({ exitCode: 0, printed: ["1 1", ""], warned: "" });
  });

  it("ends with an error where a publish is refused and nobody looks", async () => {
    const { exitCode, warned } = await ends(
      `{ limits: { maxMessageBytes: 10 } }`,
      `void broker.publish("files", "x".repeat(11));
       setTimeout(() => console.log("not reached"), 1_000);`,
    );
    expect(exitCode).toBe(1);
    expect(warned).toContain("ERR_MESSAGE_TOO_LARGE");
  });

  it("does not end where a late settle is refused and nobody looks", async () => {
    const { exitCode, printed } = await ends(
      "{ ack: {} }",
      `broker.subscribe("jobs", (msg) => { void msg.ack(); void msg.ack(); void msg.nack(); void msg.extend(1); });
       await broker.publish("jobs", 1);
       await broker.idle();
       console.log(broker.metrics.snapshot().refusedSettles);
       await broker.close();`,
    );
    expect({ exitCode, printed }).toEqual({ exitCode: 0, printed: ["3"] });
  });

  it("does not end where a handler throws and nobody listens: it is warned, once a second at most", async () => {
    const { exitCode, printed, warned } = await ends(
      "{}",
      `broker.subscribe("jobs", () => { throw new Error("sync"); });
       broker.subscribe("jobs", async () => { throw new Error("async"); });
       for (let n = 0; n < 100; n += 1) await broker.publish("jobs", n);
       await broker.idle();
       console.log(broker.metrics.snapshot().handlerErrors);
       await broker.close();`,
    );
    expect({ exitCode, printed }).toEqual({ exitCode: 0, printed: ["200"] });
    expect(warned.match(/INPROC_BROKER_UNHEARD_ERROR/g)).toHaveLength(1);
  });

  it("gives a handler that was done its chance after the loop was blocked: no second delivery", async () => {
    const { printed } = await ends(
      "{ ack: { timeout: 30 } }",
      `broker.on("redeliver", () => console.log("delivered again"));
       const sub = broker.subscribe("jobs");
       await broker.publish("jobs", 1);
       const [msg] = await sub.fetch(1);
       const { stat } = await import("node:fs");
       stat(".", () => void msg.ack().then(() => console.log("acknowledged"), ({ code }) => console.log(code)));
       const until = performance.now() + 150;
       while (performance.now() < until);
       await broker.idle();
       await broker.close();`,
    );
    expect(printed).toEqual(["acknowledged"]);
  });
});
