import { expectTypeOf, it } from "vitest";
import type { Machine } from "../../src/persistence/options.js";
import type { StoreMachine } from "../../src/testing/disk.js";

it("what the kit puts between a store and its machine does all that the machine does", () => {
  // The kit may not import the store's own types, and makes its machine from what it finds.
  expectTypeOf<StoreMachine>().toExtend<Pick<Machine, keyof StoreMachine>>();
});
