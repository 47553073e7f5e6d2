/**
 * An event emitter calls its listeners in the publisher's stack: one that is slow holds the publisher up, one that throws breaks
 * it, and one that publishes again digs into the stack. Deliveries run on their own, in slices, and let I/O have its turn.
 */
import { expect, it } from "vitest";
import { balanced, manualBroker } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

it("no handler runs inside publish, and a throw reaches neither the publisher nor the next subscriber", async () => {
  const { broker } = manualBroker();
  const errors: unknown[] = [];
  broker.on("error", (error) => errors.push((error as Error).message));
  const order: string[] = [];
  for (const name of ["one", "two"]) {
    broker.subscribe("t", () => {
      order.push(name);
      throw new Error(name);
    });
  }
  broker.publishSync("t", 1);
  order.push("published");
  await settle();
  expect(order).toEqual(["published", "one", "two"]);
  expect(errors).toEqual(["one", "two"]);
});

it("a handler that publishes into itself for ever neither overflows the stack nor starves timers and I/O", async () => {
  const { broker } = manualBroker();
  let handled = 0;
  const sub = broker.subscribe("t", () => {
    handled += 1;
    broker.publishSync("t", handled);
  });
  broker.publishSync("t", 0);
  let turns = 0;
  await new Promise<void>((resolve) => {
    const turn = (): void => {
      turns += 1;
      if (handled > 200_000 || turns > 100_000) resolve();
      else setImmediate(turn);
    };
    setTimeout(turn, 0);
  });
  expect(handled).toBeGreaterThan(200_000);
  expect(turns).toBeGreaterThan(2);
  await sub.unsubscribe();
  balanced(broker);
});

it("one queue with much to do does not keep another from its turn", async () => {
  const { broker } = manualBroker();
  const order: string[] = [];
  broker.subscribe("busy", () => void order.push("busy"), { maxMessages: 10_000 });
  broker.subscribe("quiet", () => void order.push("quiet"));
  for (let index = 0; index < 10_000; index += 1) broker.publishSync("busy", index);
  broker.publishSync("quiet", 1);
  await settle();
  await broker.idle();
  expect(order).toHaveLength(10_001);
  expect(order.indexOf("quiet")).toBeLessThan(1_000);
});
