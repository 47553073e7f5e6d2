import { restoreStore } from "../../persistence/restore.js";
import type { Command } from "../command.js";
import { exitCode } from "../exit-code.js";
import { bytesText, countText } from "../format.js";

export const restore: Command = {
  name: "restore",
  summary: "makes a store out of a backup",
  operands: "<backup> <store>",
  details: `Copies or unpacks a backup, verifies it, and then gives it its name. Nothing is overwritten; a damaged backup leaves nothing
behind, and the exit code is 1.`,
  options: { force: { type: "boolean", help: "restore also a damaged backup: what is intact of it" } },
  examples: [["inproc-broker restore ./backups/monday.zip ./data", "into ./data, which must not exist"]],
  async run(context) {
    const [source = "", path = ""] = context.positionals;
    const options = { ...(await context.store(path)), onProgress: context.onProgress };
    const result = await restoreStore({ ...options, source, force: context.flag("force") });
    const { files, bytes, verified } = result;
    const text = [
      ...verified.problems.map((problem) => `problem: ${problem}`),
      `${path}: ${countText(files, "file")}, ${bytesText(bytes)}, ${countText(verified.messages, "message")}`,
    ];
    await context.result(result, `${text.join("\n")}\n`);
    return verified.isSound ? exitCode.ok : exitCode.problems;
  },
};
