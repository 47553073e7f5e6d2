import { backupStore } from "../../persistence/offline.js";
import type { Command } from "../command.js";
import { exitCode } from "../exit-code.js";
import { bytesText, countText } from "../format.js";
import { repairOption, writableStore } from "../write.js";

export const backup: Command = {
  name: "backup",
  summary: "copies a store that is closed",
  operands: "<store> <target>",
  details: `Copies a store into a folder, or into an archive when the name ends with .zip. The copy gets its name once it is whole;
nothing is overwritten. Of a store in use, its own process makes the backup: await broker.backup(target).`,
  options: repairOption,
  examples: [
    ["inproc-broker backup ./data ./backups/monday", "into a folder"],
    ["inproc-broker backup ./data ./backups/monday.zip", "into an archive"],
  ],
  async run(context) {
    const [, target = ""] = context.positionals;
    const { onProgress } = context;
    const result = await backupStore({ ...(await writableStore(context)), target, onProgress });
    await context.result(result, `${target}: ${countText(result.files, "file")}, ${bytesText(result.bytes)}\n`);
    return exitCode.ok;
  },
};
