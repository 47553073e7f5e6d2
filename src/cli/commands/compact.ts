import { compactStore } from "../../persistence/offline.js";
import type { Command } from "../command.js";
import { exitCode } from "../exit-code.js";
import { bytesText, countText } from "../format.js";
import { repairOption, writableStore } from "../write.js";

export const compact: Command = {
  name: "compact",
  summary: "gives back the room of what is settled or expired",
  operands: "<store>",
  details: `Removes what is settled, expired or beyond the limits of retention that the store was last opened with, and gives the room
back to the disk. A store does so by itself while it is in use; this is for one that is closed.`,
  options: repairOption,
  examples: [["inproc-broker compact ./data", "before it is copied, say"]],
  async run(context) {
    const result = await compactStore({ ...(await writableStore(context)), onProgress: context.onProgress });
    const { bytesBefore, bytesAfter, messages } = result;
    const text = `${bytesText(bytesBefore)} before, ${bytesText(bytesAfter)} now, for ${countText(messages, "message")}\n`;
    await context.result(result, text);
    return exitCode.ok;
  },
};
