import { importStore } from "../../persistence/import.js";
import type { Command } from "../command.js";
import { exitCode } from "../exit-code.js";
import { countText } from "../format.js";
import { repairOption, writableStore } from "../write.js";

export const importCommand: Command = {
  name: "import",
  summary: "puts the lines of an export into a store",
  operands: "<store> [file]",
  details: `Takes the lines of an export, from a file or from standard input, compressed or not, and puts them into a store; makes the
store when there is none. Lines are stored in batches of some hundreds, each whole or not at all. A line that cannot be taken
ends the import, with its number, and with the line to go on from.`,
  options: {
    "from-line": { type: "string", value: "N", help: "go on at this line" },
    ...repairOption,
  },
  examples: [
    ["inproc-broker import ./data all.ndjson.gz", "into ./data"],
    ["inproc-broker import ./data all.ndjson --from-line 4001", "after a line that was put right"],
    [`echo '{"topic":"orders.created","data":{"id":7}}' | inproc-broker import ./data`, "one message, made by hand"],
  ],
  async run(context) {
    const [, source = "-"] = context.positionals;
    const fromLine = context.number("from-line", 1) ?? 1;
    const result = await importStore({
      ...(await writableStore(context)),
      source: source === "-" ? context.input : source,
      fromLine,
      onProgress: context.onProgress,
    });
    const { messages, durables, deadLetters, renumbered, existingDurables, isComplete } = result;
    const text = [
      `${countText(messages, "message")}, ${countText(durables, "durable")}, ${countText(deadLetters, "dead letter")}`,
      ...(renumbered > 0 ? [`${countText(renumbered, "message")} with a new number: the store had used theirs`] : []),
      ...existingDurables.map((name) => `the durable ${JSON.stringify(name)} was there already, and stays where it is`),
    ];
    await context.result(result, `${text.join("\n")}\n`);
    if (!isComplete) context.note("note: there is no end line: the file was made by hand, or cut short");
    return exitCode.ok;
  },
};
