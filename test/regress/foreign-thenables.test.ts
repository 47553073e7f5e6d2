/**
 * What callbacks return. A handler's thenable that was no promise was followed as it came: one whose `then` threw ended the
 * process, one that called back twice settled whichever message had its handler's place next. An asynchronous filter's
 * promise was taken for a yes; an asynchronous veto came too late and was dropped.
 */
import { expect, it } from "vitest";
import type { Plugin } from "inproc-broker";
import { balanced, manualBroker, rejectionCode, roundAck } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

it("a thenable that answers twice settles its own message, once", async () => {
  const { broker } = manualBroker({ ack: roundAck });
  broker.on("error", () => undefined);
  const answers: (() => void)[] = [];
  const sub = broker.subscribe("t", ({ data }) => {
    if (data !== "twice") return new Promise(() => undefined);
    return {
      then: (onFulfilled: (value: unknown) => void, onRejected: (error: unknown) => void) => {
        answers.push(() => onFulfilled(1));
        answers.push(() => onRejected(new Error("again")));
      },
    };
  });
  await broker.publish("t", "twice");
  await broker.publish("t", "next");
  await settle();
  answers[0]?.();
  await settle();
  expect(sub.stats()).toMatchObject({ delivered: 1, inFlight: 1 });
  answers[0]?.();
  answers[1]?.();
  await settle();
  expect(sub.stats()).toMatchObject({ delivered: 1, inFlight: 1, nacked: 0, handlerErrors: 0 });
});

it("a thenable that throws is a handler that throws, and takes no place for ever", async () => {
  for (const ack of ["none", "auto", "manual"] as const) {
    const { broker } = manualBroker({ ack: { ...roundAck, maxDeliveries: 1 } });
    const errors: string[] = [];
    broker.on("error", (error) => errors.push((error as Error).message));
    const boom = (): never => {
      throw new Error("boom");
    };
    const returned: object[] = [{ then: boom }, Object.defineProperty({}, "then", { get: boom })];
    const sub = broker.subscribe("t", ({ data }) => returned[data as number], { ack });
    for (let index = 0; index < returned.length; index += 1) await broker.publish("t", index);
    await settle();
    expect(errors, ack).toEqual(["boom", "boom"]);
    expect(sub.stats()).toMatchObject({ handlerErrors: 2, inFlight: 0, queued: 0 });
    await broker.idle();
    balanced(broker);
  }
});

it("a filter that answers with a promise answers nothing: an error event, and no delivery", async () => {
  const { broker } = manualBroker();
  const during: string[] = [];
  broker.on("error", (_error, context) => during.push(context.during));
  broker.subscribe("t", { filter: (async () => true) as unknown as () => boolean });
  broker.subscribe("t", { filter: () => Promise.reject(new Error("late")) as unknown as boolean });
  expect(await broker.publish("t", 1)).toMatchObject({ matched: 0 });
  await settle();
  expect(during).toEqual(["filter", "filter", "filter"]);
});

it("what is truthy or falsy is still an answer", async () => {
  const { broker } = manualBroker();
  for (const answer of [true, 1, "yes", {}]) broker.subscribe("t", { filter: () => answer as boolean });
  for (const answer of [false, 0, "", null, undefined]) broker.subscribe("t", { filter: () => answer as boolean });
  expect(await broker.publish("t", 1)).toMatchObject({ matched: 4 });
});

it("an asynchronous onPublish is refused, since its veto would come too late; other late hooks are error events", async () => {
  const late = (async () => {
    throw new Error("late");
  }) as unknown as () => void;
  const veto = manualBroker({ plugins: [{ name: "veto", onPublish: late }] });
  expect(await rejectionCode(veto.broker.publish("t", 1))).toBe("ERR_INVALID_OPTION");

  const hooks: Plugin = { name: "late", onPublished: late, onDeliver: late, onSettle: late, onDrop: late };
  const { broker } = manualBroker({ plugins: [hooks], ack: { maxDeliveries: 1 } });
  const during: string[] = [];
  broker.on("error", (_error, context) => during.push(context.during));
  broker.on("drop", late);
  broker.subscribe("t", (msg) => msg.reject());
  await broker.publish("t", 1);
  await settle();
  expect(during.toSorted()).toEqual(["listener", "plugin", "plugin", "plugin", "plugin"]);
});
