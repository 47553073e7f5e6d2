import { it } from "vitest";
import { killLoop } from "./wal-kill.js";

it("the log has all it acknowledged, and nothing else, after its process was killed", async () => {
  await killLoop(6, 1);
}, 60_000);
