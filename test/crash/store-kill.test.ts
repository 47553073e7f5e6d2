import { it } from "vitest";
import { storeKillLoop } from "./store-kill.js";

it("the store has all it acknowledged, nothing settled and nothing half, after its process was killed", async () => {
  await storeKillLoop(10, 1);
}, 120_000);
