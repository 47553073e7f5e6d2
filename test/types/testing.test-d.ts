import { expectTypeOf, it } from "vitest";
import type { InProcBroker } from "inproc-broker";
import type { HistoryEntry } from "inproc-broker/testing";
import { createTestBroker } from "inproc-broker/testing";

interface Topics {
  "order.placed": { id: number };
}

it("a test broker is typed as its broker is", () => {
  const t = createTestBroker<Topics>();
  expectTypeOf(t.broker).toEqualTypeOf<InProcBroker<Topics>>();
  // @ts-expect-error -- no such topic
  void t.send("order.paid", { id: 1 });
  // @ts-expect-error -- not its payload
  void t.send("order.placed", { id: "1" });
  expectTypeOf(t.expectPublished<{ id: number }>("order.placed", { where: (m) => m.data.id > 0 })).toEqualTypeOf<
    HistoryEntry<{ id: number }>[]
  >();
  // @ts-expect-error -- chance comes from the seed
  createTestBroker({ random: () => 0.5 });
});
