import type { Command } from "../command.js";
import { exitCode } from "../exit-code.js";
import { countText, oneLine } from "../format.js";
import { withInspector } from "../read.js";

export const verify: Command = {
  name: "verify",
  summary: "reads everything, and tells what is damaged",
  operands: "<store>",
  details: `Reads every record of the log and every block of the database. The exit code is 1 when anything is damaged or missing;
a write that was cut short at the log's end is no damage. Works on a folder, not on a .zip. Changes nothing.`,
  options: {},
  examples: [
    ["inproc-broker verify ./data", "is the store sound?"],
    ["inproc-broker verify ./backup && rm -r ./old-backup", "only if it is"],
  ],
  run: (context) =>
    withInspector(context, async (inspector) => {
      const report = await inspector.verify(context.onProgress);
      const { isSound, messages, blocks, records, problems, notes } = report;
      const counts = `${countText(messages, "message")}, ${countText(blocks, "block")}, ${countText(records, "record")} in the log`;
      const text = [
        ...problems.map((problem) => `problem: ${oneLine(problem)}`),
        ...notes.map((note) => `note: ${oneLine(note)}`),
        isSound ? `sound: ${counts}` : `${countText(problems.length, "problem")}; readable: ${counts}`,
      ];
      await context.result(report, `${text.join("\n")}\n`);
      return isSound ? exitCode.ok : exitCode.problems;
    }),
};
