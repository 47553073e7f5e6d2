// Whoever hears of a settle (a backoff, a listener) may end the subscription, or empty or close the broker, before it is done.
import { describe, expect, it } from "vitest";
import { InProcBroker } from "inproc-broker";
import type { BrokerOptions } from "inproc-broker";
import { balanced, fetchNow, takeOne } from "../support/manual-broker.js";
import { crash, dataOf, openBroker, temporaryFolder } from "./fixture.js";

const durable = { durable: "d", ack: "manual" } as const;
const plain = { name: "d", ack: "manual" } as const;

const hows = ["unsubscribes", "deletes", "purges", "closes"] as const;
const cases = hows.flatMap((how) =>
  (["dead letter", "backoff"] as const).flatMap((where) =>
    [durable, plain].map((kind) => ({ how, where, kind, name: kind === durable ? "durable" : "plain" })),
  ),
);

describe("a subscription", () => {
  it.each(cases)(
    "($name) may end while one of its messages is settled: the $where $how",
    async ({ how, where, kind }) => {
      const path = temporaryFolder();
      const failed: unknown[] = [];
      const act = async (): Promise<unknown> => {
        if (how === "purges") return broker.purge();
        if (how === "closes") return broker.close({ drain: false });
        return sub.unsubscribe({ deleteDurable: how === "deletes" && kind === durable });
      };
      const hears = (): void => void act().catch((error: unknown) => failed.push(error));
      const backoff = (): number => {
        if (where === "backoff") hears();
        return 0;
      };
      const options: BrokerOptions = { deadLetter: {}, ack: { backoff } };
      const broker = kind === durable ? await openBroker(path, options) : new InProcBroker(options);
      if (where === "dead letter") broker.on("dead-letter", hears);
      broker.on("error", () => undefined);
      const sub = broker.subscribe("a", kind);
      for (const data of [1, 2, 3]) await broker.publish("a", data);
      const message = await takeOne(sub);
      await (where === "backoff" ? message.nack() : message.reject("no good"));
      expect(failed).toEqual([]);
      if (how === "closes") return;
      expect(balanced(broker)).toMatchObject({ inFlight: 0 });
      if (how !== "unsubscribes" || kind === plain) return;
      const left = where === "backoff" ? [1, 2, 3] : [2, 3];
      expect(dataOf(await fetchNow(broker.subscribe("a", durable)))).toEqual(left);
      await broker.flush();
      const again = await openBroker(crash(path));
      expect(dataOf(await fetchNow(again.subscribe("a", durable)))).toEqual(left);
      balanced(again);
    },
  );
});
