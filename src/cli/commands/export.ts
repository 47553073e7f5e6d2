import { exportStore } from "../../persistence/export.js";
import type { ExportSelection } from "../../persistence/export-lines.js";
import { checkPattern } from "../../topic/grammar.js";
import type { Command, Context } from "../command.js";
import { exitCode } from "../exit-code.js";
import { bytesText, countText } from "../format.js";
import { rangeOf, rangeOptions } from "../range.js";
import { withInspector } from "../read.js";

export const exportCommand: Command = {
  name: "export",
  summary: "a store as lines of JSON",
  operands: "<store> [file]",
  details: `Writes messages, durables and everything else as lines of JSON to a file, or to standard output. A file whose name ends
with .gz is compressed; one that exists is not overwritten. docs/format/export.md describes the lines. Changes nothing about
the store. The exit code is 1 when damage was met: what cannot be read is not in the export.`,
  options: {
    topic: { type: "string", multiple: true, value: "PATTERN", help: "only these topics; may be given again" },
    ...rangeOptions,
  },
  examples: [
    ["inproc-broker export ./data all.ndjson.gz", "everything"],
    ["inproc-broker export ./data --topic 'orders.>' | jq .data", "the payloads of some topics"],
    ["inproc-broker export ./data | inproc-broker import ./new --key 1=./store.key", "an encrypted copy"],
  ],
  async run(context) {
    const [, target = "-"] = context.positionals;
    const given = context.texts("topic");
    for (const pattern of given) checkPattern(pattern, { maxTopicLength: Infinity, maxTokens: Infinity });
    const selection = { ...rangeOf(context), ...(given.length > 0 && { patterns: given }) };
    if (target === "-") return toOutput(context, selection);
    const options = { ...(await context.store()), inUse: "read" as const, onProgress: context.onProgress };
    const result = await exportStore({ ...options, ...selection, target });
    const { lines, messages, bytes, problems } = result;
    const text = `${target}: ${countText(messages, "message")}, ${countText(lines, "line")}, ${bytesText(bytes)}\n`;
    await context.result(result, text);
    return report(context, problems);
  },
};

async function toOutput(context: Context, selection: ExportSelection): Promise<number> {
  return withInspector(context, async (inspector) => {
    for await (const line of inspector.exportLines(selection)) await context.out(line);
    return report(context, inspector.problems);
  });
}

function report(context: Context, problems: readonly string[]): number {
  for (const problem of problems) context.note(`problem: ${problem}`);
  return problems.length > 0 ? exitCode.problems : exitCode.ok;
}
